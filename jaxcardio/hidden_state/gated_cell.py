"""A network back among the equations: the cell whose gates are the learned ones."""

import equinox as eqx
import jax

from ..annotations import typed
from ..cell import AbstractCell, AbstractWrappedCell
from ..relaxation import Relaxation
from .gating import GatingNetwork


class GatedCell(AbstractWrappedCell):
    """A cell with some of its gates from a network, all else as it was; made by `as_cell`."""

    cell: AbstractCell
    network: GatingNetwork

    def rates(self, t, y, i_stim):
        r = self.network.relaxations(*(getattr(y, name) for name in self.network.observables))
        learned = {name: Relaxation(r.steady[k], rate=r.rate[k]) for k, name in enumerate(self.network.gates)}
        return self.cell.rates(t, y, i_stim)._replace(**learned)


@typed
def as_cell(network: GatingNetwork, cell: AbstractCell) -> GatedCell:
    """The neural ODE as an ordinary cell: `network` moves its gates, the equations of `cell` everything else.

    It is paced, blocked, made a population of, differentiated, and solved by any solver at any step, as `cell` is. It
    computes in the dtype of `cell`.

    ValueError: gates or observables that the cell has not.
    """
    fields: tuple[str, ...] = type(cell.initial_state())._fields
    for name in (*network.gates, *network.observables):
        if name not in fields:
            raise ValueError(f"network: {type(cell).__name__} has no state {name!r}; it has {', '.join(fields)}")
    dtype = cell.initial_state()[0].dtype
    network = jax.tree.map(lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x, network)
    return GatedCell(cell, network)
