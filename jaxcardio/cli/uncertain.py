"""What the table of beats says of a recording's noise: errors beside numbers, and why numbers are missing."""

from collections.abc import Mapping

import numpy as np

from ..biomarkers import REASON_TEXTS, ActionPotentials, Reason

SHOWN = ("apd90", "cycle_length")
"""Quantities whose standard errors are on the screen."""
HALF_LOW = 0.5
"""Noise is called 1/f where more than this share of its power rises towards low frequencies."""


def errors_of(
    beats: ActionPotentials, cell: np.ndarray, beat: np.ndarray, units: Mapping[str, str]
) -> dict[str, tuple[np.ndarray, str]]:
    """Standard errors (beats,) of what `units` names, and their units, by column; empty without noise."""
    if beats.noise is None:
        return {}
    return {f"{name}_se": (np.atleast_2d(beats.standard_error(name))[cell, beat], unit) for name, unit in units.items()}


def noise_lines(beats: ActionPotentials) -> list[str]:
    """The noise that was found, one line a sweep that has some; at most three."""
    if beats.noise is None or beats.recording is None:
        return []
    noise, widths = beats.noise, beats.recording.widths
    rms, hum, mains, low = (
        np.atleast_1d(x) for x in (noise.rms, noise.hum_rms, noise.hum_frequency, noise.low_frequency_share)
    )
    width = {name: np.atleast_2d(x) for name, x in widths.items()}
    lines = []
    for i in np.flatnonzero([np.isfinite(width["apd90"][k]).any() or hum[k] > 0 for k in range(len(rms))]):
        kind = "1/f" if low[i] > HALF_LOW else "white"
        parts = [f"noise: {rms[i]:.2g} mV rms, mostly {kind}"]
        if hum[i] > 0:
            parts.append(f"{hum[i]:.2g} mV of {mains[i]:.4g} Hz hum taken out")
        seen = {name: x[i][np.isfinite(x[i])] for name, x in width.items()}
        if seen["apd90"].size:
            up, down = (float(np.median(seen[name])) for name in ("t_upstroke", "apd90"))
            parts.append(f"fits over {up:.2g} ms at upstrokes and {down:.2g} ms at APD90")
        lines.append((f"cell {i}: " if len(rms) > 1 else "") + ", ".join(parts))
    return lines[:3] + ([f"... and the noise of {len(lines) - 3} more cells"] if len(lines) > 3 else [])


def reason_lines(beats: ActionPotentials) -> list[str]:
    """Each reason why beats lack numbers, with how many beats it concerns."""
    codes = np.asarray(beats.reason).ravel()
    lines = []
    missing = 0 if beats.recording is None else int(np.sum(beats.recording.missing))
    if missing:
        lines.append(f"{missing} {'sample is' if missing == 1 else 'samples are'} missing, or no numbers")
    for reason in Reason:
        count = int((codes == reason).sum())
        if reason in (Reason.KNOWN, Reason.NO_BEAT) or count == 0:
            continue
        if reason == Reason.NO_RISE:
            lines.append(f"no beat: {REASON_TEXTS[reason]}")
        else:
            lines.append(f"{count} {'beat' if count == 1 else 'beats'} without all numbers: {REASON_TEXTS[reason]}")
    if beats.recording is not None and np.any(beats.recording.ead_unknown):
        lines.append(f"{int(np.sum(beats.recording.ead_unknown))} beats: {REASON_TEXTS[Reason.TOO_NOISY]} (ead)")
    return lines
