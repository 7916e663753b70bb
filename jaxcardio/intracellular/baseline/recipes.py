"""Recipes that turn features of an eAP into APD10 to APD100, and the choice among them inside the training groups.

A recipe is a set of features, a target and a learner. Trees cannot predict what they have never seen, and a new
recording often has longer beats than any before; so the target may be what a line through the delay T_d leaves, or a
multiple of the delay. `fit_chosen` leaves out one training group after the other, takes the recipe with the least mean
error and fits it to all of them. The group that is tested takes no part in the choice.

The list itself was drawn up by people who had seen the four recordings that it is tried on, and an earlier attempt on
them suggested its ingredients. So the error on them is a little too good. The list was then written down once: neither
it nor the settings of the learners were changed after its first result.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from ...annotations import check_type, typed
from ...arguments import check_seed, refusal
from .table import FEATURES, BeatTable, folds_of
from .trees import fit_trees

SETS: dict[str, tuple[str, ...]] = {
    "all": FEATURES,
    "shape": ("spike_width", "delay", "dV1_over_dV2", "dVd_over_dV1", "dVd_over_dV2"),
    "timing": ("spike_width", "delay"),
}
LOGARITHMS = ("spike_width", "dV1", "dV2", "dVd", "dV1_over_dV2", "dVd_over_dV1", "dVd_over_dV2")
"""Features whose logarithm is used, of their size, from `LEAST` to `MOST`: a height near 0 gives wild ratios."""
LEAST, MOST = 1e-3, 1e2
RIDGE = 0.1
"""Penalty, where every feature has variance 1."""
FARTHEST = 4.0
"""Standard deviations of a feature beyond which the ridge does not extrapolate."""
FOLDS = 5
"""Parts of the training groups that are left out in turn, at most."""

Fit = Callable[[BeatTable], Callable[[BeatTable], np.ndarray]]


class Recipe(NamedTuple):
    """How to predict durations.

    Attributes:
        features: which of `SETS`.
        target: the durations themselves; what a line through the delay leaves of them; or their multiple of the delay.
        learner: a ridge, small trees (xgboost), or the mean of both.
    """

    features: Literal["all", "shape", "timing"]
    target: Literal["absolute", "linear", "multiple"]
    learner: Literal["ridge", "trees", "both"]

    def __str__(self) -> str:
        return f"{self.learner} on {self.features}, {self.target}"


RECIPES: tuple[Recipe, ...] = tuple(
    Recipe(*r)
    for r in itertools.product(
        ("all", "shape", "timing"), ("absolute", "linear", "multiple"), ("ridge", "trees", "both")
    )
)
CORE_RECIPES: tuple[Recipe, ...] = tuple(r for r in RECIPES if r.learner == "ridge")
"""Those that need numpy alone."""


class _Ridge:
    """A linear map of standardised features, by penalised weighted least squares."""

    def __init__(self, X: np.ndarray, y: np.ndarray, weights: np.ndarray):
        share = weights / weights.sum()
        self.mean, self.level = share @ X, share @ y
        self.deviation = np.sqrt(share @ (X - self.mean) ** 2)
        self.deviation[self.deviation == 0] = 1.0
        Z = (X - self.mean) / self.deviation
        weighted = share[:, None] * Z
        self.slopes = np.linalg.solve(weighted.T @ Z + RIDGE * np.eye(Z.shape[1]), weighted.T @ (y - self.level))

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.level + np.clip((X - self.mean) / self.deviation, -FARTHEST, FARTHEST) @ self.slopes


class RecipeModel:
    """A recipe fitted to a table: `model(table)` gives (beat, level) in ms, NaN for beats without their features."""

    @typed
    def __init__(self, recipe: Recipe, table: BeatTable, seed: int = 0):
        check_seed(seed)
        for name, allowed in Recipe.__annotations__.items():
            check_type(f"recipe: {name}", getattr(recipe, name), allowed)
        table = table.take(table.is_trainable)
        self.recipe = recipe
        weights = _weights(table.group)
        X, delay, y = self._inputs(table), table.column("delay"), table.durations
        self.line = _line(delay, y, weights) if recipe.target == "linear" else np.zeros((2, y.shape[1]))
        y = y / delay[:, None] if recipe.target == "multiple" else y - _on(self.line, delay)
        self.learners: list[Any] = []
        if recipe.learner != "trees":
            self.learners.append(_Ridge(X, y, weights))
        if recipe.learner != "ridge":
            self.learners.append(fit_trees(X, y, weights, seed))

    def _inputs(self, table: BeatTable) -> Float[np.ndarray, "beats features"]:
        columns = []
        for name in SETS[self.recipe.features]:
            x = table.column(name)
            columns.append(np.log(np.clip(np.abs(x), LEAST, MOST)) if name in LOGARITHMS else x)
        return np.stack(columns, axis=1)

    def __call__(self, table: BeatTable) -> Float[np.ndarray, "beats levels"]:
        found = np.full((len(table.group), self.line.shape[1]), np.nan)
        some = table.is_usable
        if not some.any():
            return found
        usable = table.take(some)
        X, delay = self._inputs(usable), usable.column("delay")
        y = np.mean([learner.predict(X) for learner in self.learners], axis=0, dtype=np.float64)
        found[some] = y * delay[:, None] if self.recipe.target == "multiple" else y + _on(self.line, delay)
        return found


def _weights(group: np.ndarray) -> Float[np.ndarray, " beats"]:
    """Every group counts the same, however many beats it has; mean 1."""
    _, index, counts = np.unique(group, return_inverse=True, return_counts=True)
    return len(group) / len(counts) / counts[index]


def _line(delay: np.ndarray, y: np.ndarray, weights: np.ndarray) -> Float[np.ndarray, "2 levels"]:
    root = np.sqrt(weights)[:, None]
    return np.linalg.lstsq(root * np.stack([np.ones_like(delay), delay], axis=1), root * y, rcond=None)[0]


def _on(line: np.ndarray, delay: np.ndarray) -> Float[np.ndarray, "beats levels"]:
    return line[0] + delay[:, None] * line[1]


@typed
def fit_recipe(recipe: Recipe, table: BeatTable, *, seed: int = 0) -> RecipeModel:
    """Fits one recipe to all beats that have every feature and duration; each group counts the same.

    ValueError: no such beat. ImportError: trees, and xgboost is not installed.
    """
    check_seed(seed)
    if not table.is_trainable.any():
        raise refusal("table", len(table.group), "beats", "some with every feature and every duration")
    return RecipeModel(recipe, table, seed)


class ChosenModel(NamedTuple):
    """The recipe that was best inside the training groups, fitted to all of them.

    Attributes:
        recipe: the one chosen.
        errors: mean error of each recipe on training groups that were left out, ms.
    """

    model: RecipeModel
    recipe: Recipe
    errors: dict[Recipe, float]

    def __call__(self, table: BeatTable) -> Float[np.ndarray, "beats levels"]:
        """APD10 to APD100 of the beats, ms."""
        return self.model(table)


@typed
def fit_chosen(table: BeatTable, recipes: Sequence[Recipe] = RECIPES, *, seed: int = 0) -> ChosenModel:
    """Chooses a recipe by leaving out training groups in turn (`FOLDS` parts at most), and fits it to all of them.

    ValueError: fewer than two groups. ImportError: trees, and xgboost is not installed.
    """
    check_seed(seed)
    table = table.take(table.is_trainable)
    folds = folds_of(table.group, FOLDS)
    if len(folds) < 2:
        raise refusal("table", len(folds), "groups", ">= 2 with every feature and duration, to choose by")
    errors = {recipe: float(np.mean([_left_out(recipe, table, fold, seed) for fold in folds])) for recipe in recipes}
    best = min(errors, key=lambda recipe: errors[recipe])
    return ChosenModel(fit_recipe(best, table, seed=seed), best, errors)


def _left_out(recipe: Recipe, table: BeatTable, fold: np.ndarray, seed: int) -> float:
    tested = table.take(fold)
    return float(np.abs(RecipeModel(recipe, table.take(~fold), seed)(tested) - tested.durations).mean())


@typed
def mean_durations(table: BeatTable) -> Callable[[BeatTable], np.ndarray]:
    """The mean predictor: the mean durations of the training beats, whatever the beat."""
    mean = np.nanmean(table.durations, axis=0)
    return lambda tested: np.tile(mean, (len(tested.group), 1))


class GroupErrors(NamedTuple):
    """Errors on groups that were left out.

    Attributes:
        groups: their names.
        mean: error of each, over its beats and levels, ms.
        by_level: (group, level), ms.
        models: what was fitted without each of them.
    """

    groups: tuple[str, ...]
    mean: Float[np.ndarray, " groups"]
    by_level: Float[np.ndarray, "groups levels"]
    models: tuple[Any, ...]


@typed
def leave_one_group_out(table: BeatTable, fit: Fit) -> GroupErrors:
    """Fits to all groups but one, tests on that one, in turn. Beats without a prediction or a duration do not count.

    ValueError: fewer than two groups.
    """
    names = np.unique(table.group)
    if len(names) < 2:
        raise refusal("table", len(names), "groups", ">= 2")
    models, errors = [], []
    for name in names:
        tested = table.take(table.group == name)
        models.append(fit(table.take(table.group != name)))
        errors.append(np.nanmean(np.abs(models[-1](tested) - tested.durations), axis=0))
    by_level = np.array(errors)
    return GroupErrors(tuple(map(str, names)), by_level.mean(axis=1), by_level, tuple(models))
