"""What a cell's parameters predict of a voltage-clamp recording: the function that twins invert."""

import dataclasses
import hashlib
import json
from collections.abc import Callable
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..annotations import check_fields
from ..arguments import check
from ..cell import AbstractCell, astype, unknown_name
from ..files.records import cell_to_json
from ..models import KernikClancy2019
from ..population import simulate as simulate_population
from ..protocols import AbstractProtocol, to_json
from ..simulation.simulate import simulate
from .recording import Recording
from .windows import Windows, windows_of

OUTPUT = "I_ion_total"


@dataclasses.dataclass(frozen=True, eq=False)
class Experiment:
    """A voltage clamp of cells around one, seen through windows: theta = p / p0 - 1 -> total ionic current.

    Every cell starts from the published initial state of the model.

    Attributes:
        protocol: the command, mV; begins at 0 ms.
        windows: which samples are seen, see `windows_of`.
        cell: the cell around which parameters are relative; its temperature is that of the experiment.
        names: the parameters that theta changes, in order.

    ValueError: an argument out of its range, by name.
    """

    protocol: AbstractProtocol
    windows: Windows
    cell: AbstractCell = dataclasses.field(default_factory=KernikClancy2019)
    names: tuple[str, ...] = KernikClancy2019.SIX_CURRENTS

    def __post_init__(self):
        check_fields(self)
        if self.protocol.kind != "voltage":
            raise ValueError(f"protocol: a {self.protocol.kind} protocol; allowed: a voltage clamp, mV")
        known = self.cell.parameters()
        for name in self.names:
            if name not in known:
                raise ValueError(unknown_name("parameter", name, known, type(self.cell).__name__))
            check(f"parameter {name}", known[name].value, known[name].unit, "not 0", lambda x: x != 0)

    @staticmethod
    def of(recording: Recording, cell: AbstractCell | None = None) -> "Experiment":
        """What could have been recorded: its command and windows, at its temperature (default `KernikClancy2019`)."""
        base = (KernikClancy2019() if cell is None else cell).replace(temperature=recording.temperature)
        return Experiment(recording.command, windows_of(recording.command, recording.t1, recording.dt), base)

    @property
    def t1(self) -> float:
        """End of the command that is seen, ms."""
        return self.windows.samples * self.windows.dt

    @cached_property
    def published(self) -> Float[np.ndarray, " parameters"]:
        """The parameters of `cell`, theta = 0."""
        known = self.cell.parameters()
        return np.array([float(known[name].value) for name in self.names])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything above: two experiments of one digest predict the same."""
        windows = [self.windows.begin.tolist(), self.windows.end.tolist(), self.windows.dt]
        said = [to_json(self.protocol), windows, cell_to_json(self.cell), self.names]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()

    def cells(self, theta: Float[Array, "*cells parameters"]) -> AbstractCell:
        """The cell, or the population, with these relative changes."""
        values = {
            name: p0 * (1 + theta[..., k]) for k, (name, p0) in enumerate(zip(self.names, self.published, strict=True))
        }
        return self.cell.replace(**values)

    def current(self, theta: Float[Array, "*cells parameters"]) -> Float[Array, "*cells windows"]:
        """I_ion_total at the windows' times, pA/pF; differentiable. For a few cells: all of them at once."""
        some = {"save_at": self.windows.times, "outputs": [OUTPUT]}
        return simulate(self.cells(theta), self.protocol, t1=self.t1, **some).ys.I_ion_total

    @cached_property
    def linearised(self):
        """Compiled: theta (cells, parameters) -> `current` and its Jacobian (cells, windows, parameters).

        Forward mode: one tangent a parameter, shared by all cells, since no cell sees another.
        """

        def at(theta):
            def along(direction):
                return jax.jvp(self.current, (theta,), (jnp.broadcast_to(direction, theta.shape),))

            return jax.vmap(along, out_axes=(None, -1))(jnp.eye(theta.shape[-1], dtype=theta.dtype))

        return jax.jit(at)

    def currents_of(
        self,
        theta: Float[np.ndarray, "cells parameters"],
        dtype: str = "float32",
        progress: bool | Callable[[float], None] = False,
    ) -> Float[np.ndarray, "cells windows"]:
        """`current` of many cells on the host: chunk by chunk, over all cores and devices."""
        cells = astype(self.cells(jnp.asarray(theta)), jnp.dtype(dtype))
        how = {"t1": self.t1, "save_at": self.windows.times, "outputs": [OUTPUT], "progress": progress}
        return simulate_population(cells, self.protocol, **how).ys.I_ion_total
