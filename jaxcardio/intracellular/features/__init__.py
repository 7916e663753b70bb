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
