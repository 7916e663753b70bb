"""Why a number of a beat is not known."""

import enum

import numpy as np


class Reason(enum.IntEnum):
    """Why a number is NaN, one code a number; 0 where it is known."""

    KNOWN = 0
    NO_BEAT = 1
    NOT_CAPTURED = 2
    NO_RISE = 3
    CUT_BY_BEGINNING = 4
    CUT_BY_END = 5
    GAP = 6
    CLIPPED = 7
    TOO_NOISY = 8
    NOT_REPOLARISED = 9
    FIRST = 10


REASON_TEXTS = {
    Reason.KNOWN: "known",
    Reason.NO_BEAT: "there is no further beat",
    Reason.NOT_CAPTURED: "the stimulus was not followed by a beat",
    Reason.NO_RISE: "V never rises far enough (min_amplitude, threshold) from a rest below",
    Reason.CUT_BY_BEGINNING: "cut by the beginning of the trace",
    Reason.CUT_BY_END: "cut by the end of the trace",
    Reason.GAP: "samples are missing there, or are no numbers",
    Reason.CLIPPED: "V stands still at the highest or lowest value that was recorded: cut off by the amplifier",
    Reason.TOO_NOISY: "the noise is too large for this number",
    Reason.NOT_REPOLARISED: "V does not come down to that level before the next beat or the end",
    Reason.FIRST: "there is no beat before it",
}


def reasons_of_flags(captured, valid, repolarised, paced: bool) -> np.ndarray:
    """The codes of a simulated trace, (..., beats), as its flags tell."""
    captured, valid, repolarised = (np.asarray(x) for x in (captured, valid, repolarised))
    first = np.cumsum(captured, axis=-1) == 1
    later = np.flip(np.cumsum(np.flip(captured, axis=-1), axis=-1), axis=-1) > 1
    codes = np.where(first & later, Reason.CUT_BY_BEGINNING, Reason.CUT_BY_END)
    codes = np.where(valid, np.where(repolarised, Reason.KNOWN, Reason.NOT_REPOLARISED), codes)
    codes = np.where(captured, codes, Reason.NOT_CAPTURED if paced else Reason.NO_BEAT)
    none = ~captured.any(axis=-1, keepdims=True) & (np.arange(captured.shape[-1]) == 0)
    return np.where(none & (not paced), Reason.NO_RISE, codes).astype(np.int8)
