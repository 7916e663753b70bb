"""How well a network reconstructs pairs that it has not seen: errors, durations, intervals, and simpler ways beside."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from ..annotations import check_type, typed
from ..arguments import refusal
from ..files.writing import Where, write_text
from ..text_tables import text_table
from .conformal import JUDGED, coverage
from .features import LEVELS
from .inference import Network
from .pairs import Pairs, check_sampling_rate

BARS = {
    "mae": (None, 0.039),
    "ratio": (4.0, None),
    "correlation": (0.99, None),
    "apd_median": (None, 5.0),
    "apd_mean": (None, 6.2),
    "coverage": (0.87, 0.93),
    "apd_coverage": (0.87, 0.93),
    "crossing": (None, 0.0),
}
"""Lowest and highest value that is good; MAE is judged at 0.035 where the device is that of the training."""
HEADINGS = (
    "pairs", "n", "cells", "MAE", "mean iAP / MAE", "r", "APD30..90 median %", "mean %", "no APD",
    "90 % by point", "by APD", "crossing",
)  # fmt: skip
Predictor = Callable[[np.ndarray], np.ndarray]
"""Windows of eAP (pair, sample) -> iAP (pair, sample)."""


class Score(NamedTuple):
    """What a network does on one set of pairs. Errors are of normalised potential: an action potential has 0.9."""

    name: str
    pairs: int
    cells: int
    mae: float
    """Mean absolute error over all samples (Eq 1)."""
    ratio: float
    """Of the mean predictor's error to it."""
    correlation: float
    """Pearson's r over all samples."""
    apd_median: float
    """Median error of APD30 ... APD90, % of the true one (Eq 4)."""
    apd_mean: float
    missing: float
    """Share of those durations that the reconstructed trace does not have."""
    coverage: float
    """Share of samples within their 90 % interval; every cell counts alike (`conformal.coverage`)."""
    apd_coverage: float
    """Share of the durations APD30 ... APD90 within theirs; every cell counts alike."""
    crossing: float
    """Share of samples where the three quantiles are out of order."""
    others: dict[str, float]
    """MAE of other predictors, by name."""

    def texts(self) -> tuple[str, ...]:
        """A row of a table."""
        shares = (f"{100 * self.missing:.2f} %", f"{100 * self.coverage:.1f} %", f"{100 * self.apd_coverage:.1f} %")
        errors = (f"{self.mae:.4f}", f"{self.ratio:.2f}", f"{self.correlation:.4f}")
        durations = (f"{self.apd_median:.2f}", f"{self.apd_mean:.2f}")
        others = (f"{x:.4f}" for x in self.others.values())
        count = (str(self.pairs), str(self.cells))
        return (self.name, *count, *errors, *durations, *shares, f"{self.crossing:g}", *others)


class Evaluation(NamedTuple):
    """Scores of several sets of pairs: `print` it, or take its `scores`."""

    scores: tuple[Score, ...]

    def __str__(self) -> str:
        others = tuple(f"MAE of {name}" for name in self.scores[0].others) if self.scores else ()
        return text_table([HEADINGS + others, *(score.texts() for score in self.scores)], left=1)

    def __repr__(self) -> str:
        return str(self)

    def as_json(self) -> dict[str, Any]:
        """The scores by name, of plain numbers."""
        return {score.name: {k: v for k, v in score._asdict().items() if k != "name"} for score in self.scores}

    @typed
    def save(self, path: Where) -> None:
        """Writes `as_json` as a file, whole or not at all."""
        write_text(path, json.dumps(self.as_json(), indent=1) + "\n")


@typed
def evaluate(
    network: Network, sets: Mapping[str, Pairs], *, mean: Any = None, others: Mapping[str, Any] | None = None
) -> Evaluation:
    """Scores a network on sets of pairs, which must be of cells, drugs or devices that its training never saw.

    Args:
        network: with its frozen statistics and whatever conformal correction it has.
        sets: pairs by name, e.g. {"new cells": ..., "unseen drug": ..., "other device": ...}.
        mean: the mean predictor (of the training pairs), a function of eAP windows; the mean of each set itself, which
            is a stronger rival, where None.
        others: more predictors by name, whose MAE is shown beside.

    Returns:
        One score a set. `BARS` says which numbers are good.

    ValueError: pairs of another sampling rate or length than the network's.
    """
    for name, pairs in sets.items():
        check_type(f"sets: {name}", pairs, Pairs)
        check_sampling_rate(pairs, network.sampling_rate, f"sets: {name}")
    for name, of in {**({} if mean is None else {"mean": mean}), **(others or {})}.items():
        if not callable(of):
            raise refusal(name if name == "mean" else f"others: {name}", of, "", "a function of eAP windows")
    return Evaluation(tuple(_score(network, name, pairs, mean, others or {}) for name, pairs in sets.items()))


def _score(network: Network, name: str, pairs: Pairs, mean: Predictor | None, others: Mapping[str, Predictor]) -> Score:
    prediction = network(pairs.eap)
    median, actual = np.asarray(prediction.median, np.float64), np.asarray(pairs.iap, np.float64)
    judged = [LEVELS.index(level) for level in JUDGED]
    true = np.asarray(pairs.apd, np.float64)[:, judged]
    value = np.asarray(network.apd(prediction, LEVELS).value)[:, judged]
    error = 100 * np.abs(value - true) / true
    has, there = np.isfinite(true), np.isfinite(error)
    mae = mean_error(median, actual)
    rival = actual.mean(0)[None] if mean is None else mean(pairs.eap)
    held = coverage(network, pairs)
    return Score(
        name=name,
        pairs=len(actual),
        cells=len(np.unique(pairs.cell)),
        mae=mae,
        ratio=mean_error(rival, actual) / mae,
        correlation=float(np.corrcoef(median.ravel(), actual.ravel())[0, 1]),
        apd_median=float(np.median(error[there])) if there.any() else np.nan,
        apd_mean=float(error[there].mean()) if there.any() else np.nan,
        missing=float((has & ~there).sum() / max(1, has.sum())),
        coverage=held.trace,
        apd_coverage=held.durations,
        crossing=held.crossing,
        others={name: mean_error(np.asarray(of(pairs.eap)), actual) for name, of in others.items()},
    )


def mean_error(found: np.ndarray, actual: np.ndarray) -> float:
    """Mean absolute error (Eq 1)."""
    return float(np.abs(np.asarray(found, np.float64) - actual).mean())


def within(name: str, value: float, highest_mae: float = 0.035) -> bool:
    """Whether a number of a score is within its bar. KeyError: it has none."""
    low, high = (None, highest_mae) if name == "mae" else BARS[name]
    return bool((low is None or value >= low) and (high is None or value <= high))


def missed(score: Score, highest_mae: float = 0.035) -> tuple[str, ...]:
    """The numbers of a score that are not within their bars."""
    return tuple(name for name in BARS if not within(name, getattr(score, name), highest_mae))
