"""What monitoring found: durations by beat, effects by addition, rhythm, conduction; memory, files, a table."""

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from jaxtyping import Bool, Float, Int

from ..annotations import typed
from ..arguments import check, refusal
from ..files.hdf5 import read_hdf5
from ..files.reading import FLOATS, TRUTH, WHOLE, Group
from ..files.writing import Where, put, write_csv, write_hdf5
from ..json_text import parse
from ..text_tables import text_table
from .beats import Dropped, channels_of, dropped_of, put_dropped
from .conduction import Conduction
from .features import LEVELS, Variability
from .recording import Event
from .recording.parts import check_events
from .unet import Estimate

FORMAT, VERSION = "jaxcardio monitoring", 1
SHOWN = (30, 50, 70, 90)
"""Levels of the printed table, %."""
HEADINGS = (
    "added", "what", "control (ms)", "change (ms)", "95 % interval", "change (%)", "p, one-sided", "corrected",
    "channels", "beyond their interval", "measured inside (ms)",
)  # fmt: skip
TRACES = ("iap", "lower", "upper", "eap")
ENDS = ("lower", "upper")
"""Of the interval of an effect: ms, unlike those of a trace."""
MANY = 0.5
"""Share of beats without a repolarisation wave that is worth a line: a quarter of the training's have none."""
UNITS = dict.fromkeys(("time", "effect", "mean", "sd", "rmssd", "residual"), "ms") | {
    "eap": "mV", "percent": "%", "cv": "%", "speed": "mm/ms", "speed_error": "mm/ms", "direction": "degrees",
    "direction_error": "degrees", "origin": "um",
}  # fmt: skip
"""Of what has one, by its name."""


class Period(NamedTuple):
    """An addition, and the two stretches of time that are compared, each (begin, end) in ms."""

    event: Event
    before: tuple[float, float]
    after: tuple[float, float]


class Test(NamedTuple):
    """One-sided tests that durations became longer, one for each level; see `drug_effect`."""

    effect: Float[np.ndarray, " level"]
    """Mean over the channels of the change, less the vehicle's, ms."""
    lower: Float[np.ndarray, " level"]
    upper: Float[np.ndarray, " level"]
    """Its 95 % interval, ms."""
    percent: Float[np.ndarray, " level"]
    p: Float[np.ndarray, " level"]
    """Of the test over channels."""
    p_corrected: Float[np.ndarray, " level"]
    """For the number of levels (Holm)."""
    n_channels: Int[np.ndarray, " level"]
    channel_p: Float[np.ndarray, "channel level"]
    """Of each channel's own test, corrected for the number of channels (Holm)."""


class Effect(NamedTuple):
    """What one addition changed."""

    period: Period
    change: Estimate
    """(channel, level): each channel's own change with its interval, ms. NaN where a period has too few beats."""
    beats_before: Int[np.ndarray, " channel"]
    beats_after: Int[np.ndarray, " channel"]
    control: Float[np.ndarray, "channel level"]
    """Mean duration before the first addition, ms."""
    test: Test
    """Over the extracellular channels, of reconstructed durations."""
    inside: Test
    """Over the electroporated channels, of durations as recorded; NaN where there are none."""
    field_potentials: dict[str, Float[np.ndarray, " channel"]]
    """Change of the field potential duration, ms, by method."""


class Example(NamedTuple):
    """One beat kept with its traces."""

    channel: int
    time: float
    """ms."""
    iap: Float[np.ndarray, " sample"]
    lower: Float[np.ndarray, " sample"]
    upper: Float[np.ndarray, " sample"]
    eap: Float[np.ndarray, " sample"]
    """As recorded, mV."""


class Rhythm(NamedTuple):
    """Of one channel."""

    variability: Variability
    quiescences: Float[np.ndarray, "pause 2"]
    """Pauses of the beating, (begin, end) each, ms."""


@dataclasses.dataclass(frozen=True)
class Monitoring:
    """A recording of many channels, monitored. `print` it for the effects of what was added."""

    channels: tuple[str, ...]
    kinds: tuple[str, ...]
    """Of each channel: "extracellular", reconstructed; or "intracellular", electroporated and measured as recorded."""
    times: Float[np.ndarray, "channel beat"]
    """Of the peaks (upstrokes of intracellular channels), ms; NaN behind a channel's last beat."""
    durations: Estimate
    """APD10 ... APD100 with 90 % intervals, ms, each (channel, beat, level)."""
    field_potentials: dict[str, Float[np.ndarray, "channel beat"]]
    """Field potential durations, ms, by "tangent" and by "threshold"; NaN where there is no repolarisation wave."""
    early: Bool[np.ndarray, "channel beat"]
    """Beats whose reconstructed trace has an early afterdepolarisation."""
    unfamiliar: Bool[np.ndarray, "channel beat"]
    """Beats unlike any that the network was trained on: their intervals are not to be trusted."""
    effects: tuple[Effect, ...]
    examples: tuple[Example, ...]
    """Of each channel the last beat before each addition and before the end."""
    rhythm: tuple[Rhythm, ...]
    conduction: Conduction | None
    """Over the array; None where the recording names no positions."""
    events: tuple[Event, ...]
    dropped: tuple[Dropped, ...]
    sampling_rate: float
    """Of the examples, Hz."""
    begin: float
    end: float
    """Of the recording, ms."""
    about: str
    """What made it, as JSON."""

    @typed
    def apd(self, level: int = 90) -> Estimate:
        """Action potential durations at this percentage of repolarisation, (channel, beat), ms.

        ValueError: a level other than 10, 20, ... 100.
        """
        if level not in LEVELS:
            raise refusal("level", level, "%", ", ".join(map(str, LEVELS)))
        return Estimate(*(x[..., LEVELS.index(level)] for x in self.durations))

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        strange = 100 * self.unfamiliar[np.isfinite(self.times)].mean() if np.isfinite(self.times).any() else 0.0
        lines = [
            f"{len(self.channels)} channels, {(self.end - self.begin) / 1000:.0f} s, {np.isfinite(self.times).sum()} "
            f"beats reconstructed, {len(self.dropped)} beats or channels left out",
        ]
        if strange:
            lines.append(f"~ {strange:.1f} % of the beats are unlike the training's: do not trust their intervals")
        without = self._without_wave()
        if without > MANY:
            lines.append(
                f"~ {100 * without:.0f} % of the reconstructed beats show no repolarisation wave above the noise: "
                "their durations rest on what beats of the training looked like"
            )
        lines += [_unmeasured(effect) for effect in self.effects if _is_unmeasured(effect)]
        lines.append(
            text_table([HEADINGS, *self.rows()], left=1) if self.effects else "no addition is named: no effect"
        )
        return "\n".join(lines)

    def _without_wave(self) -> float:
        """Share of the reconstructed beats."""
        outside = np.array([kind == "extracellular" for kind in self.kinds], bool)
        there = np.isfinite(self.times[outside])
        wave = np.isfinite(self.field_potentials["tangent"][outside]) if there.size else there
        return float(1 - wave[there].mean()) if there.any() else 0.0

    @typed
    def rows(self, levels: tuple[int, ...] = SHOWN) -> list[tuple[str, ...]]:
        """The effects as rows of texts under `HEADINGS`: one an addition and level."""
        for level in levels:
            if level not in LEVELS:
                raise refusal("levels", level, "%", ", ".join(map(str, LEVELS)))
        outside = np.array([kind == "extracellular" for kind in self.kinds], bool)
        rows = []
        for effect in self.effects:
            rows += [_row(effect, level, outside) for level in levels]
            for name, change in effect.field_potentials.items():
                there = np.isfinite(change) & outside
                mean = _text(change[there].mean() if there.any() else np.nan, "+.1f")
                rows.append((named(effect.period.event), f"FPD, {name}", "", mean, *[""] * 4, str(there.sum()), "", ""))
        return rows

    @typed
    def save_table(self, path: Where) -> None:
        """Writes one row a reconstructed beat as CSV: channel, time, durations with intervals, marks."""
        names = [f"APD{level}{end}_ms" for level in LEVELS for end in ("", "_lower", "_upper")]
        heading = [
            "channel",
            "time_ms",
            *names,
            *(f"FPD_{name}_ms" for name in self.field_potentials),
            "EAD",
            "unfamiliar",
        ]

        def rows():
            yield heading
            for row, column in zip(*np.nonzero(np.isfinite(self.times)), strict=True):
                numbers = np.stack([np.asarray(x)[row, column] for x in self.durations], -1).ravel()
                fields = [values[row, column] for values in self.field_potentials.values()]
                texts = ["" if not np.isfinite(x) else f"{x:.3f}" for x in (*numbers, *fields)]
                marks = [int(self.early[row, column]), int(self.unfamiliar[row, column])]
                yield [self.channels[row], f"{self.times[row, column]:.3f}", *texts, *marks]

        write_csv(path, rows())

    @typed
    def save(self, path: Where) -> None:
        """Writes HDF5, whole or not at all; `load` reads it.

        Attributes: `format`, `format_version`, `sampling_rate_Hz` (of the examples), `begin_ms`, `end_ms`; as JSON
        `channels`, `kinds`, `events`, `effects` (which periods are compared) and `about`. Datasets, with their `unit`:

            times                                (channel, beat)
            apd/value, apd/lower, apd/upper      (channel, beat, level) of 10, 20, ... 100 %
            fpd/tangent, fpd/threshold           (channel, beat)
            early, unfamiliar                    (channel, beat)
            dropped/channel, time, reason        as in reconstructed beats
            effects/K/change/...                 (channel, level); K-th addition
            effects/K/test/..., inside/...       (level), see `Test`
            effects/K/control                    (channel, level); beats_before, beats_after, fpd/... (channel)
            rhythm/...                           (channel), see `Variability`
            quiescences                          (pause, 3): channel, begin, end
            conduction/...                       (beat), see `Conduction`
            examples/...                         (example, sample), see `Example`
        """

        def write(file: h5py.File) -> None:
            file.attrs["kinds"] = json.dumps(self.kinds)
            file.attrs.update(format=FORMAT, format_version=VERSION, sampling_rate_Hz=self.sampling_rate)
            file.attrs.update(
                begin_ms=self.begin, end_ms=self.end, about=self.about, channels=json.dumps(self.channels)
            )
            file.attrs.update(events=json.dumps([event._asdict() for event in self.events]))
            file.attrs["effects"] = json.dumps([_period_json(effect.period) for effect in self.effects])
            put(file, "times", self.times, "ms")
            _put_all(file, "apd", self.durations._asdict(), "ms")
            _put_all(file, "fpd", self.field_potentials, "ms")
            put(file, "early", self.early, "1")
            put(file, "unfamiliar", self.unfamiliar, "1")
            put_dropped(file, self.channels, self.dropped)
            for k, effect in enumerate(self.effects):
                _put_effect(file, f"effects/{k}", effect)
            _put_all(file, "rhythm", _stacked([r.variability for r in self.rhythm]))
            pauses = [(k, *pause) for k, r in enumerate(self.rhythm) for pause in np.asarray(r.quiescences)]
            put(file, "quiescences", np.array(pauses, np.float64).reshape(-1, 3), "channel, ms, ms")
            if self.conduction is not None:
                _put_all(file, "conduction", self.conduction._asdict())
            for name in ("channel", "time", *TRACES):
                put(file, f"examples/{name}", np.array([getattr(e, name) for e in self.examples]), UNITS.get(name, "1"))

        write_hdf5(path, write)

    @staticmethod
    def load(path: str | Path) -> "Monitoring":
        """Reads what `save` wrote; anything else is a ValueError that names the path."""
        return read_hdf5(path, FORMAT, VERSION, _read)


def named(event: Event) -> str:
    """What was added, in words: `dofetilide 10 nM`."""
    return event.label if event.concentration is None else f"{event.label} {event.concentration:g} nM"


def _is_unmeasured(effect: Effect) -> bool:
    return not np.isfinite(np.asarray(effect.change.value)).any()


def _unmeasured(effect: Effect) -> str:
    before, after = (
        f"{begin / 1000:.0f} to {end / 1000:.0f} s" for begin, end in (effect.period.before, effect.period.after)
    )
    return (
        f"{named(effect.period.event)} at {effect.period.event.time / 1000:.0f} s: no channel has enough beats in both "
        f"periods, {before} and {after}; see wash_in and span"
    )


def _row(effect: Effect, level: int, outside: np.ndarray) -> tuple[str, ...]:
    k = LEVELS.index(level)
    change, low, high = (np.asarray(x)[:, k] for x in effect.change)
    there = np.isfinite(change) & outside
    beyond = int(((low > 0) | (high < 0))[there].sum())
    test, inside, control = effect.test, effect.inside, effect.control[there, k]
    return (
        named(effect.period.event),
        f"APD{level}",
        _text(control.mean() if there.any() else np.nan, ".0f"),
        _text(test.effect[k], "+.1f"),
        f"{_text(test.lower[k], '+.1f')} to {_text(test.upper[k], '+.1f')}",
        _text(test.percent[k], "+.1f"),
        _text(test.p[k], ".2g"),
        _text(test.p_corrected[k], ".2g"),
        f"{test.n_channels[k]}",
        f"{beyond} of {int(there.sum())}",
        f"{_text(inside.effect[k], '+.1f')} ({inside.n_channels[k]})",
    )


def _text(x: float, form: str) -> str:
    return format(x, form) if np.isfinite(x) else "-"


def _put_all(file: h5py.File, group: str, arrays: dict, unit: str | None = None) -> None:
    """Writes these arrays, in one unit or each in its own (`UNITS`)."""
    for name, values in arrays.items():
        put(file, f"{group}/{name}", np.asarray(values), UNITS.get(name, "1") if unit is None else unit)


def _put_effect(file: h5py.File, group: str, effect: Effect) -> None:
    _put_all(file, f"{group}/change", effect.change._asdict(), "ms")
    for name in ("test", "inside"):
        test = getattr(effect, name)._asdict()
        _put_all(file, f"{group}/{name}", {k: x for k, x in test.items() if k in ENDS}, "ms")
        _put_all(file, f"{group}/{name}", {k: x for k, x in test.items() if k not in ENDS})
    _put_all(file, f"{group}/fpd", effect.field_potentials, "ms")
    put(file, f"{group}/beats_before", effect.beats_before, "1")
    put(file, f"{group}/beats_after", effect.beats_after, "1")
    put(file, f"{group}/control", effect.control, "ms")


def _stacked(rows: list[Variability]) -> dict[str, np.ndarray]:
    return {name: np.array([float(getattr(row, name)) for row in rows]) for name in Variability._fields}


def _period_json(period: Period) -> dict:
    return period._asdict() | {"event": period.event._asdict()}


def _read(file: Group) -> Monitoring:
    channels, kinds = channels_of(file)
    n = len(channels)
    times = file.numbers("times", (n, None), FLOATS, "ms")
    fields = ("tangent", "threshold")
    return Monitoring(
        channels=channels,
        kinds=kinds,
        times=times,
        durations=Estimate(**_all(file, "apd", Estimate._fields, (*times.shape, len(LEVELS)))),
        field_potentials=_all(file, "fpd", fields, times.shape),
        early=file.numbers("early", times.shape, TRUTH),
        unfamiliar=file.numbers("unfamiliar", times.shape, TRUTH),
        effects=tuple(_effect(file, f"effects/{k}", period, n) for k, period in enumerate(_list(file, "effects"))),
        examples=_examples(file, n),
        rhythm=_rhythms(file, n),
        conduction=_conduction(file),
        events=tuple(_event(x) for x in _list(file, "events")),
        dropped=dropped_of(file, channels),
        sampling_rate=file.number("sampling_rate_Hz"),
        begin=file.number("begin_ms"),
        end=file.number("end_ms"),
        about=file.text("about"),
    )


def _all(
    file: Group, group: str, names: tuple[str, ...], shape: tuple[int | None, ...] | None
) -> dict[str, np.ndarray]:
    return {name: file.numbers(f"{group}/{name}", shape) for name in names}


def _list(file: Group, name: str) -> list:
    found = parse(file.text(name), name)
    if not isinstance(found, list) or not all(isinstance(x, dict) for x in found):
        raise refusal(f"attribute {name}", found, "", "a JSON list of objects")
    return found


def _event(found: Any) -> Event:
    if not isinstance(found, dict) or set(found) != set(Event._fields):
        raise refusal("event", found, "", f"an object of {', '.join(Event._fields)}")
    of = found["channels"]
    if of is not None and not (isinstance(of, list) and all(isinstance(x, str) for x in of)):
        raise refusal("channels of an event", of, "", "null or a list of texts")
    fields: dict[str, Any] = found | {"channels": None if of is None else tuple(of)}
    event = Event(**fields)
    return check_events([event], event.channels or ())[0]


def _effect(file: Group, group: str, period: dict[str, Any], n: int) -> Effect:
    if set(period) != set(Period._fields):
        raise refusal("attribute effects", sorted(period), "", f"objects of {', '.join(Period._fields)}")
    limits: dict[str, Any] = {}
    for name in ("before", "after"):
        check(f"{name} of an effect", period[name], "ms", "begin and end, finite", _are_two)
        limits[name] = tuple(map(float, period[name]))
    levels = len(LEVELS)
    shapes = dict.fromkeys(Test._fields, (levels,)) | {"channel_p": (n, levels)}
    return Effect(
        period=Period(_event(period["event"]), **limits),
        change=Estimate(**_all(file, f"{group}/change", Estimate._fields, (n, levels))),
        beats_before=file.numbers(f"{group}/beats_before", (n,), WHOLE),
        beats_after=file.numbers(f"{group}/beats_after", (n,), WHOLE),
        control=file.numbers(f"{group}/control", (n, levels), FLOATS),
        **{
            of: Test(**{name: file.numbers(f"{group}/{of}/{name}", shape) for name, shape in shapes.items()})
            for of in ("test", "inside")
        },
        field_potentials=_all(file, f"{group}/fpd", ("tangent", "threshold"), (n,)),
    )


def _are_two(x: np.ndarray) -> bool:
    return x.shape == (2,) and bool(np.isfinite(x).all())


def _examples(file: Group, n: int) -> tuple[Example, ...]:
    of = file.group("examples")
    channel = of.numbers("channel", (None,))
    if channel.size and not set(channel.tolist()) <= set(range(n)):
        raise ValueError(f"examples/channel: allowed: 0 to {n - 1}")
    time = of.numbers("time", channel.shape)
    traces = [of.numbers(TRACES[0], (channel.size, None))] if channel.size else []
    traces += [of.numbers(name, traces[0].shape) for name in TRACES[1:] if traces]
    rows = zip(channel.tolist(), time.tolist(), *traces, strict=True)
    return tuple(Example(int(row[0]), row[1], *row[2:]) for row in rows)


def _rhythms(file: Group, n: int) -> tuple[Rhythm, ...]:
    numbers = _all(file, "rhythm", Variability._fields, (n,))
    pauses = file.numbers("quiescences", (None, 3))
    if not np.isfinite(numbers["beats"]).all():
        raise ValueError("rhythm/beats: not finite; allowed: numbers of beats")
    rows: list[dict[str, Any]] = [{name: float(values[k]) for name, values in numbers.items()} for k in range(n)]
    variabilities = [Variability(**(row | {"beats": int(row["beats"])})) for row in rows]
    return tuple(Rhythm(v, pauses[pauses[:, 0] == k, 1:]) for k, v in enumerate(variabilities))


def _conduction(file: Group) -> Conduction | None:
    if "conduction" not in file:
        return None
    n = len(file.numbers("conduction/speed", (None,)))
    shapes = dict.fromkeys(Conduction._fields, (n,)) | {"origin": (n, 2)}
    return Conduction(**{name: file.numbers(f"conduction/{name}", shape) for name, shape in shapes.items()})
