"""Populations of cells: sampled reproducibly, simulated in chunks."""

from .distributions import AbstractDistribution as AbstractDistribution
from .distributions import LatinHypercube as LatinHypercube
from .distributions import LogNormal as LogNormal
from .distributions import Sobol as Sobol
from .distributions import Uniform as Uniform
from .distributions import distribution_from_json as distribution_from_json
from .distributions import distribution_to_json as distribution_to_json
from .sampling import relative_change as relative_change
from .sampling import sample as sample
from .simulation import member as member
from .simulation import simulate as simulate
from .study import DoseResponse as DoseResponse
from .study import dose_response as dose_response
from .viability import Reason as Reason
from .viability import Rules as Rules
from .viability import Screening as Screening
from .viability import judge as judge
from .viability import measure as measure
from .viability import screen as screen
