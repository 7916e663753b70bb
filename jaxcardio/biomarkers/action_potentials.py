"""The action potentials of a trace: the record of what was measured, and the two calls that return it."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from ..annotations import typed
from ..arguments import check_number, check_whole, is_traced
from .arguments import check_level, check_samples, check_threshold
from .batched import apd_of_cells, of_cells
from .detection import Positions
from .noise import Noise
from .on_host import apd_of_one_cell, of_one_cell
from .reasons import reasons_of_flags
from .sampling import locate_stimuli, namespace
from .smoothing import smoothed
from .uncertainty import MEASURED, Recorded, of_recording

Numbers = Array | np.ndarray


class ActionPotentials(eqx.Module):
    """What was measured, one entry a beat. Fields are (..., beats): NaN or False where there is no such beat.

    NumPy arrays where the samples were known, with `t_upstroke` and `t_peak` in float64; JAX arrays in the precision of
    V under `jit`, `vmap` and `grad`.

    `captured`: an upstroke was seen (where paced: within the cycle of that stimulus).
    `valid`: captured, and not cut by the beginning or the end of the trace; only these rows carry numbers.
    `repolarised`: V came down to the APD90 level before the next upstroke and the end. `valid & ~repolarised` is a
    cell that failed to repolarise: stuck at its plateau, or oscillating there.
    `ead`: an early afterdepolarisation, see `action_potentials_from`.
    `resolved`: `dvdt_max` is right to about 1 %: the model's own, or of samples that lie close enough for that (of a
    noisy recording: to 5 %, one standard error).

    Of a recording there are also its `noise`, a `standard_error` and a `reason_of` NaN for every number. `reason` says
    of every trace why a beat lacks numbers.
    """

    t_upstroke: Float[Numbers, "... beats"]
    t_peak: Float[Numbers, "... beats"]
    rmp: Float[Numbers, "... beats"]
    peak: Float[Numbers, "... beats"]
    sampled_dvdt_max: Float[Numbers, "... beats"]
    cycle_length: Float[Numbers, "... beats"]
    apds: Float[Numbers, "... beats levels"]
    captured: Bool[Numbers, "... beats"]
    valid: Bool[Numbers, "... beats"]
    repolarised: Bool[Numbers, "... beats"]
    ead: Bool[Numbers, "... beats"]
    sampled_resolved: Bool[Numbers, "... beats"]
    positions: Positions
    samples: tuple[Numbers, Numbers, Numbers] | None
    """Times, their differences, and V as it was measured."""
    trace: Any
    levels: tuple[float, ...] = eqx.field(static=True)
    paced: bool = eqx.field(static=True)
    recording: Recorded | None = None
    """Of a recording: its noise, and the errors and reasons that the methods below give."""

    @property
    def apa(self) -> Float[Numbers, "... beats"]:
        """Amplitude, peak - rmp, mV."""
        return self.peak - self.rmp

    @property
    def dvdt_max(self) -> Float[Numbers, "... beats"]:
        """Largest dV/dt of the upstroke, mV/ms = V/s.

        Of a simulated trace that has every state: what its model has there, stepped finely (`Trace.dvdt_max`; computed
        when asked for). Else, and under `jit`, `vmap` and `grad`, `sampled_dvdt_max`: that of the samples.
        """
        if self.trace is None:
            return self.sampled_dvdt_max
        return self.trace.dvdt_max(self.positions.rest, self.positions.upstroke, self.valid)

    @property
    def resolved(self) -> Bool[Numbers, "... beats"]:
        return self.sampled_resolved if self.trace is None else self.valid

    @property
    def apd30(self) -> Float[Numbers, "... beats"]:
        return self.apd(30.0)

    @property
    def apd50(self) -> Float[Numbers, "... beats"]:
        return self.apd(50.0)

    @property
    def apd90(self) -> Float[Numbers, "... beats"]:
        return self.apd(90.0)

    def apd(self, level: float) -> Float[Numbers, "... beats"]:
        """Duration (ms) from the upstroke to `level` % repolarisation.

        Any level where the samples were kept (`action_potentials` keeps them), else one of `levels`.
        """
        level = check_level(level)
        if level in self.levels:
            return self.apds[..., self.levels.index(level)]
        if self.recording is not None and self.samples is not None:
            return self.recording.again(level)[0]
        if self.samples is None:
            raise ValueError(f"level = {level} %; measured: {self.levels} % (give levels=, or keep_samples=True)")
        ts, _, V = self.samples
        if isinstance(V, np.ndarray):
            return apd_of_one_cell(ts, V, self.positions, self.valid, level)
        return apd_of_cells(ts, V, self.positions, self.valid, level)

    @property
    def noise(self) -> Noise | None:
        """The noise that was estimated from a recording; None of a simulated trace."""
        return None if self.recording is None else self.recording.noise

    def standard_error(self, quantity: str) -> Float[Numbers, "... beats"]:
        """Standard error of a number of a recording, in its unit; NaN where the number is.

        Args:
            quantity: "t_upstroke", "rmp", "peak", "apa", "dvdt_max", "cycle_length", or "apd" and a level: "apd90".

        Raises:
            ValueError: of a simulated trace, or of what is not measured.
        """
        known, level = self._recorded("standard_error", quantity)
        return known.errors[quantity] if level is None else known.again(level)[1]

    def reason_of(self, quantity: str) -> Int[Numbers, "... beats"]:
        """Why a number of a recording is NaN: a `Reason` code a beat, 0 where it is known. `quantity` as above."""
        known, level = self._recorded("reason_of", quantity)
        return known.reasons[quantity] if level is None else known.again(level)[2]

    @property
    def reason(self) -> Int[Numbers, "... beats"]:
        """Why a beat has not all of its numbers: a `Reason` code a beat (`REASON_TEXTS` says them in words)."""
        if self.recording is not None:
            return self.recording.reasons["beat"]
        return reasons_of_flags(self.captured, self.valid, self.repolarised, self.paced)

    def _recorded(self, name: str, quantity: str) -> tuple[Recorded, float | None]:
        """The recording, and the level where an APD is asked for that was not measured yet."""
        if self.recording is None:
            raise ValueError(f"{name}({quantity!r}): of a simulated trace; only what a recording shows is uncertain")
        if quantity in self.recording.errors:
            return self.recording, None
        try:
            if not quantity.startswith("apd"):
                raise ValueError
            return self.recording, check_level(float(quantity[3:]))
        except ValueError:
            allowed = f"{', '.join(MEASURED)}, or apd and a level in (0, 100), e.g. apd90"
            raise ValueError(f"quantity = {quantity!r}; allowed: {allowed}") from None


@typed
def action_potentials(
    trace: Any, *, onsets: ArrayLike | Sequence[float] | None = None, **options: Any
) -> ActionPotentials:
    """The action potentials of `trace`.

    A trace without a cell is a recording: its noise is estimated, and every number has a standard error (see the
    package). Under `jit`, `vmap` and `grad`, and for dimensionless potentials, nothing is estimated.

    Args:
        trace: anything with `ts` (T,) in ms and `V` (T,) or (..., T) in mV. Where it has a `protocol` with onsets,
            those are the stimuli. Where its `potential_unit`, or its cell's unit of potential, is "1" (dimensionless
            models), the defaults that are potentials are a hundredth, and `ead_after` is 4 (time units of 12.9 ms).
        onsets: stimulus onsets, ms, in place of the protocol's; `()` looks for beats whatever the protocol.
        **options: as of `action_potentials_from`.
    """
    if not (hasattr(trace, "ts") and hasattr(trace, "V")):
        allowed = "anything with ts (ms) and V (mV), e.g. Trace.from_samples(ts, V)"
        raise ValueError(f"trace = {type(trace).__name__}; allowed: {allowed}")
    if onsets is None:
        onsets = _protocol_onsets(trace)
    options = {"keep_samples": True} | options
    if _potential_unit(trace) in ("1", "dimensionless"):
        options = {"min_amplitude": 0.2, "ead_rise": 0.02, "ead_after": 4.0} | options
    elif getattr(trace, "cell", None) is None:
        options = {"recorded": not is_traced(*jax.tree.leaves((trace.ts, trace.V, onsets, options)))} | options
    beats = action_potentials_from(trace.ts, trace.V, onsets=onsets, **options)
    knows_upstrokes = getattr(trace, "knows_upstrokes", lambda: False)
    return dataclasses.replace(beats, trace=trace) if knows_upstrokes() else beats


@typed
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
    ead_rise: ArrayLike | None = None,
    ead_after: ArrayLike = 50.0,
    patience: ArrayLike = 1000.0,
    keep_samples: bool = False,
    recorded: bool = False,
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
    `sampled_dvdt_max`. `peak` is the highest sample. 0.1 ms about the upstroke gives both to 0.05 ms and 0.05 mV for
    the models here; the slope of a 380 V/s upstroke needs 0.01 ms (`resolved` tells), unless the model is known.
    Repolarisation is content with 1 ms.

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
        ead_rise: mV, see above. Default: 2; of a recording more where its noise rises so far by itself.
        ead_after: ms, see above.
        patience: ms. The last beat, if the trace ends before V repolarises, is a failure to repolarise when the trace
            goes on for this long after its upstroke, else it is merely cut short and not valid.
        keep_samples: keep ts and V in the result, for `apd` at any level.
        recorded: V is a recording: its noise is estimated and everything follows it, see the package. Values must be
            known, not traced.

    Returns:
        `ActionPotentials` with fields (..., beats). A cell with a NaN in V has no beats, unless it is a
        recording; its neighbours are unaffected.

    Raises:
        ValueError: an argument out of its range, by name.
    """
    ts, V = check_samples(ts, V)
    levels = tuple(sorted({*(check_level(x) for x in levels), 30.0, 90.0}))
    for name, value, unit in (("smoothing", smoothing, "ms"), ("ead_rise", ead_rise, "mV")):
        if value is not None:
            check_number(name, value, unit, "> 0", lambda x: x > 0)
    check_number("min_amplitude", min_amplitude, "mV", "> 0", lambda x: x > 0)
    check_number("min_dvdt", min_dvdt, "mV/ms", "not NaN", lambda x: ~np.isnan(x))
    check_number("ead_after", ead_after, "ms", ">= 0", lambda x: x >= 0)
    check_number("patience", patience, "ms", ">= 0", lambda x: x >= 0)
    for name, value, unit, least in (("max_beats", max_beats, "beats", 1), ("window", window, "samples", 3)):
        if value is not None:
            check_whole(name, value, unit, least)
    threshold = check_threshold(threshold)
    ead_given = ead_rise is not None
    ead_rise = 2.0 if ead_rise is None else ead_rise
    stimuli = None if onsets is None or np.shape(onsets) == (0,) else locate_stimuli(ts, onsets)
    limits = {"min_amplitude": min_amplitude, "min_dvdt": min_dvdt, "ead_rise": ead_rise, "ead_after": ead_after}
    limits["patience"] = patience

    known = not is_traced(*jax.tree.leaves((ts, V, stimuli, threshold, smoothing, limits)))
    paced = stimuli is not None
    if recorded:
        if not known:
            raise ValueError("recorded = True: values are traced; allowed: known ones, outside of jit, vmap and grad")
        limits, threshold = jax.tree.map(float, (limits, threshold))
        onsets = np.asarray(onsets, np.float64) if paced else None
        fields, beside, samples = of_recording(
            ts, np.asarray(V), onsets, levels, threshold, limits, ead_given, max_beats, window, smoothing
        )
        kept = (ts, ts[1:] - ts[:-1], samples) if keep_samples else None
        return ActionPotentials(**fields, samples=kept, trace=None, levels=levels, paced=paced, recording=beside)
    one_known = known and V.ndim == 1
    samples: Any = np.asarray(V) if one_known else jnp.asarray(V)
    if smoothing is not None:
        samples = smoothed(ts, samples, smoothing)
    if one_known:
        limits, threshold = jax.tree.map(float, (limits, threshold))
        fields = of_one_cell(ts, samples, stimuli, threshold, limits, max_beats, window, levels)
    else:
        cells = samples.reshape(-1, V.shape[-1])
        fields = of_cells(ts, cells, stimuli, threshold, limits, max_beats, window, levels)
        fields = jax.tree.map(lambda x: x.reshape(*V.shape[:-1], *x.shape[1:]), fields)
    fields |= _absolute(ts, fields["positions"], fields.pop("into"))
    kept = (ts, ts[1:] - ts[:-1], samples) if keep_samples else None
    return ActionPotentials(**fields, samples=kept, trace=None, levels=levels, paced=paced)


def _absolute(ts, positions, into):
    """The times of upstrokes and peaks, NaN where `into` is: float64 where all is known, else in the precision of V."""
    xp = namespace(ts, into)
    ts = ts if xp is np else jnp.asarray(ts, into.dtype)
    upstroke, peak = (ts[xp.minimum(x, ts.shape[0] - 1)] for x in (positions.upstroke, positions.peak))
    return {"t_upstroke": upstroke + into, "t_peak": xp.where(xp.isnan(into), np.nan, peak)}


def _protocol_onsets(trace):
    """Stimulus onsets of the trace's own protocol, ms; None without a protocol."""
    protocol = getattr(trace, "protocol", None)
    if protocol is None or is_traced(trace.ts):
        return None
    return protocol.onsets(float(trace.ts[0]), float(trace.ts[-1]))


def _potential_unit(trace):
    cell = getattr(trace, "cell", None)
    of_cell = None if cell is None else cell.units.get(cell.potential)
    return getattr(trace, "potential_unit", None) or of_cell or "mV"
