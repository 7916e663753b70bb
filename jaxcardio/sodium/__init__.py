"""The sodium channel learned: the published network, surrogates that work, their rivals and their evaluation."""

from .evaluate import EXPERIMENTS as EXPERIMENTS
from .evaluate import evaluate as evaluate
from .evaluation.table import Evaluation as Evaluation
from .evaluation.table import Row as Row
from .published import PublishedPINN as PublishedPINN
from .published import SteadySodiumGating as SteadySodiumGating
from .published_objective import PublishedLosses as PublishedLosses
from .published_objective import published_losses as published_losses
from .published_objective import published_target as published_target
from .published_objective import sodium_current as sodium_current
from .published_result import PublishedCurves as PublishedCurves
from .published_result import PublishedRow as PublishedRow
from .published_result import gates_along as gates_along
from .published_result import hybrid_beats as hybrid_beats
from .published_result import published_curves as published_curves
from .published_result import published_table as published_table
from .published_training import PublishedFit as PublishedFit
from .published_training import train_published as train_published
