"""What eAPs and iAPs look like, in numbers: landmarks, durations, repolarisation waves, rhythm, afterdepolarisations.

Pure functions of arrays, batched over all leading axes. Times in ms, sampling rates in Hz.
"""

from .apd import LEVELS as LEVELS
from .apd import action_potential_durations as action_potential_durations
from .apd import durations_at as durations_at
from .apd import repolarisation_heights as repolarisation_heights
from .eap import COLUMNS as COLUMNS
from .eap import EapFeatures as EapFeatures
from .eap import as_table as as_table
from .eap import eap_features as eap_features
from .early import early_afterdepolarisations as early_afterdepolarisations
from .fpd import VERDICTS as VERDICTS
from .fpd import FieldPotential as FieldPotential
from .fpd import FieldVerdict as FieldVerdict
from .fpd import field_potential_duration as field_potential_duration
from .rate import Variability as Variability
from .rate import beat_rate_variability as beat_rate_variability
from .rate import quiescences as quiescences
from .rate import rate_corrected as rate_corrected
