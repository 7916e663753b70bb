"""Differentiable simulation of cardiac cells in JAX.

Every name is imported when it is first used, so that importing jaxcardio is quick and does not start JAX.
"""

from typing import TYPE_CHECKING

from .lazy import exports

_MODULES = (
    "biomarkers", "hidden_state", "intracellular", "models", "pharmacology", "plot",
    "population", "protocols", "sodium", "tissue", "twin",
)  # fmt: skip
"""Public names that are modules of this package."""
_MODULE_OF = {
    "use_cache": "cache",
    "AbstractCell": "cell",
    "Scalar": "cell",
    "astype": "cell",
    "hold": "cell",
    "parameter": "cell",
    "WIDE": "simulation.compiled",
    "paced_grid": "simulation.grid",
    "Multirate": "multirate",
    "tune_for_one_cell": "one_cell",
    "Relaxation": "relaxation",
    "read_recording": "simulation.recordings",
    "value_and_gradient": "simulation.sensitivity",
    "value_and_sensitivities": "simulation.sensitivity",
    "simulate": "simulation.simulate",
    "RatesTerm": "solvers",
    "RushLarsen": "solvers",
    "RushLarsen2": "solvers",
    "RushLarsenMidpoint": "solvers",
    "Status": "simulation.trace",
    "Trace": "simulation.trace",
}
"""The other public names, and the module that defines each. A test compares both with the imports below, which are for
type checkers and editors."""

if TYPE_CHECKING:
    from . import biomarkers as biomarkers
    from . import hidden_state as hidden_state
    from . import intracellular as intracellular
    from . import models as models
    from . import pharmacology as pharmacology
    from . import plot as plot
    from . import population as population
    from . import protocols as protocols
    from . import sodium as sodium
    from . import tissue as tissue
    from . import twin as twin
    from .cache import use_cache as use_cache
    from .cell import AbstractCell as AbstractCell
    from .cell import Scalar as Scalar
    from .cell import astype as astype
    from .cell import hold as hold
    from .cell import parameter as parameter
    from .multirate import Multirate as Multirate
    from .one_cell import tune_for_one_cell as tune_for_one_cell
    from .relaxation import Relaxation as Relaxation
    from .simulation.compiled import WIDE as WIDE
    from .simulation.grid import paced_grid as paced_grid
    from .simulation.recordings import read_recording as read_recording
    from .simulation.sensitivity import value_and_gradient as value_and_gradient
    from .simulation.sensitivity import value_and_sensitivities as value_and_sensitivities
    from .simulation.simulate import simulate as simulate
    from .simulation.trace import Status as Status
    from .simulation.trace import Trace as Trace
    from .solvers import RatesTerm as RatesTerm
    from .solvers import RushLarsen as RushLarsen
    from .solvers import RushLarsen2 as RushLarsen2
    from .solvers import RushLarsenMidpoint as RushLarsenMidpoint
else:
    __getattr__, __dir__, __all__ = exports(__name__, _MODULES, _MODULE_OF)
