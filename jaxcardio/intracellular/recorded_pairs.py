"""Pairs for training from a recording in which neighbours of electroporated channels were recorded from outside."""

import numpy as np
from jaxtyping import ArrayLike

from ..annotations import typed
from ..arguments import check_known
from .features import LEVELS, action_potential_durations
from .normalisation import normalise_eap, normalise_iap
from .pairs import Pairs, joined
from .peaks import Beats, ChannelBeats, find_beats
from .recording import Recording
from .windows import cut_windows

APART = 100.0
"""Most ms between the peaks of one beat in two neighbouring channels."""
CONTROL = "none"
"""Drug of a beat before any was added."""


@typed
def pairs_of(recording: Recording, *, sampling_rate: ArrayLike = 1000.0, device: str = "recorded") -> Pairs:
    """Every beat that an extracellular channel and its electroporated partner both have, as the study recorded them.

    A beat is taken where it was kept in both channels (`find_beats`), within `APART` ms. Both windows begin at the
    same sample, 200 ms before the extracellular peak. `cell` counts the extracellular channels: pairs of one channel
    resemble each other, so they are to be kept together (`split(by="cell")`).

    Args:
        recording: whose `partners` say which channel lies beside which.
        sampling_rate: of the pairs, Hz.
        device: its name in the pairs.

    ValueError: no channel has a partner, or no beat is in both of two partners (with the reasons of the channels).
    """
    check_known("sampling_rate", sampling_rate, "Hz", "100 to 100000", lambda x: (x >= 100) & (x <= 100_000))
    couples = [(k, partner) for k, partner in enumerate(recording.partners) if partner >= 0]
    couples = [(k, partner) for k, partner in couples if recording.kinds[partner] == "intracellular"]
    if not couples:
        raise ValueError("recording: no extracellular channel has an electroporated partner; allowed: one at least")
    beats = find_beats(recording)
    found = [_pairs(recording, beats, k, partner, float(np.asarray(sampling_rate)), device) for k, partner in couples]
    found = [pairs for pairs in found if pairs is not None]
    if not found:
        raise ValueError("recording: no beat was kept in both of two partners; `reconstruct(...).explained()` says why")
    return joined(found)


def _pairs(recording: Recording, beats: Beats, outer: int, inner: int, rate: float, device: str) -> Pairs | None:
    of, partner = beats.channels[outer], beats.channels[inner]
    which = np.array([k for k in _kept(of) if _has(partner, float(of.times[k]))], np.int64)
    if not which.size:
        return None
    nexts = np.append(of.samples, np.iinfo(np.int64).max)[which + 1]
    samples = of.samples[which]
    outside = cut_windows(recording, outer, samples, sampling_rate=rate, next_samples=nexts)
    inside = cut_windows(recording, inner, samples, sampling_rate=rate, next_samples=nexts)
    noise = np.full(len(which), of.noise)
    iap = np.asarray(normalise_iap(inside.values), np.float32)
    drugs = [_drug_at(recording, time) for time in of.times[which]]
    return Pairs(
        eap=np.asarray(normalise_eap(outside.values, noise), np.float32),
        iap=iap,
        apd=np.asarray(action_potential_durations(iap, rate, LEVELS), np.float64),
        sampling_rate=rate,
        cell=np.full(len(which), outer),
        drug=np.array([drug for drug, _ in drugs]),
        concentration=np.array([concentration for _, concentration in drugs]),
        device=np.array([device] * len(which)),
        signal_to_noise=of.signal_to_noise[which],
        noise=noise,
        peak=of.amplitude[which],
    )


def _kept(of: ChannelBeats) -> np.ndarray:
    return np.zeros(0, np.int64) if of.reason else np.flatnonzero(of.reasons == 0)


def _has(partner: ChannelBeats, time: float) -> bool:
    times = partner.times[_kept(partner)]
    return bool(times.size and np.abs(times - time).min() <= APART)


def _drug_at(recording: Recording, time: float) -> tuple[str, float]:
    """Drug and concentration (nM) of the last addition before this time."""
    added = [event for event in recording.events if event.kind == "drug" and event.time <= time]
    if not added:
        return CONTROL, 0.0
    last = max(added, key=lambda event: event.time)
    return last.label, np.nan if last.concentration is None else float(last.concentration)
