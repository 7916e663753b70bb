"""Phase of re-entrant waves: where it is singular, the paths of spiral tips, period and dominant frequency."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ...annotations import typed
from ...arguments import check, check_known, is_traced, refusal
from ...biomarkers.sampling import namespace

if TYPE_CHECKING:
    from ..run import Run

Numbers = Array | np.ndarray


class Singularities(NamedTuple):
    """Phase singularities of a sheet, one entry for each in each sample, in order of time."""

    ts: Float[np.ndarray, " n"]
    """ms"""
    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " n"]
    """mm, from the corner of the sheet"""
    charge: Int[np.ndarray, " n"]
    """+1 where the phase grows counter-clockwise around it, with x to the right and y upwards: the wave then turns
    clockwise. -1 the other way round."""


class TipPath(NamedTuple):
    """The path of one spiral tip, sample by sample, from where it is first seen to where it is last."""

    ts: Float[np.ndarray, " n"]
    """ms"""
    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, " n"]
    """mm"""
    charge: int
    """As in `Singularities`."""


@typed
def phase_map(
    run: "Run",
    *,
    delay: float | None = None,
    second: str | None = None,
    centre: float | Sequence[float] | None = None,
) -> Float[Array, " time *grid"]:
    """Phase of each cell in its cycle, radians in (-pi, pi], at every saved time; any number of axes.

    It is the angle of (a - a_0, b - b_0) around a centre that the cycle turns about, each divided by half its range in
    the run. a is V; b is V one `delay` earlier, or a saved output that follows V (a gate, a recovery variable), named
    by `second`. The phase then grows in time: it is about -3/4 pi at rest, and passes -pi/4 in the upstroke.

    Args:
        run: what `simulate` gave.
        delay: ms, interpolated between samples; a few times the upstroke, at most the APD. NaN for samples of the first
            `delay` of the run.
        second: name of a saved output; give one of both.
        centre: (a_0, b_0), or one number for both; default the middle of the range of each in this run.

    Raises:
        ValueError: not one of `delay` and `second`; a delay beyond the run; an output that was not saved.

    Source: Gray, Pertsov and Jalife (1998), doi 10.1038/32164.
    """
    a, b = _plane(run, delay, second, centre)
    return jnp.arctan2(b, a)


@typed
def phase_singularities(
    run: "Run",
    *,
    delay: float | None = None,
    second: str | None = None,
    centre: float | Sequence[float] | None = None,
) -> Singularities:
    """Phase singularities of a sheet at every saved time: the tips of its spiral waves.

    One lies in each square of four cell centres around which the phase (`phase_map`) grows by +-2 pi; its place within
    the square is where a = a_0 and b = b_0 cross, both bilinear between the centres. Squares that touch the mask have
    none: a wave around a hole has no tip.

    Args:
        run: of a sheet, not traced.
        delay, second, centre: see `phase_map`.

    Raises:
        ValueError: a run that is traced, or of other than two axes; as for `phase_map`.

    Source: the topological charge of Mermin (1979), doi 10.1103/RevModPhys.51.591, as applied by Iyer and Gray (2001),
    doi 10.1114/1.1335538.
    """
    if run.tissue.axes != 2:
        raise refusal("run.tissue.shape", run.tissue.shape, "cells", "a sheet, (ny, nx)")
    a, b = _plane(run, delay, second, centre)
    if is_traced(a, b):
        raise ValueError("run is traced; allowed: a run whose values are known: their number is not fixed")
    mask = None if run.tissue.mask is None else np.asarray(run.tissue.mask)
    found = [_singular(np.asarray(a[k]), np.asarray(b[k]), mask) for k in range(len(run.ts))]
    dy, dx = run.tissue.spacing
    ts = np.repeat(np.asarray(run.ts, float), [len(x) for x, _, _ in found])
    x, y, charge = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return Singularities(ts, (x + 0.5) * dx, (y + 0.5) * dy, charge)


@typed
def tip_paths(
    run: "Run",
    *,
    delay: float | None = None,
    second: str | None = None,
    centre: float | Sequence[float] | None = None,
    fastest: float = 1.0,
    shortest: float = 0.0,
) -> list[TipPath]:
    """Paths of the spiral tips of a sheet: its phase singularities, linked from each saved time to the next.

    Of each pair of samples the two nearest singularities of the same charge are linked first, then the two nearest of
    those that are left, as long as the tip need not be faster than `fastest` (or move by less than two cells).

    Args:
        run, delay, second, centre: see `phase_singularities`.
        fastest: a tip moves, mm/ms.
        shortest: path that is kept, ms; squares of noise are seen once.

    Returns:
        In order of their first sample; none for a plane wave.
    """
    check_known("fastest", fastest, "mm/ms", "> 0, finite", lambda x: np.isfinite(x) & (x > 0))
    check_known("shortest", shortest, "ms", ">= 0, finite", lambda x: np.isfinite(x) & (x >= 0))
    tips = phase_singularities(run, delay=delay, second=second, centre=centre)
    ts = np.asarray(run.ts, float)
    least = 2 * max(run.tissue.spacing)
    first = np.searchsorted(tips.ts, ts, side="left")
    last = np.searchsorted(tips.ts, ts, side="right")
    paths: list[list[int]] = []
    going: list[list[int]] = []
    for k in range(len(ts)):
        now = list(range(first[k], last[k]))
        reach = max(least, fastest * (ts[k] - ts[k - 1])) if k else 0.0
        linked = _linked(tips, [path[-1] for path in going], now, reach)
        for i, tip in linked.items():
            going[i].append(tip)
        begun = [[tip] for tip in now if tip not in linked.values()]
        going = [going[i] for i in sorted(linked)] + begun
        paths += begun
    found = [TipPath(tips.ts[p], tips.x[p], tips.y[p], int(tips.charge[p[0]])) for p in paths]
    return [path for path in found if path.ts[-1] - path.ts[0] >= shortest]


@typed
def period(run: "Run", *, since: float | None = None) -> Float[Numbers, "*grid"]:
    """Mean time between the activations of each cell, ms: of a spiral, its period of rotation. Can be differentiated.

    (last - first) / (their number - 1), over the beats whose times the run keeps. NaN in cells with fewer than two.

    Args:
        run: what `simulate(..., beats=n)` gave, n >= 2.
        since: activations before this are left out, ms (the stimuli, the first turns).

    Raises:
        ValueError: a run that keeps one beat.
    """
    beats = run.activation_times.shape[0]
    if beats < 2:
        raise refusal("beats", beats, "", ">= 2 in simulate(..., beats=)")
    check("since", since, "ms", "a number", lambda x: np.isfinite(x) & (x.ndim == 0))
    times = run.activation_times
    xp = namespace(times)
    counted = xp.isfinite(times) if since is None else xp.where(xp.isfinite(times), times, -np.inf) >= since
    first = xp.where(counted, times, np.inf).min(axis=0)
    last = xp.where(counted, times, -np.inf).max(axis=0)
    several = counted.sum(axis=0) >= 2
    gaps = xp.maximum(counted.sum(axis=0) - 1, 1).astype(times.dtype)
    return xp.where(several, (xp.where(several, last, 0) - xp.where(several, first, 0)) / gaps, np.nan)


@typed
def dominant_frequency(run: "Run", *, since: float | None = None) -> Float[Array, "*grid"]:
    """Frequency of the highest peak in the spectrum of V of each cell, Hz; NaN where V is constant.

    Of V less its mean under a Hann window; the peak is that of a parabola through the logarithms of the three highest
    lines, so that it is known much better than to 1/duration. Save often enough (every few ms) that the harmonics of
    the upstroke are not folded back.

    Args:
        run: what `simulate` gave, with evenly spaced samples.
        since: samples before this are left out, ms.

    Raises:
        ValueError: fewer than 8 samples, or samples at uneven times.
    """
    check("since", since, "ms", "a number", lambda x: np.isfinite(x) & (x.ndim == 0))
    ts = np.asarray(run.ts, float)
    used = np.flatnonzero(ts >= (-np.inf if since is None else since))
    steps = np.diff(ts[used])
    if len(used) < 8 or np.ptp(steps) > 1e-6 * steps.mean():
        raise refusal("samples", len(used), "", "at least 8, evenly spaced, from `since` on")
    V = run.V[used[0] :]
    window = jnp.asarray(np.hanning(len(used) + 1)[:-1], V.dtype).reshape(-1, *(1 for _ in run.tissue.shape))
    lines = jnp.abs(jnp.fft.rfft((V - V.mean(axis=0, keepdims=True)) * window, axis=0))
    top = jnp.clip(jnp.argmax(lines[1:], axis=0) + 1, 1, lines.shape[0] - 2)
    tiny = jnp.finfo(V.dtype).tiny
    low, mid, high = (jnp.log(jnp.take_along_axis(lines, (top + k)[None], axis=0)[0] + tiny) for k in (-1, 0, 1))
    bend = low - 2 * mid + high
    peak = top.astype(V.dtype) + jnp.where(bend < 0, 0.5 * (low - high) / jnp.where(bend < 0, bend, -1), 0)
    varies = jnp.ptp(V, axis=0) > 0
    return jnp.where(varies, 1000 * peak / float(len(used) * steps.mean()), jnp.nan)


def _plane(run: Any, delay: float | None, second: str | None, centre: Any) -> tuple[Array, Array]:
    """The two coordinates in which the cycle turns around the origin, (time, *grid); NaN before the first delay."""
    if (delay is None) == (second is None):
        raise refusal("delay", delay, "ms", "either a delay, or `second`, the name of a saved output")
    check("centre", centre, "", "None, one number or two, finite", lambda x: np.isfinite(x).all() & (x.size in (1, 2)))
    V = run.V
    if second is None:
        b = _earlier(run, delay)
    elif second in run.ys and second != run.tissue.cell.potential:
        b = run.ys[second]
    else:
        raise refusal("second", second, "", f"a saved output that is not V; saved: {', '.join(run.ys)}")
    centres = (None, None) if centre is None else np.broadcast_to(np.asarray(centre, float), (2,))
    return _around(V, V, centres[0], run.tissue.mask), _around(
        b, V if second is None else b, centres[1], run.tissue.mask
    )


def _earlier(run: Any, delay: Any) -> Array:
    """V one delay before each sample, linear between samples; NaN before the run."""
    ts = np.asarray(run.ts, float)
    allowed = f"> 0, less than the {ts[-1] - ts[0]:g} ms between the first and last sample"
    check_known("delay", delay, "ms", allowed, lambda x: (x > 0) & (x < ts[-1] - ts[0]))
    wanted = ts - float(delay)
    upper = np.clip(np.searchsorted(ts, wanted), 1, len(ts) - 1)
    share = np.where(wanted >= ts[0] - 1e-9, (wanted - ts[upper - 1]) / (ts[upper] - ts[upper - 1]), np.nan)
    share = jnp.asarray(share, run.V.dtype).reshape(-1, *(1 for _ in run.tissue.shape))
    return (1 - share) * run.V[upper - 1] + share * run.V[upper]


def _around(x: Array, whole: Array, centre: float | None, mask: Any) -> Array:
    """x less the centre, over half the range of `whole` where there is tissue."""
    there = True if mask is None else jnp.asarray(mask)[None]
    high, low = jnp.max(whole, where=there, initial=-jnp.inf), jnp.min(whole, where=there, initial=jnp.inf)
    half = 0.5 * (high - low)
    return (x - (low + half if centre is None else float(centre))) / jnp.where(half > 0, half, 1)


def _singular(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y (in cells, from the first centre) and charge of the squares around which the angle of (a, b) turns."""
    angle = np.arctan2(b, a)
    if mask is not None:
        angle = np.where(mask, angle, np.nan)
    around = (np.s_[:-1, :-1], np.s_[:-1, 1:], np.s_[1:, 1:], np.s_[1:, :-1])
    corners = [angle[c] for c in around]
    turns = np.sum([_wrapped(corners[k - 3] - corners[k]) for k in range(4)], axis=0) / (2 * np.pi)
    j, i = np.nonzero(np.abs(np.nan_to_num(turns)) > 0.5)
    points = [np.stack([a[c][j, i], b[c][j, i]]) for c in around]
    x, y = _crossing(*points)
    return i + x, j + y, np.rint(turns[j, i]).astype(int)


def _wrapped(angle: np.ndarray) -> np.ndarray:
    return angle - 2 * np.pi * np.rint(angle / (2 * np.pi))


def _crossing(p00: np.ndarray, p10: np.ndarray, p11: np.ndarray, p01: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the bilinear p(x, y) = p00 + x E + y F + x y G is zero in the unit square; corners are (2, n)."""
    E, F, G = p10 - p00, p01 - p00, p11 - p10 - p01 + p00

    def cross(u, v):
        return u[0] * v[1] - u[1] * v[0]

    # p is zero where p00 + y F and E + y G are parallel: a quadratic in y.
    square, linear, constant = cross(F, G), cross(p00, G) + cross(F, E), cross(p00, E)
    root = np.sqrt(np.maximum(linear**2 - 4 * square * constant, 0))
    larger = -0.5 * (linear + np.where(linear < 0, -root, root))
    with np.errstate(divide="ignore", invalid="ignore"):
        ys = np.stack([larger / square, constant / larger])
        xs = np.stack([-((p00 + y * F) * (E + y * G)).sum(axis=0) / ((E + y * G) ** 2).sum(axis=0) for y in ys])
    outside = np.nan_to_num(np.maximum(np.abs(xs - 0.5), np.abs(ys - 0.5)), nan=np.inf, posinf=np.inf)
    best = np.argmin(outside, axis=0)[None]
    x, y = (np.take_along_axis(z, best, axis=0)[0] for z in (xs, ys))
    return np.clip(x, 0, 1), np.clip(y, 0, 1)


def _linked(tips: Singularities, ends: list[int], now: list[int], reach: float) -> dict[int, int]:
    """Which of the `now` each path goes on to, nearest pairs first: number in `ends` -> tip."""
    pairs = [
        (float(np.hypot(tips.x[end] - tips.x[tip], tips.y[end] - tips.y[tip])), i, tip)
        for i, end in enumerate(ends)
        for tip in now
        if tips.charge[end] == tips.charge[tip]
    ]
    linked: dict[int, int] = {}
    for distance, i, tip in sorted(pairs):
        if distance <= reach and i not in linked and tip not in linked.values():
            linked[i] = tip
    return linked
