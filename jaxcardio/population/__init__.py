"""Populations of cells: sampled reproducibly, simulated in chunks."""

from .sampling import factors as factors
from .sampling import sample as sample
from .simulation import member as member
from .simulation import simulate as simulate
from .study import DoseResponse as DoseResponse
from .study import Viability as Viability
from .study import dose_response as dose_response
