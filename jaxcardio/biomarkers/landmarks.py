"""The landmarks of one noisy beat, each with its error: steepest rise, peak, rest, fall through a level.

All positions are in samples of one even clock. What is found is a number, the weighted sum of samples whose noise is
the number's own (`Landmark.sums`), and a part of the error that is not noise: what the curve's bend makes of the fit.
"""

from typing import NamedTuple

import numpy as np

from .local import Fit, Signal, Weights, chosen, local_fit, polynomial, variance, widths

STEEP = 0.12
"""A slope is looked at where its noise is at most this share of it."""
SURE = 0.4
"""The same of a bend, and of the slope of repolarisation."""
LONGEST_RISE, LONGEST_TOP, LONGEST_REST, LONGEST_FALL = 20.0, 60.0, 100.0, 60.0
"""Half-widths, ms, of the widest fits."""
UNRESOLVED = 0.3
"""Of a sampling interval: what samples that lie too far apart leave unknown of the time of an upstroke."""
NARROWED = (2.0, 2.0)
"""By how much narrower than what finds a rise is what measures its slope, and its time."""
MISSED_PEAK = 0.06
"""Of the largest step near the highest sample."""
GRAIN = 0.02
"""Differences of times below this share of a sample do not matter."""


class Landmark(NamedTuple):
    """`position` in samples; `value` mV, or mV a sample for the rise. NaN where it could not be found."""

    position: float
    value: float
    position_sum: Weights | None
    """weighted sum of samples whose noise is that of the position"""
    value_sum: Weights | None
    position_bias: float
    value_bias: float
    half: float
    """half-width of the samples that were used"""


NOWHERE = Landmark(np.nan, np.nan, None, None, 0.0, 0.0, 0.0)


def box(x: np.ndarray, half: int) -> np.ndarray:
    """Mean over 2 half + 1 samples of x (T,), fewer at the ends."""
    if half == 0:
        return x
    total = np.concatenate([[0.0], np.cumsum(x)])
    k = np.arange(x.size)
    low, high = np.maximum(k - half, 0), np.minimum(k + half + 1, x.size)
    return (total[high] - total[low]) / (high - low)


def quiet_half(signal: Signal, target: float, longest: float) -> int:
    """Half-width, samples, at which a mean has noise of at most `target` mV, up to `longest` ms."""
    most = max(1, int(longest / signal.dt))
    region = 10 * most + 1
    for half in [0, *widths(1, most)]:
        n = 2 * half + 1
        if variance(signal, np.full(n, 1 / n), region) <= target**2:
            return half
    return most


def steepest_rise(signal: Signal, y: np.ndarray, first: int, end: int) -> Landmark:
    """Where V rises fastest between samples `first` and `end`; y is V without gaps."""
    first, end = max(first, 0), min(end, y.size - 1)
    region = end - first + 1
    most = max(2.0, min(LONGEST_RISE / signal.dt, region))
    near, found, widest = None, [], None
    for half in widths(2, most):
        seen = half if half > 2 else 1  # the narrowest fit is about the steepest interval itself
        slope = polynomial(0.5 - seen, 2 * seen, 1)[1]
        low, high = (first, end) if near is None else (max(first, near - half), min(end, near + half))
        begin, stop = low - seen + 1, high + seen  # the samples of the outermost windows
        left, right = max(0, -begin), max(0, stop - y.size)
        part = np.pad(y[max(begin, 0) : min(stop, y.size)], (left, right), mode="edge")
        if part.size < 2 * seen:
            continue
        slopes = np.convolve(part, slope[::-1], mode="valid")
        j = low + int(slopes.argmax())
        noise = np.sqrt(variance(signal, slope, region))
        if noise > STEEP * slopes.max():
            continue
        near = j if near is None else near
        if widest is None:
            widest = (j, seen, slopes.max(), slope)
        fit = _vertex_of_slope(signal, j, half)
        if fit is not None:
            found.append(fit)
    if not found and widest is not None:  # a straight upstroke: no point of it is the steepest
        j, half, slopes, slope = widest
        flank = Weights(j - half + 1, slope)
        return Landmark(j + 0.5, slopes, Weights(j - half + 1, 0 * slope), flank, half / np.sqrt(3), 0.0, half)
    if not found:
        return NOWHERE
    at, noise = (np.array([f[i] for f in found]) for i in range(2))
    k, bias = chosen(at, noise, GRAIN)
    return _refined(signal, at[k], found[k][2], bias)


def _refined(signal: Signal, at: float, wide: Fit, bias: float) -> Landmark:
    """The steepest rise near position `at`, which a fit that is `wide` has found: its bend and slope at half the width.

    A wide fit has too little slope, and is drawn to the longer flank.
    """
    twist = wide.coefficients[3]
    u = at - wide.centre
    near, nearer = (
        local_fit(signal.x, wide.centre, max(2, round(wide.half / narrower)), 3) or wide for narrower in NARROWED
    )
    # The slope's own slope, 2 c2 + 6 c3 u, is made 0 by a step of Newton's with the wide fit's twist.
    step = -(nearer.coefficients[2] / (3 * twist) + u)
    if abs(u + step) > wide.half / 2:
        step = 0.0
    place = Weights(nearer.first, -nearer.weights[2] / (3 * twist))
    slope = near.coefficients[1]
    slope_bias = abs(slope - wide.coefficients[1])
    # What samples do not resolve: by how much the slope bends within one interval, as a share of it.
    roundness = min(2.0, abs(6 * twist) / max(slope, 1e-300))
    bias = np.hypot(bias, UNRESOLVED * min(1.0, roundness))
    slope_bias = np.hypot(slope_bias, slope * (roundness / 8 if roundness < 0.5 else roundness))
    return Landmark(at + step, slope, place, near.row(1), bias, slope_bias, float(wide.half))


def _vertex_of_slope(signal: Signal, j: int, half: int) -> tuple[float, float, Fit] | None:
    """Position of the steepest point by a cubic about the interval after sample j, its variance, and the cubic."""
    found = _cubic_rise(signal, j, half)
    for _ in range(2):
        if found is None or not 0.5 < abs(found[1]) <= half:
            break
        j += round(found[1])
        found = _cubic_rise(signal, j, half)
    if found is None:
        return None
    fit, u = found
    if half == 2:
        u = float(np.clip(u, -0.5, 0.5))
    elif abs(u) > max(0.75, half / 2):
        return None
    bend_variance = variance(signal, fit.weights[2], 4.0 * half)
    return fit.centre + u, bend_variance / (9 * fit.coefficients[3] ** 2), fit


def _cubic_rise(signal: Signal, j: int, half: int) -> tuple[Fit, float] | None:
    """A cubic about the interval after sample j, and how far from there its slope is largest; None if it has none."""
    fit = local_fit(signal.x, j + 0.5, half, 3)
    if fit is None:
        return None
    bend, twist = fit.coefficients[2], fit.coefficients[3]
    if twist >= 0 or np.sqrt(variance(signal, fit.weights[3], 4.0 * half)) > SURE * -twist:
        return None
    return fit, float(-bend / (3 * twist))


def highest(signal: Signal, y: np.ndarray, rise: float, top: int, end: int, flat: int, near: int) -> Landmark:
    """The peak near sample `top`, after the upstroke at `rise`, before `end`.

    `flat` samples are as high but for noise, `near` samples nearly so.
    """
    first = int(np.ceil(rise))
    centre, found = top, []
    # No wider than the rise to it was long: a spike is not to be taken for the dome behind it.
    for half in widths(1, max(3.0, min(LONGEST_TOP / signal.dt, end - top, max(top - rise + 1, near / 2)))):
        low = max(first, centre - half)
        if half > 1:
            part = box(y[max(low - half, first) : min(centre + 2 * half + 1, end)], half)
            centre = max(low - half, first) + int(part.argmax()) if part.size else centre
        fit = local_fit(signal.x, centre, half, 2, first, end)
        if fit is None:
            continue
        curve = fit.coefficients[2]
        u = float(np.clip(-fit.coefficients[1] / (2 * curve), -half, half)) if curve < 0 else 0.0
        u = float(np.clip(u, fit.first - centre, fit.first + fit.weights.shape[1] - 1 - centre))
        value, _ = fit.at(u)
        weights = fit.value_weights(u)
        noise = variance(signal, weights.weights, 4.0 * half)
        found.append((value, noise * _of_extreme(flat, half), fit, u, weights))
    if not found:
        return NOWHERE
    k, bias = chosen(np.array([f[0] for f in found]), np.array([f[1] for f in found]))
    value, _, fit, u, weights = found[k]
    noise = variance(signal, weights.weights, 4.0 * fit.half)
    bias = np.sqrt(bias**2 + _between_samples(signal, y, round(fit.centre + u)) ** 2 + noise * _picked(near, fit.half))
    return Landmark(fit.centre + u, value, None, weights, 0.0, bias, fit.half)


def _picked(region: float, half: float) -> float:
    """What picking an extreme of `region` samples, in fits of 2 half + 1, adds to its error, in units of variance."""
    return 0.5 * float(np.log(max(region / (2 * half + 1), 1.0)))


def _between_samples(signal: Signal, y: np.ndarray, j: int) -> float:
    """What the peak near sample j may be higher than samples show, mV: a share of the largest step to it."""
    noise = np.sqrt(variance(signal, np.array([-1.0, 1.0]), 100.0))
    steps = abs(np.diff(y[max(j - 3, 0) : j + 3]))
    return MISSED_PEAK * max(float(steps.max(initial=0.0)) - 3 * noise, 0.0)


def lowest(signal: Signal, y: np.ndarray, first: int, end: int) -> Landmark:
    """The lowest V from sample `first` to before `end`."""
    region = end - first
    if region < 3:
        return Landmark(float(first), float(y[first]), None, Weights(first, np.ones(1)), 0.0, 0.0, 0.0)
    found = []
    for half in widths(1, max(1.0, min(LONGEST_REST / signal.dt, region / 4))):
        smooth = box(y[first:end], half)
        inside = smooth[half : region - half]
        centre = first + half + int(inside.argmin())
        fit = local_fit(signal.x, centre, half, 2, first, end)
        if fit is None:
            continue
        # Where V rises from the first sample on, as in a recording that begins with an upstroke, that is the lowest.
        at = float(-half) if centre == first + half and fit.at(float(-half))[0] < fit.at(0.0)[0] else 0.0
        weights = fit.value_weights(at)
        noise = variance(signal, weights.weights, float(region))
        found.append((fit.at(at)[0], noise * _of_extreme(region, half), fit, weights))
    if not found:
        return NOWHERE
    values = np.array([f[0] for f in found])
    k, bias = chosen(values, np.array([f[1] for f in found]))
    fit, weights = found[k][2:]
    bias = np.sqrt(bias**2 + variance(signal, weights.weights, float(region)) * _picked(region, fit.half))
    return Landmark(fit.centre, values[k], None, weights, 0.0, float(bias), fit.half)


def _of_extreme(region: int, half: int) -> float:
    """By how much the square of what noise does to the highest of `region` samples, taken in means of 2 half + 1, is
    more than its variance."""
    return 1 + 2 * float(np.log(max(region / (2 * half + 1), 1.0)))


def before(signal: Signal, y: np.ndarray, onset: int, first: int) -> Landmark:
    """V at sample `onset`, from what precedes it since sample `first`."""
    found = []
    for half in widths(1, max(1.0, min(LONGEST_REST / signal.dt, (onset - first) / 2))):
        n = 2 * half + 1
        fit = local_fit(signal.x, onset, n - 1, 1, max(first, onset - n + 1), onset + 1)
        if fit is None or fit.first > onset:
            continue
        weights = fit.value_weights(0.0)
        found.append((fit.at(0.0)[0], variance(signal, weights.weights, 4.0 * n), fit, weights))
    if not found:
        return Landmark(float(onset), float(y[onset]), None, Weights(onset, np.ones(1)), 0.0, 0.0, 0.0)
    k, bias = chosen(np.array([f[0] for f in found]), np.array([f[1] for f in found]))
    return Landmark(float(onset), found[k][0], None, found[k][3], 0.0, bias, found[k][2].half)


def fall_through(signal: Signal, smooth: np.ndarray, level: float, near: float, top: int, end: int) -> Landmark:
    """The first fall of V through `level` (mV) after sample `top` and before `end`; `smooth` says where about.

    Its `value` is the slope there, mV a sample. About how steep V falls is seen within `near` mV of the level.
    """
    below = smooth[top:end] <= level
    if not below.any():
        return NOWHERE
    about = top + int(below.argmax())
    above = np.flatnonzero(smooth[top:about] >= level + near)
    under = np.flatnonzero(smooth[about:end] <= level - near)
    begin = top + int(above[-1]) if above.size else top
    stop = about + int(under[0]) if under.size else min(end - 1, 2 * about - begin)
    steepness = max(smooth[begin] - smooth[stop], near / 2) / max(stop - begin, 1)
    found, doubtful = [], None
    most = max(2.0, min(LONGEST_FALL / signal.dt, (about - top) * 0.75, (end - about) * 0.75))
    for half in widths(2, most):
        crossing = _crossing(signal, level, about, half, top, end)
        if crossing is None:
            continue
        fit, u = crossing
        slope = fit.at(u)[1]
        weights = fit.value_weights(u)
        here = (fit.centre + u, slope, variance(signal, weights.weights, 4.0 * half), fit, weights)
        if -slope < steepness / 4 or np.sqrt(variance(signal, fit.weights[1], 4.0 * half)) > SURE * steepness:
            doubtful = here
        else:
            found.append(here)
    if not found and doubtful is not None:
        found = [(doubtful[0], -steepness, *doubtful[2:])]
    if not found:
        return NOWHERE
    k, bias = chosen(np.array([f[0] for f in found]), np.array([f[2] for f in found]) / steepness**2, GRAIN)
    position, slope, _, fit, weights = found[k]
    if fit.half <= 2:
        bias = np.hypot(bias, abs(fit.coefficients[2] / slope) / 4)
    return Landmark(position, slope, weights, None, bias, 0.0, fit.half)


def _crossing(signal: Signal, level: float, centre: int, half: int, top: int, end: int) -> tuple[Fit, float] | None:
    """A parabola about where V falls through the level near sample `centre`, and how far from its centre that is."""
    found = None
    for _ in range(4):
        fit = local_fit(signal.x, centre, half, 2, top, end)
        u = None if fit is None else _root(fit, level, half)
        if fit is None or u is None:
            return None
        found = fit, u
        if abs(u) <= 0.5:
            break
        centre = int(np.clip(centre + round(u), top, end - 1))
    return found


def _root(fit: Fit, level: float, half: float) -> float | None:
    """Where, within `half` samples of its centre, the fit falls through the level; the nearest such place."""
    a, b, c = fit.coefficients
    if abs(c) < 1e-12 * max(abs(b), 1e-300):
        roots = np.array([(level - a) / b]) if b else np.zeros(0)
    else:
        inside = b * b - 4 * c * (a - level)
        if inside < 0:
            return None
        roots = (-b + np.array([-1, 1]) * np.sqrt(inside)) / (2 * c)
    roots = [u for u in roots if abs(u) <= half and b + 2 * c * u < 0]
    return float(min(roots, key=abs)) if roots else None
