"""The voltage-clamp rig between command and cell: series resistance, leak, capacitance, filter and offsets.

The model is that of Lei et al. (Phil Trans R Soc A 2020;378:20190348, doi 10.1098/rsta.2019.0348), with prediction
("supercharging") and the cancelling of the capacitive transient as in Lei et al. (Adv Sci 2025, doi
10.1002/advs.202500691). Left out are the poles of the amplifier itself (tens of microseconds) and the pipette's
capacitance, taken to be compensated: windows should begin after the first few samples, see `capacitive_blank`.

With V_cmd the command, V the membrane potential, V_est the amplifier's estimate of it and I_p the pipette's current:

    C_cell V'     = I_p - C_cell I_ion(V) - g_leak (V - E_leak)
    R_s I_p       = V_cmd + V_offset - V + alpha R_s (I_p - cancelled I_est) + beta R_s I_est
    I_est         = C_set V_est'             V_est' = (V_cmd - V_est) / ((1 - beta) R_s C_set)
    recorded      = I_offset + low-pass[I_p - cancelled I_est] / C_set

The correction (alpha) feeds back the current as it is measured, at once: eliminating I_p leaves R_s (1 - alpha) between
command and membrane. A transient that is cancelled is not fed back: without prediction such a membrane is charged as
slowly as without correction.
"""

import dataclasses
import functools
from collections import namedtuple
from collections.abc import Callable, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..annotations import check_fields, typed
from ..arguments import check, check_whole, refusal
from ..cell import AbstractCell, Scalar, parameter, unknown_name
from ..clock import merge
from ..numerics import one_minus_exp
from ..protocols import AbstractProtocol
from ..relaxation import Relaxation
from ..simulation.closed_form import voltage_gates
from ..simulation.grid import Stage, clamp_grid, staged_grid
from ..simulation.simulate import simulate
from ..solvers import AbstractRushLarsen, RatesTerm, RushLarsen2
from .experiment import Experiment
from .windows import Windows

ELECTRICAL = ("V_est", "I_recorded")
"""States that the rig adds to a cell's."""
EDGE_STAGES = (Stage(0.1, 0.0025), Stage(0.5, 0.005), Stage(3.0, 0.01), Stage(6.0, 0.02))
"""Steps after each edge of the command, while the membrane is charged and I_Na flows; then those of a clamp."""
SLOPE = 0.5
"""nS/pF: a membrane conductance that is taken out of I_ion and stepped implicitly. It changes no equation, and keeps
long steps stable where the clamp is slow."""
QUIET = 20
"""A window of at least so many samples lies where the current changes little from sample to sample."""
MAD = 0.6745
"""Median absolute deviation of a standard normal variable."""


class Rig(eqx.Module):
    """Pipette and amplifier, between the command and the membrane. See the equations at the top of this file.

    ValueError: a number out of its range, by name.
    """

    R_s: Scalar = parameter(10.0, "MOhm", "series resistance; > 0")
    C_cell: Scalar = parameter(60.0, "pF", "capacitance of the recorded cell; > 0 (the model's C_m makes mM of pA/pF)")
    g_leak: Scalar = parameter(0.0, "nS", "conductance of the seal, across the membrane; >= 0")
    E_leak: Scalar = parameter(0.0, "mV", "reversal potential of the leak")
    V_offset: Scalar = parameter(0.0, "mV", "what the command lacks, e.g. an uncorrected junction potential")
    I_offset: Scalar = parameter(0.0, "pA/pF", "zero of the recording")
    alpha: Scalar = parameter(0.0, "1", "part of R_s that is corrected by feedback; 0 <= alpha < 1")
    beta: Scalar = parameter(0.0, "1", "part of the charging that is predicted (supercharging); 0 <= beta < 1")
    cancelled: Scalar = parameter(0.0, "1", "part of the estimated capacitive current that is subtracted; 0 to 1")
    C_set: Scalar = parameter(60.0, "pF", "the amplifier's setting: recordings are pA divided by it; > 0")
    tau_filter: Scalar = parameter(0.032, "ms", "low-pass of the recording, as one pole: 1/(2 pi 5 kHz); > 0")

    POSITIVE: ClassVar[tuple[str, ...]] = ("R_s", "C_cell", "g_leak", "C_set", "tau_filter")
    """Inferred by their logarithm."""
    PARTS: ClassVar[tuple[str, ...]] = ("alpha", "beta")
    """Inferred by their logit."""

    def __check_init__(self):
        for field in dataclasses.fields(self):
            if jnp.ndim(getattr(self, field.name)) > 1:
                shape = f"shape {jnp.shape(getattr(self, field.name))}"
                raise refusal(field.name, shape, "", "a number, or shape (n_cells,)")
        for name in ("R_s", "C_cell", "C_set", "tau_filter"):
            check(name, getattr(self, name), self.unit(name), "> 0", lambda x: np.isfinite(x) & (x > 0))
        for name in ("E_leak", "V_offset", "I_offset"):
            check(name, getattr(self, name), self.unit(name), "finite", np.isfinite)
        check("g_leak", self.g_leak, "nS", ">= 0", lambda x: np.isfinite(x) & (x >= 0))
        for name in self.PARTS:
            check(name, getattr(self, name), "", f"0 <= {name} < 1", lambda x: (x >= 0) & (x < 1))
        check("cancelled", self.cancelled, "", "0 to 1", lambda x: (x >= 0) & (x <= 1))

    @classmethod
    def unit(cls, name: str) -> str:
        return next(f.metadata["unit"] for f in dataclasses.fields(cls) if f.name == name)  # pyright: ignore

    @property
    def tau_membrane(self):
        """What is left of R_s times the capacitance, ms: the membrane follows the command so fast."""
        return 1e-3 * (1 - self.alpha) * self.R_s * self.C_cell

    @property
    def tau_est(self):
        """Time constant of the amplifier's estimate of the potential, ms."""
        return 1e-3 * (1 - self.beta) * self.R_s * self.C_set

    def moved(self, **by: Scalar) -> "Rig":
        """The rig with each named parameter changed: the logarithm or logit `by` so much, or the value itself."""
        new = {}
        for name, change in by.items():
            value = getattr(self, name)
            if name in self.POSITIVE:
                new[name] = value * jnp.exp(change)
            elif name in self.PARTS:
                new[name] = value / (value + (1 - value) * jnp.exp(-change))
            else:
                new[name] = value + change
        return dataclasses.replace(self, **new)


class RiggedCell(AbstractCell):
    """A cell in a rig: its potential follows the command (mV), which takes the place of the stimulus.

    Two more states: V_est, the amplifier's estimate of the potential (mV), and I_recorded (pA/pF of `C_set`).
    """

    cell: AbstractCell
    rig: Rig

    @property
    def units(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        return {**self.cell.units, "V_est": "mV", "I_recorded": "pA/pF"}

    @property
    def conductances(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.cell.conductances

    @property
    def potential(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.cell.potential

    def initial_state(self):
        """The cell's own, seen by an amplifier that has settled and passes no current."""
        y = self.cell.initial_state()
        V = getattr(y, self.potential)
        return _with_rig(type(y))(*y, V, self.rig.I_offset + jnp.zeros_like(V))

    def currents(self, y):
        return self.cell.currents(self._inner(y))

    def rates(self, t, y, i_stim):
        rig, inner = self.rig, self._inner(y)
        V = getattr(y, self.potential)
        command = i_stim + jnp.zeros_like(V)
        ahead = command - y.V_est
        rates = self.cell.rates(t, inner, 0.0)
        I_ion = -getattr(rates, self.potential)
        driven_to = command + rig.V_offset + (rig.beta - rig.alpha * rig.cancelled) / (1 - rig.beta) * ahead
        per_ms = 1 / rig.tau_membrane
        leak = rig.g_leak / rig.C_cell
        rate = per_ms + leak + SLOPE
        I_measured = (driven_to - V) * per_ms * (rig.C_cell / rig.C_set) - rig.cancelled * ahead / rig.tau_est
        steady = (driven_to * per_ms + leak * rig.E_leak + SLOPE * V - I_ion) / rate
        return type(y)(
            *rates._replace(**{self.potential: Relaxation(steady, rate=rate)}),
            V_est=Relaxation(command, rig.tau_est),
            I_recorded=Relaxation(I_measured + rig.I_offset, rig.tau_filter),
        )

    def _inner(self, y):
        return type(self.cell.initial_state())(*y[: -len(ELECTRICAL)])


@functools.cache
def _with_rig(state: type) -> Any:
    return namedtuple(f"Rigged{state.__name__}", (*state._fields, *ELECTRICAL))  # pyright: ignore


class RigSolver(AbstractRushLarsen):
    """Second-order steps of a `RiggedCell`, one evaluation each, which may be longer than the clamp's time constants.

    The potential and the estimate relax towards steady states that are carried on along a straight line: so they end a
    long step where the steady state is then (`RushLarsen2` would leave them half a step behind). Gates of voltage
    alone take their coefficients at the potential in the middle of the step, and so does the recording's filter. All
    other states are `RushLarsen2`'s.
    """

    potential: str = eqx.field(static=True)
    gates: tuple[str, ...] = eqx.field(static=True)
    term_structure: ClassVar = RatesTerm
    interpolation_cls: ClassVar[Callable[..., diffrax.AbstractLocalInterpolation]] = diffrax.LocalLinearInterpolation

    def order(self, terms):
        return 2

    def init(self, terms, t0, t1, y0, args):
        rest = self._rest(y0)
        steady = {name: jnp.zeros_like(getattr(y0, name)) for name in (self.potential, "V_est")}
        return RushLarsen2().init(_frozen(self._rest(terms.vf(t0, y0, args))), t0, t1, rest, args), steady

    def step(self, terms, t0, t1, y0, args, solver_state, made_jump):
        memory, steady_before = solver_state
        dt, dt_before = terms.contr(t0, t1), memory[1]
        # Kept apart from what uses it, as in `RushLarsen2`.
        rates = jax.lax.optimization_barrier(terms.vf(t0, y0, args))
        rest, _, _, memory, result = RushLarsen2().step(
            _frozen(self._rest(rates)), t0, t1, self._rest(y0), args, memory, made_jump
        )
        middle, fast, steady = {}, {}, {}
        for name, before in steady_before.items():
            x, relaxation = getattr(y0, name), getattr(rates, name)
            slope = jnp.where(made_jump, 0, (relaxation.steady - before) / dt_before)
            middle[name], fast[name] = (_follow(x, relaxation, slope, part * dt) for part in (0.5, 1.0))
            # A step of no length is no step to look back on.
            steady[name] = jnp.where(dt == 0, before, relaxation.steady)
        halfway = terms.vf(t0 + 0.5 * dt, y0._replace(**middle), args)
        gates = {name: getattr(y0, name) for name in self.gates}
        gates = {name: x + getattr(halfway, name).increment(x, dt) for name, x in gates.items()}
        now, then = rates.I_recorded, halfway.I_recorded
        slope = (then.steady - now.steady) / jnp.where(dt == 0, 1, 0.5 * dt)
        fast["I_recorded"] = _follow(y0.I_recorded, now, slope, dt)
        y1 = y0._replace(**rest, **gates, **fast)
        return y1, None, dict(y0=y0, y1=y1), (memory, steady), result

    def func(self, terms, t0, y0, args):
        return terms.vf_prod(t0, y0, args, 1.0)

    def _rest(self, y) -> dict[str, Any]:
        """What `RushLarsen2` steps."""
        others = (self.potential, *ELECTRICAL, *self.gates)
        return {name: x for name, x in y._asdict().items() if name not in others}


def _frozen(rates) -> RatesTerm:
    return RatesTerm(lambda t, y, args: rates)


def _follow(x, relaxation: Relaxation, slope, dt):
    """x after dt (ms) of relaxing to a steady state that moves with `slope` (per ms)."""
    part = one_minus_exp(dt * relaxation.rate)
    return x + (relaxation.steady - x) * part + slope * (dt - relaxation.tau * part)


class _Command(AbstractProtocol):
    """A voltage command as what drives a `RiggedCell`: it takes the stimulus's place and clamps nothing by itself."""

    command: AbstractProtocol

    @property
    def kind(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        return "current"

    def value(self, t):
        return self.command.value(t)

    def edges(self, t0, t1):
        return self.command.edges(t0, t1)

    def onsets(self, t0, t1):
        return self.command.onsets(t0, t1)

    def shortest(self):
        return self.command.shortest()

    def corners(self, t0, t1):
        return self.command.corners(t0, t1)

    def since(self, t0):
        return _Command(self.command.since(t0))


def rig_grid(protocol: AbstractProtocol, t1: float, wanted: np.ndarray) -> np.ndarray:
    """Times to step to from 0 to t1, ms: those of a clamp, and `EDGE_STAGES` after each edge of the command."""
    starts = np.append(0.0, protocol.edges(0.0, t1))
    stages = [*EDGE_STAGES, Stage(np.inf, np.inf)]
    fine = staged_grid(starts, np.zeros(0), 0.0, t1, stages)
    return merge(np.concatenate([clamp_grid(protocol, 0.0, t1, None, wanted), fine]))


@typed
def recorded_current(
    cell: AbstractCell,
    rig: Rig,
    protocol: AbstractProtocol,
    times: Float[np.ndarray, " times"],
    grid: Float[np.ndarray, " steps+1"] | None = None,
) -> Float[Array, "*cells times"]:
    """What the rig records of the cell, without noise, pA/pF of `rig.C_set`; differentiable.

    From 1 ms after an edge on, it is within 1e-4 of the range of the ionic current of a converged run (eight steps of
    250 ms, a cell of 40 pF behind 10 MOhm corrected by 70 %); within 6e-4 where the membrane is charged so slowly that
    I_Na escapes the clamp (60 pF behind 20 MOhm).

    Args:
        cell: a cell or a population; starts from its initial state.
        rig: numbers, or one a cell.
        protocol: the command, mV, from 0 ms on.
        times: when to look, ms; ascending.
        grid: times to step to; default `rig_grid`.

    ValueError: not a voltage command.
    """
    if protocol.kind != "voltage":
        raise ValueError(f"protocol: a {protocol.kind} protocol; allowed: a voltage clamp, mV")
    t1 = float(times[-1])
    grid = rig_grid(protocol, t1, times) if grid is None else grid
    solver = RigSolver(cell.potential, voltage_gates(cell))
    how = {"t1": t1, "solver": solver, "grid": grid, "save_at": times, "outputs": ["I_recorded"]}
    return simulate(RiggedCell(cell, rig), _Command(protocol), **how).ys.I_recorded


def with_noise(
    current: Float[np.ndarray, "*cells samples"], sigma: float, seed: int
) -> Float[np.ndarray, "*cells samples"]:
    """The current with white noise of standard deviation `sigma` (pA/pF) on every sample."""
    check("sigma", sigma, "pA/pF", ">= 0", lambda x: np.isfinite(x) and x >= 0)
    check_whole("seed", seed, "", least=0)
    return np.asarray(current) + sigma * np.random.default_rng(seed).standard_normal(np.shape(current))


TYPICAL = MappingProxyType({"R_s": 0.3, "C_cell": 0.1, "g_leak": 1.0, "V_offset": 2.0, "I_offset": 0.1})
"""Prior standard deviations: what a rig's own tests leave open; of logarithms, mV and pA/pF."""


@dataclasses.dataclass(frozen=True, eq=False)
class RigExperiment:
    """An experiment on a rig of which not all is known: (theta, changes of the rig) -> recorded current in windows.

    As an `Experiment`, with more unknowns: x[:n] are theta, x[n:] what `Rig.moved` adds to the rig's parameters: to the
    logarithm of positive ones, to the logit of parts, to the value of offsets. The most probable x before the
    recording is seen is 0.

    Attributes:
        ideal: the command, the windows, the cell and its parameters.
        rig: the amplifier's settings, and the unknown parameters at their prior mean.
        unknown: standard deviation of each unknown change of the rig, > 0.
        spread: theta is taken to be Gaussian with the standard deviation of a uniform one in +-spread.

    ValueError: a name or number out of its range.
    """

    ideal: Experiment
    rig: Rig = dataclasses.field(default_factory=lambda: Rig(g_leak=1.0))
    unknown: Mapping[str, float] = dataclasses.field(default_factory=lambda: TYPICAL)
    spread: float = 0.2

    def __post_init__(self):
        check_fields(self)
        known = [f.name for f in dataclasses.fields(Rig)]  # pyright: ignore[reportArgumentType]
        for name, sd in self.unknown.items():
            if name not in known:
                raise ValueError(unknown_name("parameter", name, known, "Rig"))
            check(f"unknown[{name!r}]", sd, "", "> 0", lambda x: np.isfinite(x) and x > 0)
            if name in (*Rig.POSITIVE, *Rig.PARTS):
                check(f"rig.{name}", getattr(self.rig, name), Rig.unit(name), "> 0 where unknown", lambda x: x > 0)
        check("spread", self.spread, "", "0 < spread < 1", lambda x: 0 < x < 1)

    @property
    def windows(self) -> Windows:
        return self.ideal.windows

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of the unknowns, in order."""
        return (*self.ideal.names, *self.unknown)

    @cached_property
    def prior_mean(self) -> Float[np.ndarray, " unknowns"]:
        return np.zeros(len(self.names))

    @cached_property
    def prior_sd(self) -> Float[np.ndarray, " unknowns"]:
        of_theta = np.full(len(self.ideal.names), self.spread / np.sqrt(3))
        return np.concatenate([of_theta, list(self.unknown.values())])

    def rigs(self, x: Float[Array, "*cells unknowns"]) -> Rig:
        """The rig, or one a cell, of these unknowns."""
        n = len(self.ideal.names)
        return self.rig.moved(**{name: x[..., n + k] for k, name in enumerate(self.unknown)})

    def current(self, x: Float[Array, "*cells unknowns"]) -> Float[Array, "*cells windows"]:
        """The recorded current at the windows' times, pA/pF of `rig.C_set`; differentiable."""
        cells = self.ideal.cells(x[..., : len(self.ideal.names)])
        return recorded_current(cells, self.rigs(x), self.ideal.protocol, self.windows.times, self._grid)

    @cached_property
    def _grid(self) -> np.ndarray:
        return rig_grid(self.ideal.protocol, float(self.windows.times[-1]), self.windows.times)

    @cached_property
    def linearised(self):
        """Compiled: x (cells, unknowns) -> `current` and its Jacobian (cells, windows, unknowns)."""

        def at(x):
            def along(direction):
                return jax.jvp(self.current, (x,), (jnp.broadcast_to(direction, x.shape),))

            return jax.vmap(along, out_axes=(None, -1))(jnp.eye(x.shape[-1], dtype=x.dtype))

        return jax.jit(at)


@typed
def measured_noise(current: Float[np.ndarray, "*cells samples"], windows: Windows) -> Float[np.ndarray, "*cells"]:
    """Standard deviation of the raw noise of recordings, pA/pF, from neighbouring samples within wide windows.

    Half the squared difference of neighbours estimates the variance of white noise whatever the slow current beneath;
    the median keeps spikes out. A recording filtered below half its sampling rate has correlated neighbours, and more
    noise in its windows than this says.

    ValueError: no window has `QUIET` samples, or the recording is shorter than the windows.
    """
    current = np.asarray(current, np.float64)
    if current.ndim == 0:
        raise refusal("current", current, "pA/pF", "numbers of shape (..., samples)")
    if current.shape[-1] < windows.samples:
        raise ValueError(f"current: {current.shape[-1]} samples; allowed: at least {windows.samples}, as in windows")
    wide = windows.counts >= QUIET
    if not wide.any():
        raise ValueError(f"windows: at most {windows.counts.max()} samples each; allowed: some of at least {QUIET}")
    first = np.concatenate([np.arange(b, e - 1) for b, e in zip(windows.begin[wide], windows.end[wide], strict=True)])
    change = current[..., first + 1] - current[..., first]
    centred = change - np.median(change, axis=-1, keepdims=True)
    return np.median(np.abs(centred), axis=-1) / (MAD * np.sqrt(2))


@typed
def capacitive_blank(rig: Rig, step: float = 100.0, level: float = 0.05) -> float:
    """How long after an edge the capacitive transient stays above `level`, ms: what windows should leave out.

    An upper bound, for the slowest cell of the rig: as if membrane, estimate and filter all had the slowest of their
    time constants. Where R_s is uncertain, ask with the largest that is likely.

    Args:
        rig: the rig.
        step: change of the command at the edge, mV.
        level: what may be left of the transient, pA/pF.

    ValueError: an argument out of its range, by name.
    """
    check("step", step, "mV", "> 0", lambda x: np.isfinite(x) and x > 0)
    check("level", level, "pA/pF", "> 0", lambda x: np.isfinite(x) and x > 0)
    taus = [np.max(np.asarray(x)) for x in (rig.tau_membrane, rig.tau_est, rig.tau_filter)]
    highest = step * np.max(np.asarray(rig.C_cell / rig.C_set)) / np.min(np.asarray(rig.tau_membrane))
    needed = np.log(max(1.0, highest / level))
    passed = needed
    for _ in range(30):
        passed = needed + np.log(1 + passed + passed**2 / 2)
    return float(max(taus) * passed)
