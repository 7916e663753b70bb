"""Why a beat or a channel of a recording is left out."""

import enum

from ..annotations import typed


class Reason(enum.IntEnum):
    """Why a beat or a channel is left out; 0 is one that is kept. The numbers are part of file layouts."""

    KEPT = 0
    NOT_ASKED = 1
    NOT_A_NUMBER = 2
    CLIPPED = 3
    FLAT = 4
    MAINS = 5
    NO_BEATS = 6
    LOW_SIGNAL_TO_NOISE = 7
    INVERTED = 8
    CUT_BY_BEGINNING = 9
    CUT_BY_END = 10
    GAP = 11
    TOO_CLOSE = 12
    PULSE = 13
    BEFORE_PULSE = 14
    LOW_AMPLITUDE = 15
    AMPLITUDE_LOST = 16
    NOT_OPENED = 17


TEXTS = {
    Reason.KEPT: "kept",
    Reason.NOT_ASKED: "the channel was not asked for",
    Reason.NOT_A_NUMBER: "samples of the window (-200 to 1400 ms around the peak) are missing or are no numbers",
    Reason.CLIPPED: "samples of the window stand still at the highest or lowest value: cut off by the amplifier",
    Reason.FLAT: "the signal does not change for at least 500 ms: the electrode is dead or disconnected",
    Reason.MAINS: "mains hum (50 or 60 Hz) has more than half of the height of 12 sigma(N) that a beat must have, and "
    "nothing rises to twice its amplitude",
    Reason.NO_BEATS: "nothing in the channel comes near to the height that a beat must have (12 sigma(N) by default)",
    Reason.LOW_SIGNAL_TO_NOISE: "the spike is lower than a beat must be (12 sigma(N) by default; S/N as in Eq 9)",
    Reason.INVERTED: "the spike points down (more than 1.5 times as deep as high, or deeper than high with the trough "
    "first), so the channel is to be multiplied by -1",
    Reason.CUT_BY_BEGINNING: "the recording begins within the 200 ms before the peak",
    Reason.CUT_BY_END: "the recording ends within the 1400 ms after the peak, and before the next beat",
    Reason.GAP: "there is a gap in the recording within the window (-200 to 1400 ms around the peak)",
    Reason.TOO_CLOSE: "a higher peak is closer than 60 % of the beating period",
    Reason.PULSE: "an electroporation pulse is within the window, or less than 500 ms before the peak",
    Reason.BEFORE_PULSE: "the electrode was not electroporated yet: it still recorded from outside",
    Reason.LOW_AMPLITUDE: "the action potential has an amplitude below 0.5 mV",
    Reason.AMPLITUDE_LOST: "the amplitude has fallen below 0.5 mV for good as the pores resealed",
    Reason.NOT_OPENED: "the electroporation pulse gave no access: the first beats after it have less than 0.5 mV",
}


@typed
def explain(reason: int) -> str:
    """What the reason means: one plain sentence, with the limit or the equation of doi 10.1038/s41467-024-55571-6.

    ValueError: a number that is no `Reason`.
    """
    try:
        return TEXTS[Reason(reason)]
    except ValueError:
        known = ", ".join(str(int(one)) for one in Reason)
        raise ValueError(f"reason = {reason}; allowed: one of {known}") from None
