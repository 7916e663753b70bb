"""Training: one loop with early stopping and checkpoints, for every network here."""

from .loop import Fit as Fit
from .loop import fit as fit
