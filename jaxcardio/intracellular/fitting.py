"""From pairs to a network that can be used: split by cell, trained, its intervals calibrated on cells kept aside."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from ..annotations import typed
from .conformal import calibrate
from .inference import Network
from .pairs import Pairs, split
from .train import train

PREPARATIONS = 720
"""Simulated cultures that a network is made of where no pairs are given."""
FRACTIONS = (0.6, 0.08, 0.32)
"""Of the cells: for the weights, for choosing when to stop, for calibrating the intervals. Beats of one cell err
together, so that it takes some 200 cells until 90 % intervals hold 88 to 92 % of other cells' values."""


class Fit(NamedTuple):
    """A trained and calibrated network, and what it was made of."""

    network: Network
    training: Pairs
    """Those that the weights were fitted to."""
    validation: Pairs
    calibration: Pairs
    history: Any
    """Losses, as of `train`."""


@typed
def fit(
    pairs: Pairs,
    *,
    fractions: tuple[float, float, float] = FRACTIONS,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    progress: bool | Callable[[float], None] = False,
    **options: Any,
) -> Fit:
    """Trains a network on some cells and calibrates its 90 % intervals on others.

    Args:
        pairs: of many cells; those of one cell stay together.
        fractions: of the cells: training, validation, calibration.
        seed: of the split, the weights and the order of pairs.
        checkpoint: file from which an interrupted training goes on; see `train`.
        progress: True for a bar on stderr, or a function of the fraction done.
        options: of `train`, e.g. `epochs`, `beta`, `solver_weight`, `net`.

    ValueError: fewer than three cells, or an option that `train` refuses.
    """
    training, validation, calibration = split(pairs, by="cell", fractions=fractions, seed=seed)
    made = train(training, validation=validation, seed=seed, checkpoint=checkpoint, progress=progress, **options)
    return Fit(calibrate(made.network, calibration), training, validation, calibration, made.history)
