"""Voltage-clamp recordings: what is in the HDF5 file of one, and what must be right about it.

A recording is a group of an HDF5 file (by default its root) with two datasets of one length, `command` (attribute
`unit`: mV or V) and `current` (attribute `unit`: pA/pF, or pA with a capacitance), and these attributes of the group:

    sampling_rate_Hz    samples a second
    temperature_K       of the bath; may be given by the caller instead
    capacitance_pF      of the cell; needed for a current in pA

A group `check` in it, laid out alike, is a second recording of the same cell, by which a twin is judged.
"""

import dataclasses
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float

from ..annotations import check_fields, typed
from ..arguments import COLDEST, WARMEST, check, refusal
from ..files.reading import Dataset, Group, open_hdf5
from ..files.writing import put, write_hdf5
from ..protocols import AbstractProtocol, Sampled, VoltageSteps

LEVEL = 0.05
"""Commands closer than this are one level, mV."""
PLAUSIBLE_COMMAND, PLAUSIBLE_CURRENT = 300.0, 2000.0
"""Beyond these (mV, pA/pF) a recording must be in another unit."""
SMALLEST_CURRENT = 1e-6
"""A current that is there and nowhere larger than this (pA/pF) must be in another unit: A, say."""
MOST_LEVELS = 10_000
"""A command of more levels is kept as its samples."""
SHORTEST = 100.0
"""A recording shorter than this (ms) tells too little of any gate."""


@dataclasses.dataclass(frozen=True, eq=False)
class Recording:
    """The current of one cell under a voltage command.

    Attributes:
        command: what the amplifier was told, mV; begins at 0 ms.
        current: total current at every sample, pA/pF, outward positive; sample i at i dt.
        dt: sampling interval, ms.
        temperature: of the bath, K.
        capacitance: of the cell, pF, or None if not known.
        name: where it is from.

    ValueError: an argument out of its range, by name.
    """

    command: AbstractProtocol
    current: Float[np.ndarray, " samples"]
    dt: float
    temperature: float = 310.0
    capacitance: float | None = None
    name: str = "recording"

    def __post_init__(self):
        check_fields(self)
        current = np.asarray(self.current, np.float64)
        object.__setattr__(self, "current", current)
        if current.ndim != 1:
            raise ValueError(f"{self.name}: current: expected shape (samples,), got {current.shape}")
        bad = np.flatnonzero(~np.isfinite(current))
        if bad.size:
            first = f"{current[bad[0]]} pA/pF at {bad[0] * self.dt:g} ms"
            raise ValueError(f"{self.name}: current = {first}; allowed: finite ({bad.size} samples are not)")
        check("dt", self.dt, "ms", "0 < dt <= 1 (1 kHz or faster)", lambda x: 0 < x <= 1)
        check("temperature", self.temperature, "K", f"{COLDEST:g} to {WARMEST:g} K", lambda x: COLDEST <= x <= WARMEST)
        check("capacitance", self.capacitance, "pF", "> 0", lambda x: x > 0)
        if self.t1 < SHORTEST:
            raise ValueError(f"{self.name}: {self.t1:g} ms long; allowed: >= {SHORTEST:g} ms")
        largest = np.abs(current).max()
        if 0 < largest < SMALLEST_CURRENT:
            raise ValueError(
                f"{self.name}: current of at most {largest:.4g} pA/pF; allowed: {SMALLEST_CURRENT:g} pA/pF or more at "
                "its largest, or 0 throughout (is it in A?)"
            )
        if largest > PLAUSIBLE_CURRENT:
            raise ValueError(
                f"{self.name}: current up to {largest:.4g} pA/pF; allowed: <= {PLAUSIBLE_CURRENT:g} pA/pF (is it in "
                "pA? then set the attribute unit of `current` to 'pA', and capacitance_pF)"
            )

    @property
    def t1(self) -> float:
        """Length, ms."""
        return len(self.current) * self.dt

    @property
    def ts(self) -> Float[np.ndarray, " samples"]:
        """Time of every sample, ms."""
        return self.dt * np.arange(len(self.current))

    def save(self, path: str | Path, group: str = "/", mode: str = "w") -> None:
        """Writes the recording in the layout above, whole or not at all; `mode` "a" adds a group to a file."""
        if mode not in ("w", "a"):
            raise refusal("mode", mode, "", "'w' or 'a'")
        write_hdf5(path, lambda file: self.put(file, group), add=mode == "a")

    def put(self, file: h5py.File, group: str = "/") -> None:
        """Writes the recording into a group of an open file, in the layout above."""
        where = file.require_group(group)
        if "command" in where or "current" in where:
            raise refusal("group", group, "", "one that has no recording yet")
        where.attrs.update(sampling_rate_Hz=1e3 / self.dt, temperature_K=self.temperature, name=self.name)
        if self.capacitance is not None:
            where.attrs["capacitance_pF"] = self.capacitance
        packed = {"compression": "gzip", "shuffle": True}
        put(where, "command", np.asarray(self.command.value(self.ts), np.float32), "mV", **packed)
        put(where, "current", self.current.astype(np.float32), "pA/pF", **packed)

    @staticmethod
    def load(
        path: str | Path, group: str = "/", *, temperature: float | None = None, capacitance: float | None = None
    ) -> "Recording":
        """Reads a group of a file. What is given here replaces what the file says.

        ValueError: what is missing, in a wrong unit or out of range, by name; nothing is guessed.
        """
        with open_hdf5(path) as file:
            if group not in file:
                raise ValueError(f"{path}: no group {group!r}; it has {', '.join(_recordings(file)) or 'no recording'}")
            return _read(file, file.group(group), f"{path}:{group}", temperature, capacitance)


@typed
def has_check(path: str | Path, group: str = "/") -> bool:
    """Whether the recording has a second one beside it, to judge a twin by."""
    with open_hdf5(path) as file:
        return f"{group.rstrip('/')}/check" in file


def _recordings(file: Group) -> list[str]:
    """Groups that hold a command and a current."""
    return [found.name or "/" for found in file.walk() if "command" in found and "current" in found]


def _read(file: Group, group: Group, name: str, temperature: float | None, capacitance: float | None) -> Recording:
    missing = [k for k in ("command", "current") if k not in group]
    if missing:
        there = ", ".join(_recordings(file)) or "no recording"
        raise ValueError(f"{name}: no dataset {' or '.join(missing)}; recordings in this file: {there}")
    if not group.has_attribute("sampling_rate_Hz"):
        raise ValueError(f"{name}: no attribute sampling_rate_Hz; allowed: 1000 Hz or more")
    rate = group.number("sampling_rate_Hz")
    if not rate > 0:
        raise ValueError(f"{name}: sampling_rate_Hz = {rate:g} Hz; allowed: 1000 Hz or more")
    if temperature is None:
        if not group.has_attribute("temperature_K"):
            allowed = f"{COLDEST:g} to {WARMEST:g} K"
            raise ValueError(f"{name}: no attribute temperature_K, and none given; allowed: {allowed}")
        temperature = group.number("temperature_K")
    if capacitance is None and group.has_attribute("capacitance_pF"):
        capacitance = group.number("capacitance_pF")
    check("capacitance", capacitance, "pF", "> 0", lambda x: (x > 0) & np.isfinite(x))
    command, current = group.dataset("command"), group.dataset("current")
    if len(command.shape) != 1 or command.shape != current.shape:
        raise ValueError(f"{name}: command {command.shape} and current {current.shape}; allowed: one shape, (samples,)")
    density = None if capacitance is None else 1 / capacitance
    densities = {"pA/pF": 1.0, "A/F": 1.0, "pA": density, "nA": density and 1e3 * density}
    factors = _factor(file, command, {"mV": 1.0, "V": 1e3}, name), _factor(file, current, densities, name)
    samples, density = (
        factor * found.numbers((None,)).astype(np.float64)
        for found, factor in zip((command, current), factors, strict=True)
    )
    dt = 1e3 / rate
    return Recording(command_of(samples, dt, name), density, dt, temperature, capacitance, name)


def _factor(file: Group, found: Dataset, known: dict[str, float | None], name: str) -> float:
    """To mV or pA/pF."""
    last = found.name.rpartition("/")[2]
    unit = found.unit
    if unit is None and file.has_attribute(f"{last}_unit"):
        unit = file.text(f"{last}_unit")
    written = "".join(str(unit).split())
    if unit is None or written not in known:
        raise ValueError(f"{name}: {last} has unit {unit!r}; allowed: {', '.join(known)} (attribute `unit`)")
    factor = known[written]
    if factor is None:
        raise ValueError(f"{name}: {last} in {written} needs capacitance_pF, and none is given; allowed: > 0 pF")
    return factor


def command_of(samples: Float[np.ndarray, " samples"], dt: float, name: str = "command") -> AbstractProtocol:
    """The protocol that a sampled command (mV) is: voltage steps where every level is held, else the samples."""
    if len(samples) < 2:
        raise ValueError(f"{name}: command has {len(samples)} samples; allowed: at least {SHORTEST:g} ms of them")
    bad = np.flatnonzero(~np.isfinite(samples))
    if bad.size:
        raise ValueError(f"{name}: command = {samples[bad[0]]} mV at {bad[0] * dt:g} ms; allowed: finite")
    largest = np.abs(samples).max()
    if largest > PLAUSIBLE_COMMAND or (largest < 1 and np.ptp(samples) > 0):
        raise ValueError(
            f"{name}: command between {samples.min():.4g} and {samples.max():.4g} mV; allowed: 1 to "
            f"{PLAUSIBLE_COMMAND:g} mV at its largest (is it in V? then set the attribute unit of `command` to 'V')"
        )
    begins = np.flatnonzero(np.abs(np.diff(samples, prepend=np.inf)) > LEVEL)
    lengths = np.diff(np.append(begins, len(samples)))
    spread = np.maximum.reduceat(samples, begins) - np.minimum.reduceat(samples, begins)
    if lengths.min() < 2 or spread.max() > 2 * LEVEL or len(begins) > MOST_LEVELS:
        return Sampled(dt * np.arange(len(samples)), samples)
    levels = [float(np.round(np.median(piece), 3)) + 0.0 for piece in np.split(samples, begins[1:])]
    return VoltageSteps(levels, dt * lengths)
