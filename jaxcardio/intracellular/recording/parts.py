"""What a recording is made of beside its samples."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from ...arguments import check_known, refusal

EXTRACELLULAR, INTRACELLULAR = "extracellular", "intracellular"
JOINED = 0.5
"""Of a sampling interval: two stretches of samples whose times differ by no more are one."""
MOST_CHANNELS = 100_000


class Event(NamedTuple):
    """Something that happened during a recording.

    Attributes:
        time: ms, on the clock of the recording.
        kind: "electroporation", "drug", "vehicle", "stimulus", or another word.
        label: as the experimenter wrote it; the name of the drug.
        concentration: nM, of a drug.
        channels: names of the channels that it concerns; None: all.
    """

    time: float
    kind: str
    label: str = ""
    concentration: float | None = None
    channels: tuple[str, ...] | None = None


class Block(NamedTuple):
    """Samples without a gap.

    Attributes:
        first: index of the first sample.
        last: index of the last sample + 1.
        start: time of the first sample, ms.
    """

    first: int
    last: int
    start: float


class Choice(NamedTuple):
    """What the caller of `Recording.load` chose; see there."""

    stream: str | int | None = None
    recording: str | int | None = None
    unit: str | None = None
    sampling_rate: float | None = None


def check_not_chosen(choice: Choice, names: Sequence[str], what: str) -> None:
    """ValueError: the caller chose something that there is no choice of in `what` file this is."""
    for name in names:
        value = getattr(choice, name)
        if value is not None:
            raise refusal(name, value, "", f"None for {what}")


def check_events(events: Sequence[Event], channels: Sequence[str]) -> tuple[Event, ...]:
    """The events in the order of time. ValueError: one that is none, or of a channel that is not there."""
    found = []
    for k, event in enumerate(events):
        if not isinstance(event, Event):
            raise refusal(f"events[{k}]", event, "", "an Event")
        check_known(f"events[{k}].time", event.time, "ms", "a finite number", np.isfinite)
        if event.concentration is not None:
            check_known(
                f"events[{k}].concentration", event.concentration, "nM", "finite, >= 0 nM, or None",
                lambda x: np.isfinite(x) & (x >= 0),
            )  # fmt: skip
        for name in ("kind", "label"):
            if not isinstance(getattr(event, name), str):
                raise refusal(f"events[{k}].{name}", getattr(event, name), "", "a text")
        of = event.channels
        if of is not None and (isinstance(of, str) or not set(of) <= set(channels)):
            raise refusal(f"events[{k}].channels", of, "", f"None, or names among {shortened(channels)}")
        found.append(event._replace(time=float(event.time), channels=None if of is None else tuple(of)))
    return tuple(sorted(found, key=lambda x: x.time))


def check_channels(channels: Sequence[str]) -> tuple[str, ...]:
    """The names, if each is a text of its own."""
    names = tuple(channels)
    if isinstance(channels, str) or not names or not all(isinstance(x, str) and x for x in names):
        raise refusal("channels", channels, "", "a list of names, at least one")
    if len(names) > MOST_CHANNELS:
        raise ValueError(f"channels: {len(names)} names; allowed: <= {MOST_CHANNELS}")
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"channels: {name!r} is named twice; allowed: a name of its own for every channel")
        seen.add(name)
    return names


def check_kinds(kinds: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """One kind a channel; extracellular where nothing is said."""
    found = (EXTRACELLULAR,) * count if kinds is None else tuple(kinds)
    if len(found) != count or not set(found) <= {EXTRACELLULAR, INTRACELLULAR}:
        raise refusal("kinds", kinds, "", f"{count} of {EXTRACELLULAR!r} or {INTRACELLULAR!r}, one a channel")
    return found


def check_partners(partners: Sequence[int] | None, count: int) -> tuple[int, ...]:
    """One index a channel; -1 where nothing is said."""
    found = (-1,) * count if partners is None else tuple(partners)
    wrong = [x for x in found if isinstance(x, bool) or not isinstance(x, int | np.integer) or not -1 <= x < count]
    if len(found) != count or wrong:
        raise refusal("partners", partners, "", f"{count} whole numbers, an index of a channel or -1 for none")
    return tuple(map(int, found))


def check_pairs_of_numbers(name: str, values: object, count: int, unit: str) -> Float[np.ndarray, "channel 2"] | None:
    """Two numbers a channel, which nobody may change. None passes."""
    if values is None:
        return None
    try:
        found = np.array(values, np.float64)
    except (TypeError, ValueError):
        raise refusal(name, values, unit, f"numbers of shape ({count}, 2)") from None
    if found.shape != (count, 2):
        raise ValueError(
            f"{name}: expected shape ({count}, 2), got {found.shape}; allowed: two numbers a channel, {unit}"
        )
    if not np.isfinite(found).all():
        raise ValueError(f"{name}: not finite; allowed: finite numbers, {unit}")
    found.flags.writeable = False
    return found


def check_limits(limits: object, count: int) -> Float[np.ndarray, "channel 2"] | None:
    """Lowest and highest potential of each channel, mV. None passes."""
    found = check_pairs_of_numbers("limits", limits, count, "mV")
    if found is not None and not (found[:, 0] < found[:, 1]).all():
        raise ValueError("limits: lowest >= highest; allowed: lowest < highest of every channel, mV")
    return found


def joined_blocks(blocks: Sequence[Block], interval: float) -> tuple[Block, ...]:
    """Blocks that follow each other without a gap made one. ValueError: they overlap, or leave samples out.

    Args:
        blocks: in order.
        interval: between samples, ms.
    """
    found: list[Block] = []
    end = 0
    for block in blocks:
        if block.first != end or block.last <= block.first:
            raise ValueError(f"block of samples {block.first} to {block.last - 1}; allowed: one that begins at {end}")
        end = block.last
        if found:
            before = found[-1]
            due = before.start + (before.last - before.first) * interval
            if abs(block.start - due) <= JOINED * interval:
                found[-1] = before._replace(last=block.last)
                continue
            if block.start < due:
                raise ValueError(
                    f"sample {block.first} at {block.start:.10g} ms, before the one before it is over; allowed: "
                    f">= {due:.10g} ms"
                )
        found.append(block)
    return tuple(found)


def times_of(blocks: Sequence[Block], interval: float, samples: Int[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Times of these samples, ms."""
    firsts = np.array([b.first for b in blocks], np.int64)
    starts = np.array([b.start for b in blocks], np.float64)
    which = np.searchsorted(firsts, samples, side="right") - 1
    return starts[which] + (samples - firsts[which]) * interval


def shortened(names: Sequence[str]) -> str:
    """A list of names for a message."""
    return ", ".join(map(repr, names[:8])) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
