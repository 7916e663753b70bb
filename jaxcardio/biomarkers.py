"""Action potentials in a potential trace: when they happen, how long they last, what is wrong with them.

Two steps. The first *finds*: integer positions of each beat's rest, steepest rise, peak and crossings, without
gradient. The second *measures*: every number is a formula in the few samples at those positions, so the gradient of,
say, an APD90 with respect to V is the exact derivative of that formula, and never NaN where there is a beat.

Definitions (Section 0 of the reference data):

    t_upstroke   time of the largest dV/dt of the upstroke (the stimulus current included)
    dvdt_max     that dV/dt, mV/ms = V/s
    rmp          V at the stimulus onset where onsets are given; else the lowest V between the previous upstroke and
                 this one, which is the maximum diastolic potential (for the first beat: since the trace began)
    peak, apa    highest V of the beat; peak - rmp
    APDx         from t_upstroke to the first later fall through peak - x/100 apa
    cycle_length from the previous upstroke to this one
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, ArrayLike, Bool, Float, Int

RE_ARM, FIRE = 0.2, 0.5
"""The two levels of the beat detector, as fractions of the way from the rest to the top of the trace."""

REST_QUANTILE, REST_SAMPLES = 0.1, 512
"""The rest of a trace: the 10 % quantile of V over time, read at this many equally spaced times."""


class ActionPotentials(eqx.Module):
    """What was measured, one entry a beat. Fields are (..., beats): NaN or False where there is no such beat.

    `captured`: an upstroke was seen (where paced: within the cycle of that stimulus).
    `valid`: captured, and not cut by the beginning or the end of the trace; only these rows carry numbers.
    `repolarised`: V came down to the APD90 level before the next upstroke and the end. `valid & ~repolarised` is a
    cell that failed to repolarise: stuck at its plateau, or oscillating there.
    `ead`: an early afterdepolarisation, see `action_potentials_from`.
    """

    t_upstroke: Float[Array, "... beats"]
    t_peak: Float[Array, "... beats"]
    rmp: Float[Array, "... beats"]
    peak: Float[Array, "... beats"]
    dvdt_max: Float[Array, "... beats"]
    cycle_length: Float[Array, "... beats"]
    apds: Float[Array, "... beats levels"]
    captured: Bool[Array, "... beats"]
    valid: Bool[Array, "... beats"]
    repolarised: Bool[Array, "... beats"]
    ead: Bool[Array, "... beats"]
    positions: "Positions"
    samples: tuple[Array, Array, Array] | None
    levels: tuple[float, ...] = eqx.field(static=True)
    paced: bool = eqx.field(static=True)

    @property
    def apa(self) -> Float[Array, "... beats"]:
        """Amplitude, peak - rmp, mV."""
        return self.peak - self.rmp

    @property
    def apd30(self) -> Float[Array, "... beats"]:
        return self.apd(30.0)

    @property
    def apd50(self) -> Float[Array, "... beats"]:
        return self.apd(50.0)

    @property
    def apd90(self) -> Float[Array, "... beats"]:
        return self.apd(90.0)

    def apd(self, level: float) -> Float[Array, "... beats"]:
        """Duration (ms) from the upstroke to `level` % repolarisation.

        Any level where the samples were kept (`action_potentials` keeps them), else one of `levels`.
        """
        level = _check_level(level)
        if level in self.levels:
            return self.apds[..., self.levels.index(level)]
        if self.samples is None:
            raise ValueError(f"level = {level} %; measured: {self.levels} % (give levels=, or keep_samples=True)")
        ts, dt, V = self.samples
        cells, positions = jax.tree.map(lambda x: x.reshape(-1, x.shape[-1]), (V, self.positions))
        apd = _apds_of_cells(ts, dt, cells, positions, jnp.asarray(level, V.dtype)).reshape(self.valid.shape)
        return jnp.where(self.valid, apd, jnp.nan)


class Positions(NamedTuple):
    """Where the landmarks of a beat lie among the samples; T where there is none."""

    rest: Int[Array, "... beats"]
    upstroke: Int[Array, "... beats"]
    """the steepest rise is from this sample to the next"""
    peak: Int[Array, "... beats"]
    end: Int[Array, "... beats"]
    """the next upstroke, where the search for this beat's repolarisation stops"""


def action_potentials(
    trace: Any, *, onsets: ArrayLike | Sequence[float] | None = None, **options: Any
) -> ActionPotentials:
    """The action potentials of `trace`.

    Args:
        trace: anything with `ts` (T,) in ms and `V` (T,) or (..., T) in mV. Where it has a `protocol` with onsets,
            those are the stimuli. Where its `potential_unit`, or its cell's unit of potential, is "1" (dimensionless
            models), the defaults that are potentials are a hundredth, and `ead_after` is 4 (time units of 12.9 ms).
        onsets: stimulus onsets, ms, in place of the protocol's; `()` looks for beats whatever the protocol.
        **options: as of `action_potentials_from`.
    """
    if onsets is None:
        onsets = _protocol_onsets(trace)
    options = {"keep_samples": True} | options
    if _potential_unit(trace) in ("1", "dimensionless"):
        options = {"min_amplitude": 0.2, "ead_rise": 0.02, "ead_after": 4.0} | options
    return action_potentials_from(trace.ts, trace.V, onsets=onsets, **options)


def action_potentials_from(
    ts: Float[ArrayLike, " T"],
    V: Float[ArrayLike, "... T"],
    *,
    onsets: ArrayLike | Sequence[float] | None = None,
    levels: Sequence[float] = (30.0, 50.0, 90.0),
    threshold: tuple[Any, Any] | None = None,
    max_beats: int | None = None,
    window: int | None = None,
    smoothing: ArrayLike | None = None,
    min_amplitude: ArrayLike = 20.0,
    min_dvdt: ArrayLike = 0.0,
    ead_rise: ArrayLike = 2.0,
    ead_after: ArrayLike = 50.0,
    patience: ArrayLike = 1000.0,
    keep_samples: bool = False,
) -> ActionPotentials:
    """The action potentials in potentials `V` (mV) at the ascending, not necessarily uniform, times `ts` (ms).

    Works under `jit`, `vmap` and `grad`; then `max_beats` must be given (or `onsets`).

    What counts as a beat. A Schmitt trigger: V rises through the level `high` after having been at `low` or below.
    Unless `threshold` gives both, they lie 50 % and 20 % of the way from the rest of the trace (the 10 % quantile of
    V over time: where a beating cell spends its low time, whatever an initial transient did) to its highest V. So an
    afterdepolarisation that takes off above `low`, a notch, and noise of up to 30 % of the amplitude start no beat. A
    trace whose highest V is less than `min_amplitude` above its rest has no beats. One artefact far above the peaks
    misleads this rule: then give `threshold`. A first beat whose rest lies before the trace times the next one's
    cycle, but is not valid.

    Where paced, there is one row for each onset. It is captured when such a rise, with dV/dt above `min_dvdt`, follows
    before the next onset (after the last one: within as long as the cycle before). A large stimulus lifts even a
    refractory cell passively, and `min_dvdt` tells those apart. V is searched for repolarisation up to the next rise,
    so a beat may outlast a stimulus that was not captured.

    What counts as an early afterdepolarisation (EAD): after V has fallen through the APD30 level and `ead_after` has
    passed since the upstroke (a spike-notch-dome falls less than that or, in atrial cells, is over by then), and before
    V reaches the APD90 level, the next stimulus, or the end, V rises by `ead_rise` above its lowest value so far. 2 mV
    is well above solver error and smoothed noise and below the smallest EAD that the field counts.

    Sampling. The upstroke is refined by a parabola through three finite differences: t_upstroke lies inside the
    steepest sampling interval, with an error that shrinks as dt^2 where dV/dt is smooth. Where the stimulus ends next
    to it, dV/dt jumps and the parabola is wrong by at most half a sampling interval, and by an eighth of the jump in
    dvdt_max. `peak` is the highest sample. 0.1 ms about the upstroke gives both to 0.05 ms and 0.05 mV for the models
    here (dvdt_max of a 380 V/s upstroke needs 0.01 ms); repolarisation is content with 1 ms.

    Args:
        onsets: (n,) stimulus onsets, ms, ascending, the same for every cell. Default: spontaneous beats.
        levels: percentages of repolarisation to measure, each in (0, 100); 30 and 90 always are.
        threshold: (low, high), mV, of the beat detector.
        max_beats: rows of the result when spontaneous (static). Default: as many as the cell with most beats has.
        window: at most this many samples from rest to repolarisation (static). Default: measured from the data, or
            under `jit` the whole trace, whose cost grows with beats x samples.
        smoothing: width, ms, of a centred moving average before anything else: for recordings, whose dV/dt is noise at
            10 kHz. It lowers a sharp peak and dvdt_max; 5 ms suits stem-cell-derived cells (5 to 25 V/s).
        min_amplitude: mV, see above.
        min_dvdt: mV/ms, see above.
        ead_rise: mV, see above.
        ead_after: ms, see above.
        patience: ms. The last beat, if the trace ends before V repolarises, is a failure to repolarise when the trace
            goes on for this long after its upstroke, else it is merely cut short and not valid.
        keep_samples: keep ts and V in the result, for `apd` at any level.

    Returns:
        `ActionPotentials` with fields (..., beats). A cell with a NaN in V has no beats; its neighbours are unaffected.

    Raises:
        ValueError: an argument out of its range, by name.
    """
    ts, dt, V = _check_samples(ts, V)
    levels = tuple(sorted({*(_check_level(x) for x in levels), 30.0, 90.0}))
    _check("smoothing", smoothing, "ms", "> 0", lambda x: x > 0)
    _check("min_amplitude", min_amplitude, "mV", "> 0", lambda x: x > 0)
    _check("ead_rise", ead_rise, "mV", "> 0", lambda x: x > 0)
    _check("ead_after", ead_after, "ms", ">= 0", lambda x: x >= 0)
    _check("max_beats", max_beats, "beats", ">= 1", lambda x: x >= 1)
    _check("window", window, "samples", ">= 3", lambda x: x >= 3)
    threshold = _check_threshold(threshold, V.dtype)
    stimuli = None if onsets is None or np.shape(onsets) == (0,) else _stimuli(ts, onsets)

    cells = V.reshape(-1, V.shape[-1])
    if smoothing is not None:
        cells = _moving_average(ts, dt, cells, jnp.asarray(smoothing, cells.dtype))
    rises = _rises(ts, jax.lax.stop_gradient(cells), threshold, jnp.asarray(min_amplitude, V.dtype))
    rows = _rows(rises, stimuli, max_beats)
    # Static sizes are rounded up, so that similar traces share one compilation.
    spans, longest = _spans(rises, stimuli, rows if stimuli is not None else 1 << (rows - 1).bit_length())
    window = min(window or _window(longest, V.shape[-1]), V.shape[-1])
    limits = {"min_dvdt": min_dvdt, "ead_rise": ead_rise, "ead_after": ead_after, "patience": patience}
    limits = {k: jnp.asarray(x, V.dtype) for k, x in limits.items()}
    paced = stimuli is not None
    fields = _find_and_measure(ts, dt, cells, spans, limits, window, levels, paced)
    fields = _crop(fields, rows, V.shape[:-1])
    samples = (ts, dt, cells.reshape(V.shape)) if keep_samples else None
    return ActionPotentials(**fields, samples=samples, levels=levels, paced=paced)


@partial(jax.jit, static_argnums=(1, 2))
def _crop(fields, rows, population):
    """The first `rows` beats of each of the fields (cells, beats, ...), as (*population, rows, ...)."""
    return jax.tree.map(lambda x: x[:, :rows].reshape(*population, rows, *x.shape[2:]), fields)


class Alternans(NamedTuple):
    """Beat-to-beat alternation of APD90: its size (ms; NaN with fewer than two pairs of beats), whether it counts."""

    difference: Float[Array, "..."]
    alternates: Bool[Array, "..."]


def alternans(beats: ActionPotentials, *, threshold: float = 5.0) -> Alternans:
    """Alternation of APD90 from beat to beat: |mean of (-1)^n (APD90[n+1] - APD90[n])| over adjacent rows.

    Only pairs of which both beats have an APD90 count (in 2:1 block there are none: see `capture_ratio`). A steady
    drift and random variability cancel in it. It alternates when the size is at least `threshold` (ms). Let the cell
    settle first, or give the last ten beats.
    """
    _check("threshold", threshold, "ms", "> 0", lambda x: x > 0)
    change = jnp.diff(beats.apd90, axis=-1)
    sign = jnp.asarray(1.0 - 2.0 * (np.arange(change.shape[-1]) % 2), change.dtype)
    known = jnp.isfinite(change)
    pairs = known.sum(axis=-1)
    total = jnp.sum(jnp.where(known, change, 0.0) * jnp.broadcast_to(sign, change.shape), axis=-1)
    size = jnp.abs(total) / jnp.maximum(pairs, 1).astype(change.dtype)
    size = jnp.where(pairs >= 2, size, jnp.nan)
    return Alternans(size, size >= threshold)


def capture_ratio(beats: ActionPotentials) -> Float[Array, "..."]:
    """Fraction of stimuli that were captured: 1, or 1/2 for 2:1 block.

    A last stimulus without a response is left out: the trace may have ended too early.
    """
    if not beats.paced:
        raise ValueError("beats: spontaneous; capture_ratio needs beats measured with onsets")
    hits = beats.captured.sum(axis=-1).astype(beats.peak.dtype)
    stimuli = beats.captured.shape[-1] - 1 + beats.captured[..., -1].astype(beats.peak.dtype)
    return jnp.where(stimuli > 0, hits / jnp.maximum(stimuli, 1.0), jnp.nan)


class Restitution(NamedTuple):
    """One entry a beat, NaN where unknown (the first beat; after a beat that did not repolarise), ms."""

    diastolic_interval: Float[Array, "... beats"]
    """before the beat: cycle length minus the previous APD90"""
    apd90: Float[Array, "... beats"]
    cycle_length: Float[Array, "... beats"]


def restitution(beats: ActionPotentials) -> Restitution:
    """APD90 of each beat against the diastolic interval (and cycle length) before it."""
    interval = beats.cycle_length - _at_previous(beats.captured, beats.apd90)
    return Restitution(interval, beats.apd90, beats.cycle_length)


def restitution_slope(pairs: Restitution, *, resolution: float = 1.0) -> tuple[Array, Array]:
    """Slope dAPD90/dDI between neighbours in diastolic interval, and the interval (ms) midway between them.

    Both are (..., beats - 1), NaN where two intervals lie closer than `resolution` (ms).
    """
    known = jnp.isfinite(pairs.diastolic_interval) & jnp.isfinite(pairs.apd90)
    order = jnp.argsort(jnp.where(known, pairs.diastolic_interval, jnp.inf), axis=-1)
    sort = partial(jnp.take_along_axis, indices=order, axis=-1)
    interval, apd = sort(jnp.where(known, pairs.diastolic_interval, jnp.nan)), sort(pairs.apd90)
    run = jnp.diff(interval, axis=-1)
    apart = run >= resolution
    slope = jnp.where(apart, jnp.diff(apd, axis=-1) / jnp.where(apart, run, 1.0), jnp.nan)
    return slope, jnp.where(apart, (interval[..., 1:] + interval[..., :-1]) / 2, jnp.nan)


def soft_apd(
    ts: Float[ArrayLike, " T"],
    V: Float[ArrayLike, "... T"],
    *,
    level: float = 90.0,
    width: ArrayLike = 1.0,
    min_amplitude: ArrayLike = 20.0,
) -> Float[Array, "..."]:
    """APD (ms) of the one beat in the window `ts`, smooth in V everywhere, for losses that must keep their gradient.

    Use it to fit: the strict APD jumps or becomes NaN when a beat appears, fails to repolarise or gains an EAD, and its
    gradient sees only a handful of samples. Use the strict one (`action_potentials`) to report. The window must hold
    one beat, from rest to rest; the time that V is above the level after the upstroke is what is summed, and a
    second excursion adds to it.

    The level lies between a soft maximum and a soft minimum of V; "above" is a sigmoid of V of the given `width` (mV),
    integrated in closed form along the straight lines between samples; the upstroke is a soft argmax of dV/dt. As
    `width` goes to 0 it becomes the strict APD (with rmp the lowest V) to within half of the upstroke's sampling
    interval. Where the amplitude is less than `min_amplitude` (mV) there is no beat and it goes to 0, smoothly.
    """
    ts, dt, V = _check_samples(ts, V)
    level = _check_level(level)
    _check("width", width, "mV", "> 0", lambda x: x > 0)
    width = jnp.asarray(width, V.dtype)
    one_cell = partial(_soft_apd, dt, level=level, width=width, min_amplitude=jnp.asarray(min_amplitude, V.dtype))
    return jnp.vectorize(one_cell, signature="(t)->()")(V)


# ---- finding: integers, no gradient ---------------------------------------------------------------------------------


class _Spans(NamedTuple):
    """Sample numbers that frame each beat, (cells, beats); T where there is none."""

    start: Array
    """spontaneous: the previous beat's rise (0 for the first); paced: the stimulus"""
    rise: Array
    end: Array
    """the next beat's rise"""
    quiet_end: Array
    """the next stimulus: later rises are not EADs"""
    captured: Array
    whole: Array
    """the trace shows its rest"""


class _Rises(NamedTuple):
    """Where beats begin, by the detector alone."""

    begun: Array
    """beats begun up to each sample, (cells, T)"""
    unrested: Array
    """whether the trace begins so late before the first beat that it does not show its rest, (cells,)"""
    most: Array
    """beats of the cell that has most"""


@eqx.filter_jit
def _rises(ts, V, threshold, min_amplitude) -> _Rises:
    even = jnp.linspace(ts[0], ts[-1], REST_SAMPLES, dtype=ts.dtype)
    latest = jnp.searchsorted(ts, even, side="right") - 1

    def one_cell(V):
        low, high = _levels(V, V[latest], min_amplitude) if threshold is None else threshold
        # 2 s + 1 at a sample above, 2 s below, nothing between: the parity of the running maximum says which came last.
        # It starts as -2, low: a trace may begin within a rise.
        mark = 2 * jnp.arange(V.shape[0], dtype=jnp.int32)
        state = jax.lax.cummax(jnp.where(high <= V, mark + 1, jnp.where(low >= V, mark, -2)))
        begins = (state[1:] % 2 > state[:-1] % 2) & jnp.isfinite(V).all()
        begun = jnp.cumsum(begins.astype(jnp.int32), dtype=jnp.int32)
        return jnp.concatenate([jnp.zeros(1, jnp.int32), begun]), (begins & (state[:-1] < 0)).any()

    begun, unrested = jax.vmap(one_cell)(V)
    return _Rises(begun, unrested, begun[:, -1].max(initial=0))


def _levels(V, evenly, min_amplitude):
    """The detector's two levels for one cell, mV; infinite where nothing rises far enough."""
    rest, top = jnp.sort(evenly)[round(REST_QUANTILE * REST_SAMPLES)], V.max()
    beats = top - rest >= min_amplitude
    return tuple(jnp.where(beats, rest + f * (top - rest), jnp.inf) for f in (RE_ARM, FIRE))


def _rows(rises, stimuli, max_beats):
    """Rows of the result, as a plain integer."""
    if stimuli is not None:
        return stimuli.sample.shape[0]
    if max_beats is not None:
        return int(max_beats)
    if isinstance(rises.most, Tracer):
        raise ValueError("max_beats = None beats; allowed under jit, vmap or grad: an integer >= 1")
    return max(1, int(rises.most))


@eqx.filter_jit
def _spans(rises: _Rises, stimuli, rows) -> tuple[_Spans, Array]:
    """The spans of `rows` beats a cell, and how many samples the longest one has."""
    T = rises.begun.shape[-1]

    def nth_rise(begun, n):  # n = 1, 2, ...; T where there are fewer
        return jnp.searchsorted(begun, n).astype(jnp.int32)

    def spontaneous(begun, unrested):
        rise = nth_rise(begun, jnp.arange(1, rows + 2, dtype=jnp.int32))
        start = jnp.concatenate([jnp.zeros(1, jnp.int32), rise[:-2]])
        whole = ~unrested | (jnp.arange(rows) > 0)
        return _Spans(start, rise[:-1], rise[1:], rise[1:], rise[:-1] < T, whole)

    def paced(begun, _):
        before = begun[stimuli.sample]
        rise, end = nth_rise(begun, before + 1), nth_rise(begun, before + 2)
        captured = rise < stimuli.cycle_end
        quiet_end = jnp.minimum(end, stimuli.next_sample)
        return _Spans(stimuli.sample, rise, end, quiet_end, captured, jnp.ones_like(captured))

    spans = jax.vmap(spontaneous if stimuli is None else paced)(rises.begun, rises.unrested)
    return spans, jnp.where(spans.captured, spans.end - spans.start, 0).max(initial=0)


def _window(longest, T):
    """Samples to look at for one beat: T, T/2, T/4 ..., enough for the longest; T where that is unknown."""
    window = T
    while not isinstance(longest, Tracer) and window // 2 >= max(3, int(longest)):
        window //= 2
    return window


class _Stimuli(NamedTuple):
    """Sample numbers of each stimulus, (n,)."""

    sample: Array
    """the last one at or before the onset: there V still rests, even when the onset lies between samples"""
    next_sample: Array
    """that of the next stimulus, T for the last"""
    cycle_end: Array
    """the same, but the last cycle is taken to be as long as the one before"""


def _stimuli(ts, onsets) -> _Stimuli:
    if np.ndim(onsets) != 1:
        raise ValueError(f"onsets (ms): expected shape (n,), got {np.shape(onsets)}")
    _check("onsets", onsets, "ms", "finite, ascending", lambda x: np.isfinite(x).all() and (np.diff(x) > 0).all())
    onsets = jnp.asarray(onsets, ts.dtype)
    if _concrete(ts):
        first, last = float(ts[0]), float(ts[-1])
        _check("onsets", onsets, "ms", f"within ts, {first} to {last} ms", lambda x: ((x >= first) & (x <= last)).all())

    def sample_at(t):
        rounding = 4 * jnp.finfo(ts.dtype).eps * jnp.abs(t)
        return jnp.maximum(jnp.searchsorted(ts, t + rounding, side="right").astype(jnp.int32) - 1, 0)

    T = jnp.full(1, ts.shape[0], jnp.int32)
    sample, end = sample_at(onsets), T
    if onsets.shape[0] > 1:
        after_last = 2 * onsets[-1:] - onsets[-2:-1]
        end = jnp.where(after_last > ts[-1:], T, sample_at(after_last))
    return _Stimuli(sample, jnp.concatenate([sample[1:], T]), jnp.concatenate([sample[1:], end]))


def _find(ts, V, slope, span: _Spans, *, window, levels, paced, ead_rise, ead_after):
    """Landmarks of one beat of one cell: positions, the first sample at or below each of `levels`, and the EAD."""
    T = V.shape[0]
    offset = jnp.clip(span.start, 0, T - window)
    ts, V, slope = (jax.lax.dynamic_slice(x, (offset,), (window,)) for x in (ts, V, slope))
    start, rise, end, quiet_end = (x - offset for x in (span.start, span.rise, span.end, span.quiet_end))
    s = jnp.arange(window, dtype=jnp.int32)

    rest = jnp.clip(start, 0, window - 1) if paced else _argmax(-V, (s >= start) & (s < rise))
    peak = _argmax(V, (s >= rise) & (s < end))
    upstroke = _argmax(slope, (s >= rest) & (s < peak))
    falls = _first_falls(V, rest, peak, end, levels)

    fall_30, fall_90 = (falls[levels.index(x)] for x in (30.0, 90.0))
    late = (s >= fall_30) & (ts - ts[upstroke] >= ead_after) & (s < jnp.minimum(fall_90, quiet_end))
    lowest = jax.lax.cummin(jnp.where(late, V, jnp.inf))
    ead = (late & (V - lowest >= ead_rise)).any()
    return Positions(rest + offset, upstroke + offset, peak + offset, span.end), falls + offset, ead


_NONE = np.int32(2**30)
"""A position that no trace has, with room to add an offset."""


def _first_falls(V, rest, peak, end, levels):
    """The first sample after the peak and before `end` at or below each level, (levels,); `_NONE` if there is none."""
    s = jnp.arange(V.shape[0], dtype=jnp.int32)
    potentials = _potential_at(jnp.asarray(levels, V.dtype), V[rest], V[peak])
    fallen = (V[None] <= potentials[:, None]) & ((s > peak) & (s < end))[None]
    return jnp.where(fallen.any(axis=1), jnp.argmax(fallen, axis=1).astype(jnp.int32), _NONE)


def _argmax(x, where):
    return jnp.argmax(jnp.where(where, x, -jnp.inf)).astype(jnp.int32)


# ---- measuring: formulas in a few samples ---------------------------------------------------------------------------


@eqx.filter_jit
def _find_and_measure(ts, dt, V, spans, limits, window, levels, paced):
    """Every field of `ActionPotentials` for all cells (cells, T)."""
    one_cell = partial(_find_and_measure_one, ts, dt, limits=limits, window=window, levels=levels, paced=paced)
    return jax.vmap(one_cell)(V, spans)


def _find_and_measure_one(ts, dt, V, spans, limits, window, levels, paced):
    V = jnp.where(jnp.isfinite(V).all(), V, 0.0)  # a failed cell has no beats; no NaN may reach a gradient either
    still = jax.lax.stop_gradient(V)
    slope = jnp.append(jnp.diff(still) / dt, -jnp.inf)
    ead = {k: limits[k] for k in ("ead_rise", "ead_after")}
    # One beat after the other: memory stays that of one window a cell.
    find = partial(_find, ts, still, slope, window=window, levels=levels, paced=paced, **ead)
    at, falls, ead = jax.lax.map(find, spans)

    into, dvdt_max = _steepest(dt, V, at.upstroke)
    apds = _durations(ts, dt, V, at, into[:, None], falls, jnp.asarray(levels, V.dtype)[None])
    t_upstroke = ts[at.upstroke] + into
    repolarised = falls[:, levels.index(90.0)] < _NONE
    captured = spans.captured & (dvdt_max > limits["min_dvdt"])
    cut_short = ~repolarised & (at.end >= V.shape[0]) & (ts[-1] - t_upstroke < limits["patience"])
    valid = captured & spans.whole & ~cut_short
    numbers = {
        "t_upstroke": t_upstroke,
        "t_peak": ts[at.peak],
        "rmp": V[at.rest],
        "peak": V[at.peak],
        "dvdt_max": dvdt_max,
        "cycle_length": t_upstroke - _at_previous(captured, t_upstroke),
    }
    numbers = {k: jnp.where(valid, x, jnp.nan) for k, x in numbers.items()}
    numbers["apds"] = jnp.where(valid[:, None], apds, jnp.nan)
    flags = {"captured": captured, "valid": valid, "repolarised": valid & repolarised, "ead": valid & ead}
    return {**numbers, **flags, "positions": at}


@eqx.filter_jit
def _apds_of_cells(ts, dt, V, positions, level):
    """APD at one more level, (cells, beats), from the positions already found."""

    def one_cell(V, at):
        still = jax.lax.stop_gradient(V)
        falls = jax.lax.map(lambda x: _first_falls(still, x.rest, x.peak, x.end, level[None]), at)
        into, _ = _steepest(dt, V, at.upstroke)
        return _durations(ts, dt, V, at, into[:, None], falls, level[None, None])[:, 0]

    return jax.vmap(one_cell)(V, positions)


def _potential_at(level, rest, peak):
    """V at `level` % repolarisation, mV."""
    return peak - level / 100 * (peak - rest)


def _steepest(dt, V, j):
    """When in the sampling interval after sample j (ms into it) V rises fastest, and how fast (mV/ms).

    The vertex of the parabola through the slopes of that interval and its two neighbours, kept inside the interval.
    """
    if dt.shape[0] < 3:
        return dt[j] / 2, _slope(dt, V, j)
    inner = jnp.clip(j, 1, dt.shape[0] - 2)
    before, here, after = (_slope(dt, V, inner + k) for k in (-1, 0, 1))
    x_before, x_here, x_after = -dt[inner - 1] / 2, dt[inner] / 2, dt[inner] + dt[inner + 1] / 2
    rise = (here - before) / (x_here - x_before)
    bend = ((after - here) / (x_after - x_here) - rise) / (x_after - x_before)
    peaked = (bend < 0) & (j == inner)
    vertex = (x_before + x_here) / 2 - rise / (2 * jnp.where(peaked, bend, -1.0))
    x = jnp.where(peaked, jnp.clip(vertex, 0.0, dt[inner]), dt[j] / 2)
    refined = before + rise * (x - x_before) + bend * (x - x_before) * (x - x_here)
    return x, jnp.where(peaked, refined, _slope(dt, V, j))


def _slope(dt, V, j):
    return (V[j + 1] - V[j]) / dt[j]


def _durations(ts, dt, V, at: Positions, into, falls, levels):
    """Time from each upstroke to its crossing of each level between samples fall - 1 and fall, (beats, levels), ms."""
    found = falls < _NONE
    fall = jnp.where(found, falls, 1)
    above, below = V[fall - 1], V[fall]
    potential = _potential_at(levels, V[at.rest][:, None], V[at.peak][:, None])
    fraction = (above - potential) / jnp.where(above > below, above - below, 1.0)
    duration = (ts[fall - 1] - ts[at.upstroke][:, None]) + fraction * dt[fall - 1] - into
    return jnp.where(found, duration, jnp.nan)


def _at_previous(marked, x):
    """x of the last marked entry before each entry along the last axis, NaN where there is none."""
    last = marked.ndim - 1
    k = jnp.broadcast_to(jnp.arange(marked.shape[-1], dtype=jnp.int32), marked.shape)
    latest = jax.lax.cummax(jnp.where(marked, k, -1), axis=last)
    before = jnp.concatenate([jnp.full_like(latest[..., :1], -1), latest[..., :-1]], axis=last)
    return jnp.where(before >= 0, jnp.take_along_axis(x, jnp.maximum(before, 0), axis=last), jnp.nan)


def _soft_apd(dt, V, level, width, min_amplitude):
    slope = jnp.diff(V) / dt
    ends = jnp.cumsum(dt)
    top, bottom = _soft_max(V, V, width), _soft_max(V, -V, width)
    steepest = _soft_max(ends - dt / 2, slope, width)
    above = _mean_sigmoid((V - _potential_at(level, bottom, top)) / width)
    later = jnp.clip((ends - steepest) / dt, 0.0, 1.0)
    is_beat = jax.nn.sigmoid((top - bottom - min_amplitude) / width)
    return is_beat * jnp.sum(above * later * dt)


def _soft_max(x, score, width):
    """x where `score` is largest, averaged over scores within about `width` of the largest."""
    return jnp.sum(jax.nn.softmax(score / width) * x)


def _mean_sigmoid(x):
    """Mean of sigmoid along the straight line between each two neighbours of x, exactly."""
    run = jnp.diff(x)
    flat = jnp.abs(run) < 0.1
    middle = jax.nn.sigmoid((x[1:] + x[:-1]) / 2)
    series = middle + middle * (1 - middle) * (1 - 2 * middle) * run**2 / 24
    exact = jnp.diff(jax.nn.softplus(x)) / jnp.where(flat, 1.0, run)
    return jnp.where(flat, series, exact)


@jax.jit
def _moving_average(ts, dt, V, width):
    """Mean of the straight lines between samples over [t - width/2, t + width/2], narrower but centred at the ends."""
    half = jnp.minimum(width / 2, jnp.minimum(ts - ts[0], ts[-1] - ts))
    middle = V.mean(axis=-1, keepdims=True)  # taken out, so that float32 sums stay small
    y = V - middle
    rise = jnp.diff(y, axis=-1) / dt[None]
    areas = jnp.cumsum((y[:, 1:] + y[:, :-1]) / 2 * dt[None], axis=-1)
    areas = jnp.concatenate([jnp.zeros_like(areas[:, :1]), areas], axis=-1)

    def area_to(t):
        j = jnp.clip(jnp.searchsorted(ts, t, side="right") - 1, 0, dt.shape[0] - 1)
        x = (t - ts[j])[None]
        return areas[:, j] + x * (y[:, j] + x * rise[:, j] / 2)

    mean = (area_to(ts + half) - area_to(ts - half)) / jnp.where(half > 0, 2 * half, 1.0)[None]
    return jnp.where((half > 0)[None], mean + middle, V)


# ---- arguments ------------------------------------------------------------------------------------------------------


def _protocol_onsets(trace):
    """Stimulus onsets of the trace's own protocol, ms; None without a protocol."""
    protocol = getattr(trace, "protocol", None)
    if protocol is None or isinstance(trace.ts, Tracer):
        return None
    return protocol.onsets(float(trace.ts[0]), float(trace.ts[-1]))


def _potential_unit(trace):
    cell = getattr(trace, "cell", None)
    of_cell = None if cell is None else cell.units.get(cell.potential)
    return getattr(trace, "potential_unit", None) or of_cell or "mV"


def _check_samples(ts, V):
    """ts, its differences and V as arrays of V's floating type, after checking them.

    Differences are taken before rounding to float32: at 60 s its spacing is 0.004 ms, half a fine time step.
    """
    V = jnp.asarray(V)
    if not jnp.issubdtype(V.dtype, jnp.floating):
        V = V.astype(float)
    shape = np.shape(ts)
    if len(shape) != 1 or V.ndim < 1 or V.shape[-1] != shape[0]:
        raise ValueError(f"ts (ms) and V (mV): expected shapes (T,) and (..., T), got {shape} and {V.shape}")
    if shape[0] < 3:
        raise ValueError(f"ts = {shape[0]} samples; allowed: >= 3")
    _check("ts", ts, "ms", "finite", lambda x: np.isfinite(x).all())
    _check("ts", ts, "ms", "strictly ascending", lambda x: (np.diff(x) > 0).all())
    ts = ts if isinstance(ts, jax.Array) else np.asarray(ts, np.float64)
    dt = jnp.diff(ts) if isinstance(ts, jax.Array) else np.diff(ts)
    return jnp.asarray(ts, V.dtype), jnp.asarray(dt, V.dtype), V


def _check_level(level):
    _check("level", level, "%", "0 < level < 100", lambda x: 0 < x < 100)
    return float(level)


def _check_threshold(threshold, dtype) -> tuple[Any, Any] | None:
    if threshold is None:
        return None
    if not isinstance(threshold, (tuple, list)) or len(threshold) != 2:
        raise ValueError(f"threshold = {threshold} mV; allowed: (low, high), or None to take them from the trace")
    if _concrete(*threshold):
        _check("threshold", threshold, "mV", "(low, high) with low < high", lambda x: x[0] < x[1])
    low, high = threshold
    return jnp.asarray(low, dtype), jnp.asarray(high, dtype)


def _concrete(*xs) -> bool:
    return not any(isinstance(x, Tracer) for x in xs)


def _check(name, value, unit, allowed, is_allowed):
    if value is None or not _concrete(value):
        return
    try:
        good = bool(np.all(is_allowed(np.asarray(value, float))))
    except (TypeError, ValueError):
        good = False
    if not good:
        raise ValueError(f"{name} = {value} {unit}; allowed: {allowed}")
