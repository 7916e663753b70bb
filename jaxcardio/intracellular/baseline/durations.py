"""The feature baseline on pairs of windows: durations of the iAP from features of the eAP, without its shape."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

from ...annotations import typed
from ...arguments import check_seed
from ..features import LEVELS, eap_features
from .recipes import RECIPES, ChosenModel, Recipe, fit_chosen
from .table import FEATURES, BeatTable

if TYPE_CHECKING:
    from ..pairs import Pairs

JUDGED: tuple[int, ...] = tuple(range(30, 91, 10))
"""Levels of the relative errors: APD30 to APD90."""


@typed
def table_of(pairs: "Pairs") -> BeatTable:
    """Features of the eAP windows and durations of the iAP without noise; the group is the cell.

    NaN where an eAP has no repolarisation wave: it then has no prediction.
    """
    found = eap_features(pairs.eap, pairs.sampling_rate)
    features = np.stack([np.asarray(getattr(found, name), np.float64) for name in FEATURES], axis=1)
    return BeatTable(features, np.asarray(pairs.apd, np.float64), np.asarray(pairs.cell))


class DurationErrors(NamedTuple):
    """Errors of durations on pairs.

    Attributes:
        mean: over the pairs and over APD10 to APD100, ms.
        by_level: of each duration, ms.
        percent_median, percent_mean: relative errors of APD30 to APD90, %.
        mean_predictor: what the mean durations of the training pairs give on the same pairs, ms.
        predicted: share of the pairs that have the features; only these count above.
    """

    mean: float
    by_level: Float[np.ndarray, " levels"]
    percent_median: float
    percent_mean: float
    mean_predictor: float
    predicted: float


class DurationModel(NamedTuple):
    """A chosen recipe fitted to pairs: `model(pairs)` gives APD10 to APD100 (pair, level) in ms, NaN without a wave."""

    chosen: ChosenModel
    mean: Float[np.ndarray, " levels"]

    def __call__(self, pairs: "Pairs") -> Float[np.ndarray, "pairs levels"]:
        return self.chosen(table_of(pairs))

    def errors(self, pairs: "Pairs") -> DurationErrors:
        """Errors on pairs of cells that it has not seen. NaN where no pair has a prediction."""
        table = table_of(pairs)
        some = table.is_usable
        if not some.any():
            nothing = np.full(len(LEVELS), np.nan)
            return DurationErrors(np.nan, nothing, np.nan, np.nan, np.nan, 0.0)
        table = table.take(some)
        errors = np.abs(self.chosen(table) - table.durations)
        judged = [LEVELS.index(level) for level in JUDGED]
        percent = 100 * (errors / table.durations)[:, judged]
        return DurationErrors(
            mean=float(np.nanmean(errors)),
            by_level=np.nanmean(errors, axis=0),
            percent_median=float(np.nanmedian(percent)),
            percent_mean=float(np.nanmean(percent)),
            mean_predictor=float(np.nanmean(np.abs(self.mean - table.durations))),
            predicted=float(some.mean()),
        )


@typed
def fit_durations(pairs: "Pairs", recipes: Sequence[Recipe] = RECIPES, *, seed: int = 0) -> DurationModel:
    """Chooses a recipe by leaving out training cells, and fits it to all of them; each cell counts the same.

    ValueError: fewer than two cells with all features. ImportError: trees, and xgboost is not installed;
    `CORE_RECIPES` need numpy alone.
    """
    check_seed(seed)
    table = table_of(pairs)
    return DurationModel(fit_chosen(table, recipes, seed=seed), np.nanmean(table.durations, axis=0))


@typed
def feature_baseline(
    train_pairs: "Pairs", test_pairs: "Pairs", recipes: Sequence[Recipe] = RECIPES, *, seed: int = 0
) -> DurationErrors:
    """Errors of the feature baseline on pairs whose cells it has not seen: new cells, another drug or another device.

    For several sets of test pairs fit once: `fit_durations(train_pairs).errors(test_pairs)`. Errors as there.
    """
    return fit_durations(train_pairs, recipes, seed=seed).errors(test_pairs)
