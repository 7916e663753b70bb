"""Populations of cells: sampled reproducibly, simulated in chunks."""

from .sampling import factors as factors
from .sampling import sample as sample
from .simulation import member as member
from .simulation import simulate as simulate
