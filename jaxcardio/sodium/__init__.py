"""The sodium channel learned: the published network, surrogates that work, their rivals and their evaluation."""

from .published import PublishedPINN as PublishedPINN
from .published import SteadySodiumGating as SteadySodiumGating
from .published_objective import PublishedLosses as PublishedLosses
from .published_objective import published_losses as published_losses
from .published_objective import published_target as published_target
from .published_objective import sodium_current as sodium_current
from .published_result import PublishedCurves as PublishedCurves
from .published_result import PublishedRow as PublishedRow
from .published_result import gates_along as gates_along
from .published_result import published_beats as published_beats
from .published_result import published_curves as published_curves
from .published_result import published_table as published_table
from .published_training import PublishedFit as PublishedFit
from .published_training import load_published as load_published
from .published_training import save_published as save_published
from .published_training import train_published as train_published
