"""Other means for other parts of a cell: gates of voltage, and the calcium of the atrial cell.

What pays on a CPU (`benchmarks/sodium_subsystems.py`): the exact equations with calcium on longer steps
(`jaxcardio.Multirate`, `SLOW_CALCIUM`), and rates in float32 (`in_single_precision`). `LumpedCalcium` pays little. No
network does: `learned_gates` and `LearnedCalcium` are here to show it.
"""

from .calcium import SLOW_CALCIUM as SLOW_CALCIUM
from .calcium import LumpedCalcium as LumpedCalcium
from .calcium import fit_lumped as fit_lumped
from .gates import AbstractGates as AbstractGates
from .gates import GateNetwork as GateNetwork
from .gates import GateTable as GateTable
from .gates import exact_gates as exact_gates
from .gates import gate_errors as gate_errors
from .gates import in_single_precision as in_single_precision
from .gates import learned_gates as learned_gates
from .gates import voltage_gates as voltage_gates
from .gates import with_gates as with_gates
from .learned_calcium import LearnedCalcium as LearnedCalcium
from .learned_calcium import fit_learned_calcium as fit_learned_calcium
