"""Intervals that hold as often as they say: split conformal prediction on cells that the training never saw.

The half-widths of the intervals (median to lower, upper to median) are multiplied by one factor, the smallest with
which they hold often enough on calibration pairs: conformalised quantile regression with scores relative to the width
(Romano Y, Patterson E, Candes E, NeurIPS 2019; Sesia M, Candes E, Stat 2020;9:e261). It may be below 1 and narrow them.
Order is kept, whatever the network's own quantiles do.

Beats of one cell resemble each other, so that cells count, not beats: every cell has the same weight, and one more
cell, the next one, of which nothing is known, counts as outside (Lee Y, Barber RF, Willett R, arXiv:2306.06342).
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Int

from ..annotations import typed
from ..arguments import check_known, refusal
from .features.apd import LEVELS
from .inference import NARROWEST, SHORTEST, Corrections, Network, half_widths
from .pairs import Pairs, check_sampling_rate
from .unet import Estimate

JUDGED = (30, 40, 50, 60, 70, 80, 90)
"""Levels of which `Coverage.durations` is the mean, %."""


class Coverage(NamedTuple):
    """How often intervals hold on pairs; every cell counts the same."""

    trace: float
    """Share of the samples of the true trace within the interval."""
    levels: Float[np.ndarray, " level"]
    """Share of the true APD10, APD20, ... APD100 within theirs."""
    durations: float
    """Mean of `levels` over APD30 to APD90."""
    crossing: float
    """Share of the samples where lower <= median <= upper does not hold."""


@typed
def calibrate(network: Network, pairs: Pairs, coverage: ArrayLike = 0.9) -> Network:
    """The network with corrected intervals, from pairs of cells that it was not trained on.

    One factor for the traces, by point, and one for the durations of each level. For another device calibrate on some
    of that device's own cells.

    Args:
        network: of `train` or `load_network`; an earlier calibration is forgotten.
        pairs: whose `cell` says which belong together.
        coverage: share of the true values that intervals are to hold.

    ValueError: fewer cells than the coverage needs (9 for 0.9); a coverage that is not between 0 and 1.
    """
    check_known("coverage", coverage, "", "above 0 and below 1", lambda x: (x > 0) & (x < 1))
    check_sampling_rate(pairs, network.sampling_rate)
    share = float(np.asarray(coverage))
    cells = len(np.unique(pairs.cell))
    least = int(np.ceil(share / (1 - share) - 1e-9))
    if cells < least:
        raise refusal("pairs", cells, "cells", f"at least {least} for a coverage of {share:g}")
    plain = dataclasses.replace(network, corrections=Corrections())
    raw = plain(pairs.eap)
    found = Estimate(raw.median, raw.lower, raw.upper)
    trace = weighted_quantile(scores(found, np.asarray(pairs.iap), NARROWEST), pairs.cell, share)
    begun = Corrections(trace=trace, coverage=share, is_calibrated=True)
    corrected = dataclasses.replace(network, corrections=begun)
    band = corrected.band(corrected(pairs.eap), LEVELS)
    relative = scores(band, np.asarray(pairs.apd, np.float64), SHORTEST)
    durations = tuple(weighted_quantile(relative[:, k], pairs.cell, share) for k in range(len(LEVELS)))
    return dataclasses.replace(network, corrections=dataclasses.replace(begun, durations=durations))


@typed
def coverage(network: Network, pairs: Pairs) -> Coverage:
    """How often the network's intervals hold on pairs, as it is (calibrated or not)."""
    check_sampling_rate(pairs, network.sampling_rate)
    prediction = network(pairs.eap)
    lower, median, upper = (np.asarray(trace) for trace in prediction[:3])
    actual = np.asarray(pairs.iap)
    value, low, high = network.apd(prediction, LEVELS)
    true = np.asarray(pairs.apd, np.float64)
    known = np.isfinite(true) & np.isfinite(value)
    held = np.where(known, (low <= true) & (true <= high), np.nan)
    levels = np.array([_by_cell(held[:, k], pairs.cell) for k in range(len(LEVELS))])
    judged = levels[[LEVELS.index(level) for level in JUDGED]]
    return Coverage(
        trace=_by_cell(((lower <= actual) & (actual <= upper)).mean(1), pairs.cell),
        levels=levels,
        durations=float(np.nanmean(judged)) if np.isfinite(judged).any() else np.nan,
        crossing=float(((lower > median) | (median > upper)).mean()),
    )


def scores(found: Estimate, actual: np.ndarray, least: float) -> np.ndarray:
    """By which factor each interval has to be widened to just hold the actual value; NaN where one is unknown."""
    below, above = half_widths(found, least)
    return np.maximum((found.value - actual) / below, (actual - found.value) / above)


def weighted_quantile(scores: Float[np.ndarray, "beat ..."], cell: Int[np.ndarray, " beat"], share: float) -> float:
    """The smallest factor that holds a share of the next cell's values, every cell having the same weight.

    Scores that are NaN do not count. Where too few cells have any, the largest score is taken.
    """
    rows = np.reshape(scores, (len(scores), -1)).astype(np.float64)
    good = np.isfinite(rows)
    _, place = np.unique(cell, return_inverse=True)
    count = np.bincount(place, good.sum(1))
    cells = int((count > 0).sum())
    if not cells:
        return 1.0
    weight = np.broadcast_to((1 / np.maximum(count, 1))[place][:, None], rows.shape)[good] / (cells + 1)
    order = np.argsort(rows[good], kind="stable")
    reached = np.cumsum(weight[order])
    k = min(int(np.searchsorted(reached, share - 1e-9)), len(order) - 1)
    return max(0.0, float(rows[good][order][k]))


def _by_cell(values: Float[np.ndarray, " beat"], cell: Any) -> float:
    """Mean over cells of the means over their beats; NaN do not count."""
    good = np.isfinite(values)
    if not good.any():
        return np.nan
    _, place = np.unique(np.asarray(cell)[good], return_inverse=True)
    return float(np.mean(np.bincount(place, values[good]) / np.bincount(place)))
