"""Intracellular action potentials from extracellular recordings: electrodes, features, PIA-UNET, monitoring.

Source: Rahmani et al., Nature Communications 16, 657 (2025), doi 10.1038/s41467-024-55571-6; equation numbers are that
paper's.
"""

from . import baseline as baseline
from . import electrode as electrode
from . import features as features
from . import losses as losses
from . import recording as recording
from . import unet as unet
from .beats import Dropped as Dropped
from .beats import ReconstructedBeats as ReconstructedBeats
from .conduction import Conduction as Conduction
from .conduction import conduction as conduction
from .conformal import calibrate as calibrate
from .conformal import coverage as coverage
from .evaluate import Evaluation as Evaluation
from .evaluate import Score as Score
from .evaluate import evaluate as evaluate
from .filtering import bandpass as bandpass
from .filtering import highpass as highpass
from .filtering import lowpass as lowpass
from .filtering import notch as notch
from .fitting import PREPARATIONS as PREPARATIONS
from .fitting import Fit as Fit
from .fitting import fit as fit
from .inference import Network as Network
from .library import load_network as load_network
from .library import save_network as save_network
from .monitor import monitor as monitor
from .monitoring import Monitoring as Monitoring
from .normalisation import normalise_eap as normalise_eap
from .normalisation import normalise_iap as normalise_iap
from .pairs import Pairs as Pairs
from .pairs import joined as joined
from .pairs import split as split
from .pairs import synthesize_pairs as synthesize_pairs
from .peaks import Beats as Beats
from .peaks import find_beats as find_beats
from .ranges import ranges as ranges
from .reasons import Reason as Reason
from .reasons import explain as explain
from .reconstruct import reconstruct as reconstruct
from .recorded_pairs import pairs_of as pairs_of
from .recording import Event as Event
from .recording import Recording as Recording
from .recording import RecordingWriter as RecordingWriter
from .resampling import resample as resample
from .statistics import drug_effect as drug_effect
from .synthesis import synthesize_recording as synthesize_recording
from .train import Training as Training
from .train import train as train
from .unet import PIAUNet as PIAUNet
from .windows import cut_windows as cut_windows
