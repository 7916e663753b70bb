"""The fast sodium channel, learned: gating schemes that take the place of a cell's own, and how good they are."""

from .published import PublishedPINN as PublishedPINN
from .published import SteadySodiumGating as SteadySodiumGating
from .published_objective import PublishedLosses as PublishedLosses
from .published_objective import published_losses as published_losses
from .published_objective import published_target as published_target
from .published_objective import sodium_current as sodium_current
from .published_training import PublishedFit as PublishedFit
from .published_training import train_published as train_published
