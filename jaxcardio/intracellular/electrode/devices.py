"""A channel of an array, and the devices from which channels are drawn."""

import dataclasses
from collections.abc import Mapping

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ...annotations import check_fields, typed
from ...arguments import check, check_known, check_number, refusal
from ..features.moving import as_samples
from .circuit import high_pass, low_pass
from .noise import Noise
from .seal import Electroporation, Seal, _number

PARAMETERS = (
    "resistance", "area", "kappa", "conductance_by_area", "high_pass", "low_pass", "gain", "white_uV", "pink_uV",
    "mains_uV", "drift_uV", "access", "resealing", "blind",
)  # fmt: skip
"""Of a channel: those of `Seal`, `Noise`, `Electroporation` and `Channel`, and the units in their names."""


class Channel(eqx.Module):
    """One electrode and its amplifier. A dead channel has noise and nothing else."""

    seal: Seal
    noise: Noise
    electroporation: Electroporation
    high_pass: Float[Array, ""] = eqx.field(converter=_number, default=1000.0)
    """Time constant of the coupling capacitor, ms."""
    low_pass: Float[Array, ""] = eqx.field(converter=_number, default=1.5)
    """Time constant of electrode and amplifier, ms."""
    gain: Float[Array, ""] = eqx.field(converter=_number, default=1.0)
    """Error of the calibration: 1 where there is none, 0 for a dead channel."""

    def __check_init__(self):
        check_fields(self)
        for name in ("high_pass", "low_pass"):
            check_number(name, getattr(self, name), "ms", "> 0 ms", lambda x: x > 0)
        check_number("gain", self.gain, "", "finite and >= 0", lambda x: (x >= 0) & np.isfinite(x))

    def __call__(
        self, V: Float[Array, "*channels sample"], inflow: Float[Array, "*channels sample"], dt: ArrayLike
    ) -> Float[Array, "*channels sample"]:
        """What a sealed electrode records without noise, mV; arguments of `Seal`."""
        return self.amplified(self.seal(V, inflow, dt), dt)

    @typed
    def amplified(self, v: Float[Array, "*channels sample"], dt: ArrayLike) -> Float[Array, "*channels sample"]:
        """What is recorded of a potential at the electrode, mV: of a `Seal`, or `tissue.electrogram` every `dt` ms."""
        v = as_samples("v", v, 1)
        return self.gain.astype(v.dtype) * low_pass(high_pass(v, self.high_pass, dt), self.low_pass, dt)

    def dead(self) -> "Channel":
        """The same channel with a broken electrode."""
        return eqx.tree_at(lambda c: c.gain, self, jnp.zeros_like(self.gain))


@dataclasses.dataclass(frozen=True)
class Device:
    """A kind of array: its sampling rate, and between which limits the parameters of its channels lie."""

    name: str
    sampling_rate: float
    """Hz."""
    limit: float
    """Largest potential that the converter can give, mV; the smallest is its negative."""
    ranges: Mapping[str, tuple[float, float]]
    """Each parameter is uniform in its logarithm between these."""

    def __post_init__(self):
        check_fields(self)
        check_known("sampling_rate", self.sampling_rate, "Hz", "finite, > 0 Hz", lambda x: (x > 0) & np.isfinite(x))
        check_known("limit", self.limit, "mV", "finite, > 0 mV", lambda x: (x > 0) & np.isfinite(x))
        if set(self.ranges) != set(PARAMETERS):
            raise refusal("ranges", sorted(map(str, self.ranges)), "", f"limits of each of {', '.join(PARAMETERS)}")
        for name, ends in self.ranges.items():
            allowed = "lowest and highest, above 0"
            check(f"ranges: {name}", ends, "", allowed, lambda x: x.shape == (2,) and 0 < x[0] <= x[1] < np.inf)

    @typed
    def channel(self, draw: np.random.Generator) -> Channel:
        """A channel drawn from the device."""
        p = {name: np.float32(np.exp(draw.uniform(*np.log(ends)))) for name, ends in self.ranges.items()}
        return Channel(
            Seal(p["resistance"], p["area"], p["kappa"], p["area"] * p["conductance_by_area"]),
            Noise(*(p[kind] * np.float32(1e-3) for kind in ("white_uV", "pink_uV", "mains_uV", "drift_uV"))),
            Electroporation(p["access"], p["resealing"], p["blind"]),
            p["high_pass"],
            p["low_pass"],
            p["gain"],
        )


DEVICES: dict[str, Device] = {
    "nea": Device(
        "nea",
        5000.0,
        20.0,
        {
            "resistance": (100.0, 400.0),
            "area": (6.0, 15.0),
            "kappa": (0.8, 0.95),
            "conductance_by_area": (1.5e-4, 5e-4),
            "high_pass": (400.0, 2000.0),
            "low_pass": (0.6, 1.8),
            "gain": (0.9, 1.1),
            "white_uV": (3.0, 9.0),
            "pink_uV": (0.5, 2.0),
            "mains_uV": (0.3, 3.0),
            "drift_uV": (2.0, 12.0),
            "access": (0.03, 0.12),
            "resealing": (6e5, 3e6),
            "blind": (100.0, 400.0),
        },
    ),
    "mea": Device(
        "mea",
        10_000.0,
        20.0,
        {
            "resistance": (1.0, 3.0),
            "area": (600.0, 1500.0),
            "kappa": (0.85, 0.97),
            "conductance_by_area": (1.5e-4, 5e-4),
            "high_pass": (300.0, 1200.0),
            "low_pass": (0.9, 2.4),
            "gain": (0.9, 1.1),
            "white_uV": (4.0, 9.0),
            "pink_uV": (1.0, 3.0),
            "mains_uV": (0.5, 5.0),
            "drift_uV": (4.0, 20.0),
            "access": (0.01, 0.05),
            "resealing": (1e5, 6e5),
            "blind": (200.0, 600.0),
        },
    ),
}
"""Nanoelectrodes at 5 kHz, and planar ones with a wider face, a looser seal and a higher corner at 10 kHz. Chosen so
that spikes, waves and noise have the ranges of real recordings (see `ranges`), not measured."""


@typed
def device_named(device: str) -> Device:
    """ValueError: an unknown one."""
    if device not in DEVICES:
        raise refusal("device", device, "", ", ".join(map(repr, DEVICES)))
    return DEVICES[device]
