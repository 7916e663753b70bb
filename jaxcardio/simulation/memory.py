"""What a run would take, found out before anything is made: one that cannot fit is refused, with what it would need."""

import os

STEP_BYTES = 120
"""Host memory a step takes while a run is laid out: its times, and what the solver needs to know of each."""
SHARE = 0.5
"""Part of the machine's memory that one run may take."""


def check_fits(what: str, count: float, things: str, each: float) -> None:
    """A ValueError that says what it would need, unless `count` things of `each` bytes fit in `SHARE` of the memory."""
    needed, allowed = count * each / 1e9, SHARE * _memory() / 1e9
    if not needed <= allowed:
        raise ValueError(
            f"{what}: {count:.3g} {things} need {needed:.3g} GB; allowed on this machine: {allowed:.3g} GB. "
            "Take longer steps or fewer samples, or run piece by piece (y0=trace.final_state)"
        )


def _memory() -> float:
    """Of the machine, bytes; 8 GiB where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 8 * 2**30
