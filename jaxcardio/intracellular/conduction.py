"""How a beat travels over an electrode array: speed and direction from activation times, with their errors."""

import enum
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import ArrayLike, Float, Int

from ..annotations import check_type, typed
from ..arguments import check, check_concrete, check_known, without_mask

SURE = 0.01
"""A direction is resolved where times without any would fit as well with no more than this probability."""
FARTHEST = 20.0
"""A cone's origin is sought no farther than so many array sizes away; from there a front is a plane."""


class ConductionVerdict(enum.IntEnum):
    """Whether a speed was measured, or why not."""

    MEASURED = 0
    NO_PROPAGATION_RESOLVED = 1
    TOO_FEW_CHANNELS = 2
    CHANNELS_ON_A_LINE = 3
    ORIGIN_NOT_RESOLVED = 4


VERDICTS = {
    ConductionVerdict.MEASURED: "measured",
    ConductionVerdict.NO_PROPAGATION_RESOLVED: "no propagation resolved: activation times do not differ by more than "
    "sampling and scatter make them",
    ConductionVerdict.TOO_FEW_CHANNELS: "too few channels: a plane takes 3, a cone 5",
    ConductionVerdict.CHANNELS_ON_A_LINE: "the electrodes lie on one line: the direction across it cannot be seen",
    ConductionVerdict.ORIGIN_NOT_RESOLVED: "the origin is too far away for the front's curvature: fit a plane",
}
"""What a verdict says, in words."""


class Conduction(NamedTuple):
    """One beat each. NaN unless measured, but `residual`, which is there wherever there was a fit."""

    speed: Float[np.ndarray, "..."]
    """mm/ms = m/s."""
    speed_error: Float[np.ndarray, "..."]
    """Its standard error, mm/ms."""
    direction: Float[np.ndarray, "..."]
    """Where the front travels, degrees from the x axis towards y, -180 to 180; of a cone: at the middle electrode."""
    direction_error: Float[np.ndarray, "..."]
    """Its standard error, degrees; NaN of a cone."""
    origin: Float[np.ndarray, "... 2"]
    """Where a cone begins, um; NaN of a plane."""
    residual: Float[np.ndarray, "..."]
    """Root mean square of what the fit leaves, ms."""
    n_channels: Int[np.ndarray, "..."]
    """Channels with a time and a position."""
    verdict: Int[np.ndarray, "..."]
    """A `ConductionVerdict` code."""


class _Fit(NamedTuple):
    verdict: int
    residual: float = np.nan
    speed: float = np.nan
    speed_error: float = np.nan
    direction: float = np.nan
    direction_error: float = np.nan
    origin: tuple[float, float] = (np.nan, np.nan)


@typed
def conduction(
    positions: Float[ArrayLike, "channel 2"],
    activations: ArrayLike,
    *,
    resolution: float,
    method: Literal["plane", "cone"] = "plane",
) -> Conduction:
    """Speed and direction of each beat by a least-squares fit to its activation times.

    "plane": t = t0 + s . x, the front of a far origin. The speed is 1 / |s|. "cone": t = t0 + |x - x0| / speed, the
    circular front of an origin on the array or near it, whose speed a plane overestimates.

    Standard errors come from the scatter of the times about the fit, by no less than sampling makes it
    (resolution / sqrt(12)), to first order. Times of neighbouring electrodes that err together make them too small.

    No propagation is resolved where all activations of a beat lie within one sampling interval, or where times without
    any order would have fitted as well with a probability above 1 % (F test of the slopes). Then there is no speed:
    an apparent one would be that of the noise.

    Args:
        positions: of the electrodes, um; NaN for one that is not known.
        activations: (channel,) or (beat, channel) times, ms; NaN where a channel has no beat.
        resolution: sampling interval of the activation times, ms.
        method: "plane" or "cone".

    Raises:
        ValueError: shapes that do not fit, a resolution that is not positive.
    """
    check_known("resolution", resolution, "ms", "finite, > 0", lambda x: np.isfinite(x) & (x > 0))
    check_concrete(positions=positions, activations=activations)
    where, times = (np.asarray(without_mask(x), np.float64) for x in (positions, activations))
    if times.ndim not in (1, 2) or times.shape[-1] != len(where):
        allowed = f"(channel,) or (beat, channel) with the {len(where)} channels of positions"
        raise ValueError(f"activations: shape {times.shape} ms; allowed: {allowed}")
    if where.shape[-1] != 2:
        raise ValueError(f"positions: shape {where.shape} um; allowed: (channel, 2)")
    known = np.isfinite(times) & np.isfinite(where).all(axis=1)
    fit = _plane if method == "plane" else _cone
    rows = np.atleast_2d(times)
    fits = [fit(where[k], t[k], resolution) for t, k in zip(rows, np.atleast_2d(known), strict=True)]
    leading = times.shape[:-1]

    def field(name: str) -> np.ndarray:
        values = np.array([getattr(one, name) for one in fits])
        return values.reshape(leading + values.shape[1:])

    return Conduction(
        speed=field("speed"),
        speed_error=field("speed_error"),
        direction=field("direction"),
        direction_error=field("direction_error"),
        origin=field("origin"),
        residual=field("residual"),
        n_channels=np.asarray(known.sum(axis=-1)),
        verdict=field("verdict"),
    )


@typed
def matched_beats(times: Sequence[Any], window: float = 100.0) -> Float[np.ndarray, "beat channel"]:
    """Beats of many channels put together: one row a beat of the channel that has most, NaN where another has none.

    A beat of another channel belongs to the closest beat of that channel, no farther from it than `window`; of several,
    the closest one does.

    Args:
        times: of the beats of each channel, ms, ascending.
        window: ms; well below a cycle length, above the time that a beat takes over the array.

    Raises:
        ValueError: no channels, times that are not ascending, a window that is not positive.
    """
    check_known("window", window, "ms", "finite, > 0", lambda x: np.isfinite(x) & (x > 0))
    for one in times:
        check_type("times", one, Float[np.ndarray, " beat"])
    rows = [np.asarray(one, np.float64) for one in times]
    if not rows:
        raise ValueError("times: no channels; allowed: at least one")
    for one in rows:
        check("times", one, "ms", "finite, ascending", lambda x: np.isfinite(x).all() and (np.diff(x) > 0).all())
    reference = max(rows, key=len)
    found = np.full((len(reference), len(rows)), np.nan)
    if not len(reference):
        return found
    for channel, one in enumerate(rows):
        right = np.clip(np.searchsorted(reference, one), 1, max(len(reference) - 1, 1))
        right = np.minimum(right, len(reference) - 1)
        left = np.maximum(right - 1, 0)
        nearest = np.where(np.abs(reference[left] - one) <= np.abs(reference[right] - one), left, right)
        distance = np.abs(reference[nearest] - one)
        # The closest one is written last.
        for k in np.argsort(-distance, kind="stable"):
            if distance[k] <= window:
                found[nearest[k], channel] = one[k]
    return found


def _plane(where: np.ndarray, times: np.ndarray, resolution: float) -> _Fit:
    n = times.size
    verdict = _unfit(where, times, resolution, fewest=3)
    if verdict:
        return _Fit(verdict)
    x, t = where - where.mean(axis=0), times - times.mean()
    slopes, *_ = np.linalg.lstsq(x, t, rcond=None)  # ms/um; the mean has taken t0 away
    rest = t - x @ slopes
    residual = float(np.sqrt(np.mean(rest**2)))
    variance = _variance(rest, n - 3, resolution)
    covariance = variance * np.linalg.inv(x.T @ x)
    if not _is_sure(float(slopes @ np.linalg.solve(covariance, slopes)) / 2.0, n - 3):
        return _Fit(ConductionVerdict.NO_PROPAGATION_RESOLVED, residual)
    size = float(np.hypot(*slopes))
    along = slopes / size
    across = np.array([-along[1], along[0]])
    speed = 1e-3 / size  # um/ms to mm/ms
    return _Fit(
        ConductionVerdict.MEASURED,
        residual,
        speed,
        speed * float(np.sqrt(along @ covariance @ along)) / size,
        float(np.degrees(np.arctan2(slopes[1], slopes[0]))),
        float(np.degrees(np.sqrt(across @ covariance @ across) / size)),
    )


def _cone(where: np.ndarray, times: np.ndarray, resolution: float) -> _Fit:
    from scipy.optimize import least_squares

    n = times.size
    verdict = _unfit(where, times, resolution, fewest=5)
    if verdict:
        return _Fit(verdict)
    middle = where.mean(axis=0)
    size = float(np.abs(where - middle).max())
    x, t = (where - middle) / size, times - times.mean()

    def rest(origin: np.ndarray) -> np.ndarray:
        return _line(np.hypot(*(x - origin).T), t)[1]

    # The earliest electrode, the middle, and one beyond the array against the plane's direction.
    slopes, *_ = np.linalg.lstsq(x, t, rcond=None)
    beyond = -2.0 * slopes / max(float(np.hypot(*slopes)), 1e-30)
    starts = (x[np.argmin(t)] + 1e-3, np.full(2, 1e-3), beyond)
    tried = [least_squares(rest, start, x_scale=1.0, max_nfev=100) for start in starts]
    # A front that runs inwards has no origin.
    outward = [one for one in tried if _line(np.hypot(*(x - one.x).T), t)[0] > 0]
    if not outward:
        return _Fit(ConductionVerdict.ORIGIN_NOT_RESOLVED)
    best = min(outward, key=lambda one: one.cost)
    distance = np.hypot(*(x - best.x).T)
    slowness, left = _line(distance, t)
    residual = float(np.sqrt(np.mean(left**2)))
    variance = _variance(left, n - 4, resolution)
    explained = float(((t**2).sum() - (left**2).sum()) / variance) / 3.0
    if not _is_sure(explained, n - 4):
        return _Fit(ConductionVerdict.NO_PROPAGATION_RESOLVED, residual)
    # Derivatives of t0 + slowness |x - x0| by t0, slowness and x0.
    outwards = (x - best.x) / np.maximum(distance, 1e-12)[:, None]
    derivatives = np.column_stack([np.ones(n), distance, -slowness * outwards])
    information = derivatives.T @ derivatives
    if np.hypot(*best.x) > FARTHEST or np.linalg.cond(information) > 1e12:
        return _Fit(ConductionVerdict.ORIGIN_NOT_RESOLVED, residual)
    error = float(np.sqrt(variance * np.linalg.inv(information)[1, 1]))
    if error > slowness:
        return _Fit(ConductionVerdict.ORIGIN_NOT_RESOLVED, residual)
    speed = 1e-3 * size / slowness
    origin = middle + size * best.x
    direction = float(np.degrees(np.arctan2(-best.x[1], -best.x[0])))
    found = (float(origin[0]), float(origin[1]))
    return _Fit(ConductionVerdict.MEASURED, residual, speed, speed * error / slowness, direction, origin=found)


def _line(distance: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray]:
    """Slope of the least-squares line of t over distance, and what it leaves."""
    d = distance - distance.mean()
    slope = float(d @ t / max(float(d @ d), 1e-30))
    return slope, t - slope * d


def _unfit(where: np.ndarray, times: np.ndarray, resolution: float, fewest: int) -> int:
    """The verdict on times that are not worth a fit; 0 where they are."""
    if times.size < fewest:
        return ConductionVerdict.TOO_FEW_CHANNELS
    # Twice a rounding of the times' own size: they may be late in a long recording.
    if np.ptp(times) <= resolution + 4 * np.spacing(np.abs(times).max()):
        return ConductionVerdict.NO_PROPAGATION_RESOLVED
    spread = np.linalg.svd(where - where.mean(axis=0), compute_uv=False)
    if spread[0] == 0 or spread[1] < 1e-6 * spread[0]:
        return ConductionVerdict.CHANNELS_ON_A_LINE
    return 0


def _variance(rest: np.ndarray, df: int, resolution: float) -> float:
    """Of one activation time, ms^2: from what the fit leaves, and no less than sampling gives."""
    sampled = resolution**2 / 12.0
    return max(float(rest @ rest) / df, sampled) if df > 0 else sampled


def _is_sure(f: float, df: int) -> bool:
    """The F test of the slopes; without degrees of freedom the variance is that of sampling, and known."""
    from scipy.special import chdtrc, fdtrc

    return float(chdtrc(2, 2 * f) if df <= 0 else fdtrc(2, df, f)) < SURE
