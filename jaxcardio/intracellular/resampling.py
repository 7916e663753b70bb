"""Another sampling rate, without aliasing."""

from fractions import Fraction

import numpy as np
from jaxtyping import ArrayLike, Float

from ..annotations import typed
from ..arguments import check_known

LARGEST = 10_000
"""Denominator of the ratio of two sampling rates, at most: the ratio is then right to 5e-5 or better (0.07 ms over a
window), and exact for the usual rates."""


@typed
def resample(
    values: Float[np.ndarray, "*batch sample"], from_rate: ArrayLike, to_rate: ArrayLike
) -> Float[np.ndarray, "*batch resampled"]:
    """The samples at another rate, along the last axis: anti-aliased, zero-phase, the first sample at the same time.

    `scipy.signal.resample_poly` (Kaiser window, beta 5), at the fraction closest to the ratio of the rates with a
    denominator up to 10 000. Beyond both ends the signal is taken to go on along the line through its first and last
    sample, so a constant stays constant. Rows do not see each other, and keep their dtype.

    Args:
        values: floating-point numbers. A NaN spreads over ten samples of the lower rate on both sides.
        from_rate, to_rate: Hz.

    ValueError: rates that are not above 0, whole numbers as values.
    """
    check_known("from_rate", from_rate, "Hz", "above 0", lambda x: (x > 0) & np.isfinite(x))
    check_known("to_rate", to_rate, "Hz", "above 0", lambda x: (x > 0) & np.isfinite(x))
    values = np.asarray(values)
    if values.dtype.kind != "f" or not values.ndim:
        raise ValueError(
            f"values: {values.dtype} of shape {values.shape}; allowed: floating-point numbers, (..., sample)"
        )
    ratio = ratio_of(float(np.asarray(from_rate)), float(np.asarray(to_rate)))
    if ratio == 1:
        return values.copy()
    from scipy.signal import resample_poly

    # The line through the ends is taken off first: what is left is 0 beyond them, for each row by itself.
    sample = np.arange(values.shape[-1])
    first, last = values[..., :1].astype(np.float64), values[..., -1:].astype(np.float64)
    slope = (last - first) / max(values.shape[-1] - 1, 1)
    found = resample_poly(values - (first + slope * sample), ratio.numerator, ratio.denominator, axis=-1)
    at = np.arange(found.shape[-1]) * (ratio.denominator / ratio.numerator)
    return (found + (first + slope * at)).astype(values.dtype)


def ratio_of(from_rate: float, to_rate: float) -> Fraction:
    """The ratio to / from as the closest fraction of small numbers."""
    ratio = Fraction(to_rate / from_rate).limit_denominator(LARGEST)
    return ratio if ratio else Fraction(1, round(from_rate / to_rate))


def averaged(values: Float[np.ndarray, " sample"], factor: int) -> Float[np.ndarray, " mean"]:
    """Means of `factor` samples each, float64; what is left over at the end is not used.

    White noise keeps its spectral density: its aliases fill up what the average takes away. That makes levels of noise
    comparable between sampling rates, at a fraction of the cost of a sharp filter.
    """
    n = len(values) // factor * factor
    total = values[0:n:factor].astype(np.float64)
    for k in range(1, factor):
        total += values[k:n:factor]
    return total / factor
