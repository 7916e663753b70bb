"""Gradient-boosted trees and their SHAP values: the extra `baseline` (xgboost, shap), imported when they are used."""

import warnings
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from ...annotations import typed
from ...arguments import check_seed
from .table import BeatTable

SMALL: dict[str, Any] = {
    "n_estimators": 150,
    "max_depth": 2,
    "learning_rate": 0.05,
    "subsample": 0.6,
    "colsample_bynode": 0.7,
    "min_child_weight": 5,
    "reg_lambda": 5.0,
}
"""Shallow trees that learn slowly. Set once, by habit, and not tuned to the recorded beats."""
PUBLISHED: dict[str, Any] = {
    "reg_lambda": 5.107,
    "reg_alpha": 0.032,
    "min_child_weight": 12,
    "max_depth": 9,
    "subsample": 0.6,
    "early_stopping_rounds": 10,
}
"""Settings in the code of the study (rounded); what is not named is the default of xgboost."""
PUBLISHED_FEATURES: tuple[str, ...] = (
    "spike_width", "delay", "increase_rate", "decay_rate", "dV1_over_dV2", "dVd_over_dV2", "dVd_over_dV1",
)  # fmt: skip
STOPPING_SHARE = 0.2
"""Of the training beats, drawn at random beat by beat: when to stop, as published."""


def fit_trees(
    X: Float[np.ndarray, "beats features"],
    y: Float[np.ndarray, "beats levels"],
    weights: Float[np.ndarray, " beats"],
    seed: int,
) -> Any:
    """An xgboost regressor of `SMALL` trees; the weights have mean 1. ImportError: xgboost is not installed."""
    model = _xgboost().XGBRegressor(n_jobs=1, random_state=seed, **SMALL)
    return model.fit(X, y, sample_weight=weights)


class PublishedTrees:
    """Features -> APD10 to APD100 as published: deep trees on seven features, stopped on a random fifth of the beats.

    The published slopes are of the raw trace; a table has those of the normalised one.
    ImportError: xgboost is not installed.
    """

    @typed
    def __init__(self, table: BeatTable, seed: int = 0):
        check_seed(seed)
        table = table.take(table.is_trainable)
        order = np.random.default_rng(seed).permutation(len(table.group))
        stop, learn = np.split(order, [int(STOPPING_SHARE * len(order))])
        X, y = _published(table), table.durations
        model = _xgboost().XGBRegressor(n_jobs=1, random_state=seed, **PUBLISHED)
        self.model = model.fit(X[learn], y[learn], eval_set=[(X[stop], y[stop])], verbose=False)

    def __call__(self, table: BeatTable) -> Float[np.ndarray, "beats levels"]:
        """APD10 to APD100 of the beats, ms."""
        return self.model.predict(_published(table)).astype(np.float64)


def _published(table: BeatTable) -> Float[np.ndarray, "beats features"]:
    return np.stack([table.column(name) for name in PUBLISHED_FEATURES], axis=1)


class Explanation(NamedTuple):
    """What each feature adds to the prediction of each duration.

    Attributes:
        values: SHAP values, ms.
        importance: their mean size over the beats, ms.
    """

    values: Float[np.ndarray, "beats levels features"]
    importance: Float[np.ndarray, "levels features"]


@typed
def explain(table: BeatTable, *, seed: int = 0) -> Explanation:
    """SHAP values of small trees that are fitted to the durations themselves, on the beats they were fitted to.

    They say what the trees use. With beats of few recordings that includes what merely tells the recordings apart.
    Beats without every feature and duration are left out. ImportError: xgboost or shap is not installed.
    """
    check_seed(seed)
    explainer = _shap().TreeExplainer
    table = table.take(table.is_trainable)
    even, X = np.ones(len(table.group)), table.features
    models = [fit_trees(X, y, even, seed) for y in table.durations.T]
    values = np.stack([explainer(model).shap_values(X) for model in models], axis=1).astype(np.float64)
    return Explanation(values, np.abs(values).mean(axis=0))


def _xgboost() -> Any:
    try:
        import xgboost  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError("boosted trees need xgboost: pip install jaxcardio[baseline]") from None
    return xgboost


def _shap() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what its plots ask of matplotlib
            import shap  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError("SHAP values need shap: pip install jaxcardio[baseline]") from None
    return shap
