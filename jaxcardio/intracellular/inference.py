"""A trained network as it is used: windows in, traces and durations with intervals out."""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from ..annotations import check_type, typed
from ..arguments import check_known, refusal
from .features.apd import LEVELS, durations_at, repolarisation_heights
from .unet import Estimate, PIAUNet, Prediction

HIGHEST = np.float32(1.0)
"""The peak of every action potential that is normalised by Eq 10: what a network gives above it, at a large spike,
would only raise the heights at which durations are measured."""
BATCH = 32
"""Windows that are computed at once: always so many, filled up with empty ones, so that a window's result is the same
to the last bit however many there are."""
NARROWEST = 1e-3
"""Half-width of an interval of the potential that corrections multiply, at least: a network without quantiles has 0."""
SHORTEST = 1.0
"""As `NARROWEST`, of durations, ms."""


@dataclasses.dataclass(frozen=True)
class Corrections:
    """Factors on the half-widths of intervals, which make them hold as often as they say (`conformal.calibrate`)."""

    trace: float = 1.0
    durations: tuple[float, ...] = (1.0,) * len(LEVELS)
    """Of APD10, APD20, ... APD100."""
    coverage: float = 0.9
    """Share of the true values that the intervals are to hold."""
    is_calibrated: bool = False


@dataclasses.dataclass(frozen=True)
class Network:
    """A trained PIA-UNET, ready for use: `network(eap)`, `network.apd(prediction)`, `network.unfamiliar(eap, ...)`."""

    unet: PIAUNet
    sampling_rate: float
    """Of its windows, Hz."""
    corrections: Corrections = Corrections()
    about: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Of what it was trained on: `ranges` (name -> lowest, highest), seed, settings of the training, data."""

    def __post_init__(self):
        if isinstance(self.unet, type) or not callable(self.unet) or not hasattr(self.unet, "samples"):
            raise refusal("unet", self.unet, "", "a PIAUNet")
        check_known("sampling_rate", self.sampling_rate, "Hz", "finite, > 0 Hz", lambda x: (x > 0) & np.isfinite(x))
        check_type("corrections", self.corrections, Corrections)
        check_type("about", self.about, dict)
        for name in self.about:
            check_type("about: name", name, str)

    @property
    def samples(self) -> int:
        """Of a window."""
        return self.unet.samples

    @property
    def window(self) -> float:
        """Length of a window, ms."""
        return 1000.0 * self.samples / self.sampling_rate

    @typed
    def __call__(self, eap: Float[np.ndarray, "window sample"]) -> Prediction:
        """Reconstructs windows, normalised by Eq 11 and at this network's sampling rate.

        Batch statistics are frozen and batches all of one size, so that what a window becomes does not depend on which
        others are given with it, nor on how many. Intervals are corrected if the network has been calibrated; lower <=
        median <= upper then, whatever the network's own quantiles do.

        Returns:
            A `Prediction` of NumPy arrays: traces (window, sample), normalised by Eq 10; k, a and x.

        ValueError: another length, or a sample that is not finite.
        """
        return self._corrected(self.uncorrected(eap))

    @typed
    def uncorrected(self, eap: Float[np.ndarray, "window sample"]) -> Prediction:
        """As a call, with the quantiles as the network itself gives them, but none above `HIGHEST`."""
        eap = np.asarray(eap, np.float32)
        if eap.shape[1] != self.samples:
            allowed = f"windows of {self.samples} samples ({self.window:g} ms at {self.sampling_rate:g} Hz)"
            raise refusal("eap", eap.shape, "", f"{allowed}, of shape (window, {self.samples})")
        if not (good := np.isfinite(eap).all(1)).all():
            raise ValueError(f"eap: window {np.argmin(good)} has samples that are not finite; allowed: finite ones")
        parts = []
        for first in range(0, max(len(eap), 1), BATCH):
            batch = eap[first : first + BATCH]
            filled = np.zeros((BATCH, self.samples), np.float32)
            filled[: len(batch)] = batch
            parts.append(
                jax.tree.map(lambda x, n=len(batch): np.asarray(x)[:n], _forward(self.unet, jnp.asarray(filled)))
            )
        found = jax.tree.map(lambda *x: np.concatenate(x), *parts)
        if not all(np.isfinite(trace).all() for trace in found[:3]):
            raise ValueError("network: gives numbers that are not finite; allowed: weights as they were trained")
        lower, median, upper = (np.minimum(trace, HIGHEST) for trace in found[:3])
        return Prediction(lower, median, upper, found.physics)

    @typed
    def apd(self, prediction: Prediction, levels: Sequence[int] = LEVELS) -> Estimate:
        """Action potential durations of the median trace and their intervals, ms, each (window, level).

        The limits are the durations of the lower and the upper trace at the median's own heights, with the correction
        of each level. Where the lower trace does not reach a height its duration is 0; where the upper trace does not
        come back to it, it lasts to the end of the window. All NaN where the median does not come back to the level.

        Args:
            prediction: of this network.
            levels: percent of repolarisation, of 10, 20, ... 100.

        ValueError: another level.
        """
        band = self.band(prediction, levels)
        factors = np.array([self.corrections.durations[LEVELS.index(level)] for level in levels])
        return widened(band, factors, SHORTEST)

    @typed
    def band(self, prediction: Prediction, levels: Sequence[int]) -> Estimate:
        """As `apd`, before the corrections of the levels: ms, float64 (window, level)."""
        for level in levels:
            if level not in LEVELS:
                raise refusal("levels", level, "%", ", ".join(map(str, LEVELS)))
        if np.shape(prediction.median)[1:] != (self.samples,):
            allowed = f"(window, {self.samples}), of this network"
            raise ValueError(f"prediction: traces of shape {np.shape(prediction.median)}; allowed: {allowed}")
        levels = tuple(levels)
        shape = (*np.shape(prediction.median)[:1], len(levels))
        parts = [np.zeros((3, 0, len(levels)))]
        for first in range(0, shape[0], BATCH):
            traces = np.zeros((3, BATCH, self.samples), np.float32)
            n = min(BATCH, shape[0] - first)
            traces[:, :n] = [x[first : first + n] for x in prediction[:3]]
            parts.append(np.asarray(_durations(traces, self.sampling_rate, levels), np.float64)[:, :n])
        lower, value, upper = np.concatenate(parts, 1)
        known = np.isfinite(value)
        lower = np.where(known, np.minimum(np.nan_to_num(lower), value), np.nan)
        upper = np.where(known, np.maximum(np.where(np.isfinite(upper), upper, self.window), value), np.nan)
        return Estimate(value, lower, upper)

    @typed
    def unfamiliar(
        self, eap: Float[np.ndarray, "window sample"], signal_to_noise: Float[np.ndarray, " window"]
    ) -> Bool[np.ndarray, " window"]:
        """Which windows are unlike any of the training: their intervals are not to be trusted.

        Looked at are the measures of `measures` (amplitude above and below the first sample, root mean square, S/N):
        one that lies outside of its range in `about` marks a window. All are familiar to a network that has no ranges.

        ValueError: lengths that do not fit.
        """
        if np.shape(signal_to_noise) != np.shape(eap)[:1]:
            raise refusal("signal_to_noise", np.shape(signal_to_noise), "", f"({len(eap)},), one number a window")
        strange = np.zeros(len(eap), bool)
        found = measures(eap, signal_to_noise)
        for name, (low, high) in self.about.get("ranges", {}).items():
            strange |= ~((low <= found[name]) & (found[name] <= high))
        return strange

    def _corrected(self, prediction: Prediction) -> Prediction:
        if not self.corrections.is_calibrated:
            return prediction
        found = Estimate(prediction.median, prediction.lower, prediction.upper)
        median, lower, upper = widened(found, self.corrections.trace, NARROWEST)
        return Prediction(lower, median, upper, prediction.physics)


def widened(found: Estimate, factor: np.ndarray | float, least: float) -> Estimate:
    """Intervals with their half-widths (at least `least`) multiplied by a factor >= 0; in order whatever they were."""
    below, above = half_widths(found, least)
    return Estimate(found.value, found.value - factor * below, found.value + factor * above)


def half_widths(found: Estimate, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Distances from the value down to the lower and up to the upper limit, each at least `least`."""
    return np.maximum(found.value - found.lower, least), np.maximum(found.upper - found.value, least)


def measures(eap: Float[np.ndarray, "window sample"], signal_to_noise: np.ndarray) -> dict[str, np.ndarray]:
    """What is known of a window before it is reconstructed, by name, (window,)."""
    eap = np.asarray(eap, np.float64)
    return {
        "highest": eap.max(1),
        "lowest": eap.min(1),
        "root_mean_square": np.sqrt(np.mean(np.square(eap - eap.mean(1, keepdims=True)), 1)),
        "signal_to_noise": np.asarray(signal_to_noise, np.float64),
    }


@eqx.filter_jit
def _forward(unet: PIAUNet, eap: Array) -> Prediction:
    return unet(eap)


@functools.partial(jax.jit, static_argnums=(1, 2))
def _durations(traces: Array, sampling_rate: float, levels: tuple[int, ...]) -> Array:
    """Of lower, median and upper traces at the heights of the median, ms, (3, window, level)."""
    heights = repolarisation_heights(traces[1], sampling_rate, levels)
    return jnp.stack([durations_at(trace, sampling_rate, heights) for trace in traces])
