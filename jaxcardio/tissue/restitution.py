"""Restitution of a tissue: velocity and APD of waves that follow each other ever sooner, and the last that conducts."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Bool, Float

from ..annotations import typed
from ..arguments import check_concrete, check_known, check_whole, refusal
from ..biomarkers.measurement import at_previous
from ..protocols import Pulses
from .grid import Tissue
from .measure.velocity import cell_index, distance, two_cells
from .run import Run
from .simulate import simulate
from .stimulus import Stimulus

MEASURED = 2
"""Beats at each cycle length of the dynamic protocol that are reported: the last ones; two show alternans."""


class Restitution(NamedTuple):
    """What each wave did. Arrays have one entry an interval, in the order given; of the dynamic protocol (intervals, 2)
    for the last two beats of each. NaN where there was no such wave."""

    intervals: Float[np.ndarray, " intervals"]
    """Between the stimulus and the one before, ms: S1-S2 interval or cycle length."""
    velocity: Float[np.ndarray, " intervals ..."]
    """From `start` to `stop`, mm/ms."""
    diastolic_interval: Float[np.ndarray, " intervals ..."]
    """At `place`: from 90 % repolarisation of the beat before to activation, ms."""
    apd: Float[np.ndarray, " intervals ..."]
    """At `place`: from activation to 90 % repolarisation, ms."""
    captured: Bool[np.ndarray, " intervals ..."]
    """Whether the wave reached `start`."""
    conducted: Bool[np.ndarray, " intervals ..."]
    """Whether it also reached `stop`; conduction block where it was captured and not conducted."""

    @property
    def shortest(self) -> float:
        """The shortest interval, ms, at which each beat was conducted, as at all longer ones given; NaN if none was."""
        order = np.argsort(-self.intervals)
        conducts = np.all(np.reshape(self.conducted, (len(order), -1)), axis=1)
        number = int(np.sum(np.logical_and.accumulate(np.asarray(conducts)[order])))
        return float(self.intervals[order[number - 1]]) if number else float("nan")


@typed
def restitution(
    tissue: Tissue,
    intervals: ArrayLike | Sequence[float],
    *,
    cycle_length: float,
    amplitude: float,
    duration: float = 1.0,
    cell_amplitude: float | None = None,
    region: Any = None,
    beats: int = 5,
    s1: Literal["tissue", "cell"] = "tissue",
    prepaced: int = 0,
    y0: Any = None,
    start: Sequence[int] | None = None,
    stop: Sequence[int] | None = None,
    place: Sequence[int] | None = None,
    **options: Any,
) -> Restitution:
    """CV and APD restitution by the S1-S2 protocol: `beats` waves at one cycle length, then one at each interval.

    The S1 are run once. Every S2 starts from the state of the tissue at its moment, and is followed for one
    `cycle_length`: the wave must get from the stimulus to `stop` in that time.

    With s1="cell" the S1 are given to one cell alone, and its state at the moment of the S2 is copied into the whole
    tissue, as openCARP's tool does. That costs less and is not the same: the S2 then meets cells that have all had the
    same time, and more of it the further it comes, so that it is faster and conducts at shorter intervals than behind a
    wave.

    Args:
        tissue: what is run; a cable, or a larger tissue along its last axis.
        intervals: from the last S1 to the S2, ms.
        cycle_length: of the S1, ms.
        amplitude: of each stimulus, pA/pF, negative; about twice what a cell alone needs.
        duration: of each stimulus, ms.
        cell_amplitude: of stimuli to one cell alone; default half of `amplitude`.
        region: where it is given, see `Stimulus`; default the first tenth of the last axis.
        beats: S1 stimuli.
        s1: what they are given to: the "tissue", or one "cell" alone; that for tissue of one kind of cell.
        prepaced: beats of one cell alone at this cycle length before all others, whose state is copied in; for tissue
            of one kind of cell.
        y0: state to start from in place of that, as of `simulate`.
        start, stop: cells between which the velocity is taken, as indices; default at a quarter and three quarters of
            the last axis, amid the others.
        place: cell whose APD and diastolic interval are taken; default halfway between.
        **options: of `simulate`: dt, solver, splitting, diffusion, threshold, devices.

    Raises:
        ValueError: an argument is out of range.
    """
    check_concrete(tissue=tissue, y0=y0)
    given = _checked_intervals("intervals", intervals, duration)
    check_whole("beats", beats, "S1 stimuli")
    pacing = _Pacing(tissue, cycle_length, amplitude, cell_amplitude, duration, region, options)
    way = _Way.of(tissue, start, stop, place)
    y = pacing.first_state(prepaced, y0)
    conditioned = pacing if s1 == "tissue" else pacing.of_a_cell("s1", s1)
    if beats > 1:
        y = conditioned.run(cycle_length * np.arange(beats - 1), cycle_length * (beats - 1), y).final_state
    last = conditioned.run([0.0], max(cycle_length, float(given.max())), y, moments=np.unique(given))
    before = last.repolarisation_times[0][way.place if s1 == "tissue" else 0]
    rows = []
    for interval in given:
        y = _state_at(last, float(interval))
        wave = _wave(pacing.run([0.0], cycle_length, y if s1 == "tissue" else _first(y)), way, 0.0, cycle_length)
        rows.append(wave._replace(diastolic=interval + wave.activated - before))
    return _gathered(given, way, rows)


@typed
def dynamic_restitution(
    tissue: Tissue,
    cycle_lengths: ArrayLike | Sequence[float],
    *,
    amplitude: float,
    duration: float = 1.0,
    cell_amplitude: float | None = None,
    region: Any = None,
    beats: int = 20,
    prepaced: int = 0,
    y0: Any = None,
    start: Sequence[int] | None = None,
    stop: Sequence[int] | None = None,
    place: Sequence[int] | None = None,
    **options: Any,
) -> Restitution:
    """CV and APD restitution by the dynamic protocol: `beats` stimuli at each cycle length in turn, longest first.

    The last two beats at each are reported: two different APDs are alternans, one wave that is missing is 2:1 block.
    Other arguments are as for `restitution`; `prepaced` beats have the first cycle length.

    Args:
        tissue: what is run.
        cycle_lengths: ms, descending.
        amplitude, duration, cell_amplitude, region, prepaced, y0, start, stop, place, **options: see `restitution`.
        beats: stimuli at each cycle length, at least 3.

    Raises:
        ValueError: an argument is out of range.
    """
    check_concrete(tissue=tissue, y0=y0)
    given = _checked_intervals("cycle_lengths", cycle_lengths, duration)
    if not (np.diff(given) < 0).all():
        raise refusal("cycle_lengths", given.tolist(), "ms", "descending")
    check_whole("beats", beats, "stimuli at each cycle length", MEASURED + 1)
    pacing = _Pacing(tissue, float(given[0]), amplitude, cell_amplitude, duration, region, options)
    way = _Way.of(tissue, start, stop, place)
    y = pacing.first_state(prepaced, y0)
    rows = []
    for length in given:
        # One beat more is seen than is reported, for the first diastolic interval.
        unseen, seen = beats - MEASURED - 1, MEASURED + 1
        if unseen:
            y = pacing.run(length * np.arange(unseen), length * unseen, y).final_state
        end = float(length * seen)
        run = pacing.run(length * np.arange(seen), end + float(length), y, moments=np.array([end]), beats=seen + 1)
        y = _state_at(run, end)
        waves = [_wave(run, way, k * length, length) for k in range(seen)]
        rows.append(_with_diastole(waves)[1:])
    return _gathered(given, way, rows)


class _Pacing:
    """Stimuli to one place of a tissue."""

    def __init__(self, tissue: Tissue, cycle_length, amplitude, cell_amplitude, duration, region, options):
        cell_amplitude = 0.5 * amplitude if cell_amplitude is None else cell_amplitude
        allowed = f"> duration = {duration} ms, finite"
        check_known("cycle_length", cycle_length, "ms", allowed, lambda x: np.isfinite(x) & (x > duration))
        for name, value in (("amplitude", amplitude), ("cell_amplitude", cell_amplitude)):
            check_known(name, value, "pA/pF", "< 0, finite: that depolarises", lambda x: np.isfinite(x) & (x < 0))
        self.tissue, self.cycle_length, self.options = tissue, float(cycle_length), options
        self.amplitude, self.cell_amplitude, self.duration = amplitude, cell_amplitude, duration
        first = slice(max(1, tissue.shape[-1] // 10))
        self.region = (*(slice(None) for _ in tissue.shape[:-1]), first) if region is None else region

    def first_state(self, prepaced: int, y0: Any) -> Any:
        """The state the tissue starts from."""
        check_whole("prepaced", prepaced, "beats", 0)
        if prepaced == 0 or y0 is not None:
            if prepaced:
                raise refusal("prepaced", prepaced, "beats", "0 where y0 is given")
            return y0
        end = prepaced * self.cycle_length
        alone = self.of_a_cell("prepaced", prepaced)
        return _first(alone.run(self.cycle_length * np.arange(prepaced), end, None).final_state)

    def of_a_cell(self, name: str, value: Any) -> "_Pacing":
        """The same of one cell alone: two alike, as no tissue has fewer."""
        cell, D = self.tissue.cell, jnp.max(self.tissue.diffusivity)
        if any(np.ndim(p.value) for p in cell.parameters().values()):
            raise refusal(name, value, "", "in tissue of several kinds of cell none is paced alone")
        pair = Tissue(cell, shape=(2,), spacing=max(self.tissue.spacing), diffusivity=D)
        amplitude = self.cell_amplitude
        return _Pacing(pair, self.cycle_length, amplitude, amplitude, self.duration, (), self.options)

    def run(self, times, t1: float, y: Any, moments: np.ndarray | None = None, beats: int = 1) -> Run:
        """A run with stimuli at these times; it keeps the whole state at the `moments`."""
        stimulus = Stimulus(Pulses(self.amplitude, self.duration, np.asarray(times, float)), self.region)
        names = None if moments is None else type(self.tissue.cell.initial_state())._fields
        save_at = [t1] if moments is None else moments
        return simulate(
            self.tissue, [stimulus], t1=t1, save_at=save_at, outputs=names, y0=y, beats=beats, **self.options
        )


class _Way(NamedTuple):
    """From where to where, how far that is, mm, and where APDs are taken."""

    start: tuple[int, ...]
    stop: tuple[int, ...]
    place: tuple[int, ...]
    length: float

    @classmethod
    def of(cls, tissue: Tissue, start, stop, place) -> "_Way":
        middle, n = tuple(m // 2 for m in tissue.shape[:-1]), tissue.shape[-1]
        first, last = two_cells(
            tissue, (*middle, n // 4) if start is None else start, (*middle, 3 * n // 4) if stop is None else stop
        )
        halfway = tuple((a + b) // 2 for a, b in zip(first, last, strict=True))
        at = halfway if place is None else cell_index("place", place, tissue.shape)
        return cls(first, last, at, distance(tissue, first, last))


class _Wave(NamedTuple):
    """One wave: when it was at the ends of the way, ms; its activation, diastolic interval and APD at the place."""

    start: float
    stop: float
    activated: float
    diastolic: float
    apd: float


def _wave(run: Run, way: _Way, after: float, within: float) -> _Wave:
    """The wave of the stimulus at `after`, which is at the start before the next one, one `within` later."""

    def first(cell, at, until):
        times = run.activation_times[(slice(None), *cell)]
        there = np.flatnonzero((times >= at) & (times < at + until))
        return int(there[0]) if there.size else None

    def when(cell, beat):
        return float("nan") if beat is None else float(run.activation_times[(beat, *cell)])

    start = when(way.start, first(way.start, after, within))
    stop = when(way.stop, first(way.stop, start, within))
    beat = first(way.place, after, within)
    fall = float("nan") if beat is None else float(run.repolarisation_times[(beat, *way.place)])
    activated = when(way.place, beat)
    return _Wave(start, stop, activated, float("nan"), fall - activated)


def _with_diastole(waves: list[_Wave]) -> list[_Wave]:
    """Each wave with the time since the repolarisation of the last one that came by."""
    activated, apd = (np.array([getattr(w, name) for w in waves]) for name in ("activated", "apd"))
    came = np.isfinite(activated)
    before = at_previous(came, activated + apd)
    return [w._replace(diastolic=float(w.activated - b)) for w, b in zip(waves, before, strict=True)]


def _state_at(run: Run, moment: float) -> Any:
    """The whole state that the run saved at this moment."""
    k = int(np.argmin(np.abs(run.ts - moment)))
    kind = type(run.tissue.cell.initial_state())
    return kind(**{name: x[k] for name, x in run.ys.items()})


def _first(state: Any) -> Any:
    """The state of the first of two cells."""
    return type(state)(*(x[0] for x in state))


def _gathered(intervals: np.ndarray, way: _Way, rows: list[Any]) -> Restitution:
    """One row an interval: a wave, or a list of them."""
    start, stop, _, diastolic, apd = (np.array(x) for x in np.moveaxis(np.array(rows, float), -1, 0))
    with np.errstate(divide="ignore"):
        velocity = way.length / (stop - start)
    return Restitution(intervals, velocity, diastolic, apd, np.isfinite(start), np.isfinite(stop))


def _checked_intervals(name: str, intervals: Any, duration: Any) -> np.ndarray:
    check_known("duration", duration, "ms", "> 0, finite", lambda x: np.isfinite(x) & (x > 0))
    allowed = f"each > duration = {duration} ms, finite, at least one, in a list"
    given = np.asarray(intervals, float)
    if given.ndim != 1 or given.size == 0 or not (np.isfinite(given) & (given > duration)).all():
        raise refusal(name, intervals, "ms", allowed)
    return given
