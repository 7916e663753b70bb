"""A long recording of many channels, drugs added in the middle: durations with intervals, and what the drug changed."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import ArrayLike, Float

from ..annotations import typed
from ..arguments import check_known, check_whole
from ..progress import progress_bar
from .conduction import Conduction, conduction, matched_beats
from .features import LEVELS, beat_rate_variability, early_afterdepolarisations, field_potential_duration, quiescences
from .inference import Network
from .monitoring import Effect, Example, Monitoring, Period, Rhythm, Test, named
from .peaks import Beats, find_beats
from .pipeline import SLAB, Part, kept, reconstructed
from .reconstruct import SEARCH, chosen_channels, dropped_of, padded
from .recording import Event, Recording
from .statistics import corrected, drug_effect
from .unet import Estimate

WASH_IN, SPAN = 120_000.0, 120_000.0
"""After an addition so much time passes before its effect is measured; periods compared are so long, ms."""
FEWEST = 5
"""Beats of a channel in a period that is compared."""
MOST_WAVES = 200
"""Beats of which the conduction over the array is measured."""
ADDITIONS = ("drug", "vehicle")
METHODS: tuple[Literal["tangent", "threshold"], ...] = ("tangent", "threshold")


@typed
def monitor(
    recording: Recording,
    network: Network,
    *,
    channels: Sequence[str] | None = None,
    every: int = 1,
    wash_in: ArrayLike = WASH_IN,
    span: ArrayLike = SPAN,
    chunk: ArrayLike = SLAB,
    progress: bool | Callable[[float], None] = False,
) -> Monitoring:
    """Durations of every reconstructed beat, and the effect of each addition that the recording names.

    For each event of kind "drug" or "vehicle" the last `span` before it (of those before the first addition: control)
    is compared with the last `span` before the next one, which begins no sooner than `wash_in` after it. Each channel's
    change has an interval; over channels a one-sided t test says whether durations became longer, for each level,
    corrected for the number of levels (Holm); in each channel Welch's test does, corrected for the number of channels.
    Where a vehicle was added before, its change in the same channels is subtracted. Channels of one dish share the
    dish: see `drug_effect`. Field potential durations by two methods stand beside, and need no network.

    A beat without a repolarisation wave that stands out of the noise has no field potential duration. Its durations
    then rest on what beats of the training looked like; `print` says for how many beats that is so.

    Memory does not grow with the recording's length but for some 200 bytes a beat.

    Args:
        recording: of `Recording.load`; its events say what was added and when.
        network: of `load_network` or `train`.
        channels: labels; all where None.
        every: only each so many-th beat is reconstructed.
        wash_in, span: ms.
        chunk: length of recording held in memory at once, ms; the result does not depend on it.
        progress: True for a bar on stderr, or a function of the fraction done.

    ValueError: an unknown channel, a number out of range.
    """
    check_whole("every", every, "beats")
    for name, value in (("wash_in", wash_in), ("span", span), ("chunk", chunk)):
        check_known(name, value, "ms", "above 0", lambda x: (x > 0) & np.isfinite(x))
    report = progress_bar("monitoring", recording.duration / 1000, "s of recording") if progress is True else progress
    report = report or (lambda done: None)
    wanted = chosen_channels(recording, channels)
    beats = find_beats(recording, channels=wanted, chunk=chunk, progress=lambda done: report(SEARCH * done))
    inside = set(wanted)
    chosen = [kept(beats, k)[::every] if k in inside else np.zeros(0, np.int64) for k in range(len(beats.channels))]
    times = padded([beats.channels[k].times[chosen[k]] for k in wanted])
    tables = _tables(recording, network, beats, wanted, chosen, times, float(np.asarray(chunk)), report)
    is_inside = np.array([recording.kinds[k] == "intracellular" for k in wanted])
    periods = _periods(recording, float(np.asarray(wash_in)), float(np.asarray(span)))
    report(1.0)
    return Monitoring(
        channels=tuple(recording.channels[k] for k in wanted),
        kinds=tuple(recording.kinds[k] for k in wanted),
        times=times,
        **tables,
        effects=_effects(periods, times, is_inside, tables["durations"], tables["field_potentials"]),
        rhythm=tuple(_rhythm(recording, beats, k) for k in wanted),
        conduction=_conduction(recording, beats, wanted),
        events=tuple(recording.events),
        dropped=dropped_of(recording, beats, wanted, -np.inf, np.inf),
        sampling_rate=network.sampling_rate,
        begin=float(recording.times(0, 1)[0]),
        end=float(recording.times(recording.n_samples - 1, recording.n_samples)[0]),
        about=json.dumps({"network": network.about, "recording_notes": list(recording.notes), "every": every}),
    )


def _tables(recording, network, beats: Beats, wanted, chosen, times, chunk: float, report) -> dict[str, Any]:
    row = {k: place for place, k in enumerate(wanted)}
    durations = {name: np.full((*times.shape, len(LEVELS)), np.nan) for name in Estimate._fields}
    fields = {name: np.full(times.shape, np.nan) for name in METHODS}
    early, unfamiliar = np.zeros(times.shape, bool), np.zeros(times.shape, bool)
    rate, wanted_examples = network.sampling_rate, _moments(recording)
    examples: dict[tuple[int, int], tuple[float, Example]] = {}
    for part in reconstructed(
        recording, network, beats, chosen, chunk=chunk, report=lambda done: report(SEARCH + (1 - SEARCH) * done)
    ):
        at = row[part.channel], part.beats
        for name, values in part.durations._asdict().items():
            durations[name][at] = values
        outside = recording.kinds[part.channel] == "extracellular"
        for name in METHODS if outside else ():
            fields[name][at] = field_potential_duration(part.eap, rate, method=name).duration
        early[at] = early_afterdepolarisations(part.prediction.median, rate)
        unfamiliar[at] = part.unfamiliar
        _keep_examples(examples, wanted_examples, row[part.channel], times[at], part)
    return {
        "durations": Estimate(**durations),
        "field_potentials": fields,
        "early": early,
        "unfamiliar": unfamiliar,
        "examples": tuple(example for _, (_, example) in sorted(examples.items())),
    }


def _moments(recording: Recording) -> list[float]:
    """Shortly before each addition, and the end: when a trace of each channel is kept."""
    end = float(recording.times(recording.n_samples - 1, recording.n_samples)[0])
    return [*(event.time for event in additions(recording.events)), end]


def _keep_examples(found, moments: list[float], row: int, times: np.ndarray, part: Part) -> None:
    """Keeps of each channel the last beat before each moment."""
    for k, moment in enumerate(moments):
        before = np.flatnonzero(times < moment)
        if before.size and times[before[-1]] >= found.get((k, row), (-np.inf,))[0]:
            n, p = before[-1], part.prediction
            example = Example(row, float(times[n]), *(np.asarray(x[n]) for x in (p.median, p.lower, p.upper, part.eap)))
            found[k, row] = float(times[n]), example


def additions(events: Sequence[Event]) -> list[Event]:
    """What was added to the dish, in the order of time."""
    return sorted((event for event in events if event.kind in ADDITIONS), key=lambda event: event.time)


def _periods(recording: Recording, wash_in: float, span: float) -> list[Period]:
    """Of each addition: the control period before all of them, and the one in which its effect is measured."""
    begin = float(recording.times(0, 1)[0])
    end = float(recording.times(recording.n_samples - 1, recording.n_samples)[0])
    added = _together(additions(recording.events))
    pulses = [event.time for event in recording.events if event.kind == "electroporation"]
    found = []
    for k, event in enumerate(added):
        control = added[0].time
        last = added[k + 1].time if k + 1 < len(added) else end
        earliest = max([begin, *(t for t in pulses if t < control)])
        before = (max(earliest, control - span), control)
        after = (min(last, max(event.time + wash_in, last - span)), last)
        found.append(Period(event, before, after))
    return found


def _together(added: list[Event]) -> list[Event]:
    """What was added at one time as one event, since its effects cannot be told apart."""
    found: list[Event] = []
    for event in added:
        if found and found[-1].time == event.time:
            label = f"{named(found[-1])} + {named(event)}"
            kind = "drug" if "drug" in (found[-1].kind, event.kind) else event.kind
            found[-1] = found[-1]._replace(label=label, concentration=None, kind=kind)
        else:
            found.append(event)
    return found


def _effects(
    periods: list[Period], times: np.ndarray, is_inside: np.ndarray, durations: Estimate, fields: dict[str, np.ndarray]
) -> tuple[Effect, ...]:
    values, found = np.asarray(durations.value), []
    reconstructed_ones = np.where(is_inside[:, None, None], np.nan, values)
    recorded_ones = np.where(is_inside[:, None, None], values, np.nan)
    vehicle: tuple[np.ndarray, np.ndarray] | None = None
    for period in periods:
        is_vehicle = period.event.kind == "vehicle"
        before, after = (_inside(times, limits) for limits in (period.before, period.after))
        plain = None if is_vehicle else vehicle
        outside, inside = (_test(x, (before, after), plain) for x in (reconstructed_ones, recorded_ones))
        if is_vehicle:
            vehicle = before, after
        potentials = {
            name: (_mean(x[..., None], after) - _mean(x[..., None], before))[:, 0] for name, x in fields.items()
        }
        change, control = _change(durations, before, after), _mean(values, before)
        counts = before.sum(-1), after.sum(-1)
        found.append(Effect(period, change, *counts, control, outside, inside, potentials))
    return tuple(found)


def _test(values: np.ndarray, of: tuple[np.ndarray, np.ndarray], vehicle: tuple[np.ndarray, np.ndarray] | None) -> Test:
    """Whether each duration became longer, over the channels and in each of them, less what the vehicle did to them."""

    def within(which: np.ndarray, level: int) -> np.ndarray:
        is_enough = (which & np.isfinite(values[..., level])).sum(-1) >= FEWEST
        kept = np.where(which & is_enough[:, None], values[..., level], np.nan)
        return kept if kept.size else np.full((len(values), 1), np.nan)

    tests = []
    for k in range(len(LEVELS)):
        plain = None if vehicle is None else (within(vehicle[0], k), within(vehicle[1], k))
        tests.append(drug_effect(within(of[0], k), within(of[1], k), vehicle=plain, same_channels=plain is not None))
    p = np.array([test.p for test in tests])
    return Test(
        **{name: np.array([getattr(test, name) for test in tests]) for name in ("effect", "lower", "upper", "percent")},
        p=p,
        p_corrected=corrected(p),
        n_channels=np.array([test.n_channels for test in tests]),
        channel_p=np.stack([test.channel_p_corrected for test in tests], -1),
    )


def _inside(times: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    return (times >= limits[0]) & (times < limits[1])


def _mean(values: np.ndarray, which: np.ndarray) -> Float[np.ndarray, "channel level"]:
    """Mean over the beats of a period; NaN where a channel has too few."""
    there = which[..., None] & np.isfinite(values)
    count = there.sum(1)
    total = np.where(there, values, 0.0).sum(1)
    return np.where(count >= FEWEST, total / np.maximum(count, 1), np.nan)


def _change(durations: Estimate, before: np.ndarray, after: np.ndarray) -> Estimate:
    """Of each channel and level: mean after less mean before, with an interval, ms.

    The errors of one channel's beats in one period are taken to be the same error, which averaging does not lessen;
    those before and after as independent. That is cautious: what is shared by both cancels in truth.
    """
    value, low, high = (np.asarray(x) for x in durations)
    (v0, l0, u0), (v1, l1, u1) = ([_mean(x, which) for x in (value, low, high)] for which in (before, after))
    change = v1 - v0
    return Estimate(change, change - np.hypot(v1 - l1, u0 - v0), change + np.hypot(u1 - v1, v0 - l0))


def _rhythm(recording: Recording, beats: Beats, channel: int) -> Rhythm:
    found = beats.channels[channel]
    times = np.zeros(0) if found.reason else found.times
    begin, end = recording.times(0, 1)[0], recording.times(recording.n_samples - 1, recording.n_samples)[0]
    return Rhythm(beat_rate_variability(times), quiescences(times, float(begin), float(end)))


def _conduction(recording: Recording, beats: Beats, wanted: list[int]) -> Conduction | None:
    """Over the array, of up to `MOST_WAVES` beats spread over the recording; None without positions. Upstrokes inside
    and spikes outside are not at the same moment of a beat: only channels that record from outside are used."""
    if recording.positions is None:
        return None
    wanted = [k for k in wanted if recording.kinds[k] == "extracellular"]
    times = [np.zeros(0) if beats.channels[k].reason else beats.channels[k].times for k in wanted]
    waves = matched_beats(times) if wanted else np.zeros((0, 0))
    if not waves.size:
        return None
    spread = np.unique(np.linspace(0, len(waves) - 1, min(MOST_WAVES, len(waves))).round().astype(int))
    return conduction(recording.positions[wanted], waves[spread], resolution=1000 / recording.sampling_rate)
