"""The action potentials inside the cells, from a recording made outside of them."""

import json
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import ArrayLike

from ..annotations import typed
from ..arguments import check_known, refusal
from ..progress import progress_bar
from .beats import TRACES, Dropped, ReconstructedBeats
from .features import LEVELS
from .inference import Network
from .peaks import Beats, find_beats
from .pipeline import SLAB, kept, reconstructed
from .reasons import Reason
from .recording import Recording
from .unet import Estimate

LARGEST = 4 << 30
"""Bytes of traces that are kept in memory."""
SEARCH = 0.2
"""Share of the time that goes into finding the beats, for the bar."""


@typed
def reconstruct(
    recording: Recording,
    network: Network,
    *,
    channels: Sequence[str] | None = None,
    begin: ArrayLike | None = None,
    end: ArrayLike | None = None,
    chunk: ArrayLike = SLAB,
    progress: bool | Callable[[float], None] = False,
) -> ReconstructedBeats:
    """Every beat of an extracellular recording as the action potential inside the cell, with 90 % intervals.

    Beats are found, judged, cut out, normalised (Eq 11) and given to the network. A beat or channel that is left out
    is in `dropped` with the reason. An electroporated channel shows the action potential itself: its beats are given as
    recorded, with intervals of no width, and `kinds` says so.
    Channels and beats do not see each other: what one becomes is the same, to the last bit, whatever the others hold
    and whatever `chunk` is.

    For a recording whose traces would not fit into memory see `monitor`, which keeps durations.

    Args:
        recording: of `Recording.load`.
        network: of `load_network` or `train`.
        channels: labels; all where None.
        begin, end: of what is reconstructed, ms in the recording's own time; all of it where None. Beats are found in
            the whole recording all the same, so that noise levels and rhythm do not depend on it.
        chunk: length of recording held in memory at once, ms.
        progress: True for a bar on stderr, or a function of the fraction done.

    ValueError: an unknown channel, a time out of range, more than 4 GB of traces.
    """
    report = (
        progress_bar("reconstructing", recording.duration / 1000, "s of recording") if progress is True else progress
    )
    report = report or (lambda done: None)
    check_known("chunk", chunk, "ms", "above 0", lambda x: (x > 0) & np.isfinite(x))
    low, high = _limits(recording, begin, end)
    wanted = chosen_channels(recording, channels)
    beats = find_beats(recording, channels=wanted, chunk=chunk, progress=lambda done: report(SEARCH * done))
    chosen = [
        kept(beats, k, low, high) if k in set(wanted) else np.zeros(0, np.int64) for k in range(len(beats.channels))
    ]
    return _collected(recording, network, beats, wanted, chosen, float(np.asarray(chunk)), (low, high), report)


def chosen_channels(recording: Recording, channels: Sequence[str] | None) -> list[int]:
    """Places of these labels in the recording. ValueError: an unknown one."""
    if channels is None:
        return list(range(len(recording.channels)))
    for label in channels:
        if label not in recording.channels:
            raise refusal("channels", label, "", f"labels of the recording: {', '.join(recording.channels)}")
    return [recording.channels.index(label) for label in channels]


def dropped_of(
    recording: Recording, beats: Beats, wanted: Sequence[int], low: float, high: float
) -> tuple[Dropped, ...]:
    """What of these channels is not reconstructed, and why: a channel as a whole, or its single beats."""
    found = []
    for k in wanted:
        of, label = beats.channels[k], recording.channels[k]
        if of.reason:
            found.append(Dropped(label, None, Reason(int(of.reason))))
            continue
        for time, reason in zip(of.times.tolist(), of.reasons.tolist(), strict=True):
            if reason and low <= time < high:
                found.append(Dropped(label, time, Reason(reason)))
    return tuple(found)


def _collected(recording, network, beats, wanted, chosen, chunk, limits, report) -> ReconstructedBeats:
    row = {k: place for place, k in enumerate(wanted)}
    most = max((which.size for which in chosen), default=0)
    shape = (len(wanted), most, network.samples)
    size = 4 * len(TRACES) * int(np.prod(shape))
    if size > LARGEST:
        raise ValueError(
            f"recording: {most} beats of {len(wanted)} channels are {size / 2**30:.1f} GB of traces; allowed: "
            f"{LARGEST >> 30} GB; choose channels=, begin= and end=, or use monitor, which keeps durations"
        )
    traces = {name: np.full(shape, np.nan, np.float32) for name in TRACES}
    durations = {name: np.full((*shape[:2], len(LEVELS)), np.nan) for name in Estimate._fields}
    unfamiliar = np.zeros(shape[:2], bool)
    for part in reconstructed(
        recording, network, beats, chosen, chunk=chunk, report=lambda done: report(SEARCH + (1 - SEARCH) * done)
    ):
        at = row[part.channel], part.beats
        for name, values in zip(
            TRACES, (part.prediction.median, part.prediction.lower, part.prediction.upper), strict=True
        ):
            traces[name][at] = values
        for name, values in part.durations._asdict().items():
            durations[name][at] = values
        unfamiliar[at] = part.unfamiliar
    report(1.0)
    return ReconstructedBeats(
        channels=tuple(recording.channels[k] for k in wanted),
        kinds=tuple(recording.kinds[k] for k in wanted),
        times=padded([beats.channels[k].times[chosen[k]] for k in wanted], most),
        **traces,
        sampling_rate=network.sampling_rate,
        durations=Estimate(**durations),
        signal_to_noise=padded([beats.channels[k].signal_to_noise[chosen[k]] for k in wanted], most),
        unfamiliar=unfamiliar,
        dropped=dropped_of(recording, beats, wanted, *limits),
        about=json.dumps({"network": network.about, "recording_notes": list(recording.notes)}),
    )


def padded(rows: Sequence[np.ndarray], most: int | None = None) -> np.ndarray:
    """Rows of different lengths as one array, NaN behind their ends."""
    most = max((len(row) for row in rows), default=0) if most is None else most
    found = np.full((len(rows), most), np.nan)
    for k, values in enumerate(rows):
        found[k, : len(values)] = values
    return found


def _limits(recording: Recording, begin: ArrayLike | None, end: ArrayLike | None) -> tuple[float, float]:
    """ValueError: none of the recording lies between them."""
    first = float(recording.times(0, 1)[0])
    last = float(recording.times(recording.n_samples - 1, recording.n_samples)[0])
    low, high = (-np.inf if begin is None else begin), (np.inf if end is None else end)
    if begin is not None:
        check_known(
            "begin", begin, "ms", f"below {last:g}, where the recording ends", lambda x: np.isfinite(x) & (x < last)
        )
    if end is not None:
        least = max(float(np.asarray(low)), first)
        check_known(
            "end",
            end,
            "ms",
            f"finite, above {least:g} (begin, or the recording's)",
            lambda x: np.isfinite(x) & (x > least),
        )
    return float(np.asarray(low)), float(np.asarray(high))
