"""The hidden state: a gating network that learns a model, and tells which current of an observed cell has changed."""

from .explain import Alternative as Alternative
from .explain import Explanation as Explanation
from .explain import currents_on_common_waveform as currents_on_common_waveform
from .explain import explain as explain
from .first_pass import FirstPass as FirstPass
from .first_pass import first_pass as first_pass
from .gated_cell import GatedCell as GatedCell
from .gated_cell import as_cell as as_cell
from .gating import GateCurves as GateCurves
from .gating import GatingCell as GatingCell
from .gating import GatingNetwork as GatingNetwork
from .gating import gate_curves as gate_curves
from .network_file import load_network as load_network
from .network_file import save_network as save_network
from .observations import Observations as Observations
from .observations import Sweep as Sweep
from .observations import simulated_observations as simulated_observations
from .paced import CYCLE_LENGTHS as CYCLE_LENGTHS
from .paced import PacedBeats as PacedBeats
from .paced import paced_beats as paced_beats
from .retraining import Retrained as Retrained
from .retraining import retrain as retrain
from .two_part import TwoPartNetwork as TwoPartNetwork
from .two_part import published_first_pass as published_first_pass
from .two_part import published_network as published_network
from .two_part import published_second_pass as published_second_pass
