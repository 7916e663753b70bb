"""PIA-UNET: the network itself."""

from .heads import BOUNDS as BOUNDS
from .heads import TIME_UNIT as TIME_UNIT
from .heads import Quantiles as Quantiles
from .network import PIAUNet as PIAUNet
from .network import count as count
from .network import is_weight as is_weight
from .prediction import Estimate as Estimate
from .prediction import Physics as Physics
from .prediction import Prediction as Prediction
