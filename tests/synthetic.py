"""Beats whose every number is known by construction."""

import numpy as np

REST, PEAK, RISE = -80.0, 40.0, 2.0  # mV, mV, ms


def beat(since, fall=200.0, rest=REST, peak=PEAK):
    """One beat at `since` ms after its foot: a raised cosine of RISE ms up, a straight line of `fall` ms down.

    Upstroke (steepest) at RISE / 2, dV/dt pi/2 (peak - rest)/RISE there, APDx = RISE/2 + x/100 fall.
    """
    up = (1 - np.cos(np.pi * np.clip(since / RISE, 0, 1))) / 2
    down = np.clip((since - RISE) / fall, 0, 1)
    return rest + (peak - rest) * (up - down)


def train(ts, feet, falls, **levels):
    """Beats that start at `feet` (ms), summed over the resting potential."""
    rest = levels.get("rest", REST)
    return rest + sum(beat(ts - foot, fall, **levels) - rest for foot, fall in zip(feet, falls, strict=True))


def uneven(end, fine, feet):
    """Times every 1 ms, and every `fine` ms for 5 ms after each foot."""
    dense = [np.arange(foot - 1, foot + 5, fine) for foot in feet]
    return np.unique(np.round(np.concatenate([np.arange(0, end, 1.0), *dense]), 6))


FEET = np.array([50.3, 550.8, 1050.1])
TS = uneven(1500.0, 0.02, FEET)
EIGHT = 50 + 600.0 * np.arange(8)
LONG = np.arange(0, 5000, 0.5)
