"""Differentiable simulation of cardiac cells in JAX."""

from . import biomarkers as biomarkers
from . import hidden_state as hidden_state
from . import models as models
from . import pharmacology as pharmacology
from . import plot as plot
from . import population as population
from . import protocols as protocols
from . import twin as twin
from .cell import AbstractCell as AbstractCell
from .cell import Scalar as Scalar
from .cell import astype as astype
from .cell import hold as hold
from .cell import parameter as parameter
from .relaxation import Relaxation as Relaxation
from .simulation.compiled import WIDE as WIDE
from .simulation.grid import paced_grid as paced_grid
from .simulation.sensitivity import value_and_gradient as value_and_gradient
from .simulation.sensitivity import value_and_sensitivities as value_and_sensitivities
from .simulation.simulate import simulate as simulate
from .simulation.trace import Status as Status
from .simulation.trace import Trace as Trace
from .solvers import RatesTerm as RatesTerm
from .solvers import RushLarsen as RushLarsen
from .solvers import RushLarsen2 as RushLarsen2
