"""What an experiment sees of a paced cell: V and Ca_i, at one cycle length or several.

In HDF5 a condition ("control", "treatment") is a group; each cycle length is a group in it with

    V           dataset, attribute `unit`: mV or V
    Ca_i        dataset of the same length, attribute `unit`: mM, uM or nM
    cycle_length_ms, sampling_interval_ms, stimulus_onset_ms     attributes

The first sample is the beginning of a cycle, whose stimulus comes `stimulus_onset_ms` later, and at least two whole
cycles of one steady pacing are there: the hidden gates are followed through the ones before the last.
"""

import dataclasses
from pathlib import Path

import h5py
import numpy as np
from jaxtyping import Float

from ..annotations import check_fields, typed
from ..arguments import check, check_seed, check_whole
from ..cell import AbstractCell
from ..files.reading import Group, open_hdf5
from ..files.writing import put, write_hdf5
from .paced import DURATION, ONSET, paced_beats

UNITS = {"V": {"mV": 1.0, "V": 1e3}, "Ca_i": {"mM": 1.0, "uM": 1e-3, "nM": 1e-6}}
RANGES = {"V": (-150.0, 100.0, "mV"), "Ca_i": (0.0, 0.1, "mM")}
"""Outside of these a trace must be in another unit."""
SLOWEST = 2.0
"""Longest sampling interval, ms."""
LEAST_CALCIUM = 1e-6
"""mM: Ca_i that is nowhere larger must be in another unit."""
EARLY, LATE = 10.0, 100.0
"""An upstroke that comes longer before or after its stimulus (ms) is of another one, or the onset is."""
LEAST = 50.0
"""A change of V by less than this (mV) is no action potential."""


@dataclasses.dataclass(frozen=True, eq=False)
class Sweep:
    """V and Ca_i over whole cycles of steady pacing.

    Attributes:
        cycle_length: ms, a multiple of dt.
        V: mV; Ca_i: mM; sample i at i dt, cycle after cycle.
        dt: sampling interval, ms.
        onset: of the stimulus in each cycle, ms.
        name: where it is from.

    ValueError: by name, for gaps, other units, too few cycles, and cycles without an action potential.
    """

    cycle_length: float
    V: Float[np.ndarray, " samples"]
    Ca_i: Float[np.ndarray, " samples"]
    dt: float = 1.0
    onset: float = ONSET
    name: str = "sweep"

    def __post_init__(self):
        check_fields(self)
        check("cycle_length", self.cycle_length, "ms", "> 0, finite", lambda x: 0 < x < np.inf)
        check("dt", self.dt, "ms", f"0 < dt <= {SLOWEST:g}", lambda x: 0 < x <= SLOWEST)
        check("onset", self.onset, "ms", "from 0 to half a cycle", lambda x: 0 <= x <= self.cycle_length / 2)
        if abs(self.cycle_length / self.dt - self.samples) > 1e-6:
            raise ValueError(f"{self.name}: cycle_length = {self.cycle_length} ms; allowed: a multiple of {self.dt} ms")
        for key, (low, high, unit) in RANGES.items():
            object.__setattr__(self, key, _checked(self.name, key, getattr(self, key), self.dt, low, high, unit))
        if self.Ca_i.max() < LEAST_CALCIUM:
            raise ValueError(
                f"{self.name}: Ca_i of at most {self.Ca_i.max():.4g} mM; allowed: {LEAST_CALCIUM:g} mM or more at its "
                "largest (is its unit the one stated?)"
            )
        if len(self.V) != len(self.Ca_i):
            raise ValueError(f"{self.name}: V has {len(self.V)} samples, Ca_i {len(self.Ca_i)}; allowed: as many")
        if self.cycles < 2:
            raise ValueError(f"{self.name}: {len(self.V) * self.dt:g} ms; allowed: two cycles of {self.cycle_length:g}")
        for cycle in range(2):
            rise = np.ptp(self.cycle(self.V, self.cycles - 1 - cycle))
            if rise < LEAST or self.cycle(self.V, self.cycles - 1 - cycle).max() < -20:
                raise ValueError(
                    f"{self.name}: V changes by {rise:.3g} mV in cycle {self.cycles - cycle} of {self.cycles}; "
                    "allowed: an action potential in each (was this stimulus captured? is V a potential?)"
                )
            fastest = self.dt * float(np.argmax(np.diff(self.cycle(self.V, self.cycles - 1 - cycle))))
            if not self.onset - self.dt - EARLY <= fastest <= self.onset + LATE:
                raise ValueError(
                    f"{self.name}: V rises fastest at {fastest:g} ms of cycle {self.cycles - cycle}; allowed: from "
                    f"{EARLY:g} ms before to {LATE:g} ms after the stimulus, whose onset = {self.onset:g} ms"
                )

    @property
    def samples(self) -> int:
        """In a cycle."""
        return round(self.cycle_length / self.dt)

    @property
    def cycles(self) -> int:
        return len(self.V) // self.samples

    def cycle(self, x, k: int) -> np.ndarray:
        """The k-th cycle of a trace."""
        return x[k * self.samples : (k + 1) * self.samples]


@dataclasses.dataclass(frozen=True, eq=False)
class Observations:
    """A cell under one condition: one sweep a cycle length, of one sampling interval and stimulus onset."""

    sweeps: tuple[Sweep, ...]
    name: str = "observations"

    def __post_init__(self):
        check_fields(self)
        if not self.sweeps:
            raise ValueError(f"{self.name}: no sweeps; allowed: at least one cycle length")
        for what in ("dt", "onset"):
            found = {getattr(s, what) for s in self.sweeps}
            if len(found) > 1:
                raise ValueError(f"{self.name}: {what} = {sorted(found)} ms; allowed: one for all sweeps")

    def save(self, path: str | Path, group: str) -> None:
        """Adds the group to the file at `path`, or replaces it; the file is written whole or not at all."""
        write_hdf5(path, lambda file: self.put(file, group), add=True)

    def put(self, file: h5py.File, group: str) -> None:
        """Writes the group into an open file, instead of the one of that name that is there."""
        if group in file:
            del file[group]
        for sweep in self.sweeps:
            g = file.create_group(f"{group}/{sweep.cycle_length:g}_ms")
            put(g, "V", sweep.V, "mV")
            put(g, "Ca_i", sweep.Ca_i, "mM")
            g.attrs["cycle_length_ms"] = sweep.cycle_length
            g.attrs["sampling_interval_ms"] = sweep.dt
            g.attrs["stimulus_onset_ms"] = sweep.onset

    @classmethod
    def load(cls, path: str | Path, group: str) -> "Observations":
        """Reads a condition; whatever is wrong or missing is a ValueError that names file, group and dataset."""
        with open_hdf5(path) as file:
            if group not in file:
                raise ValueError(f"{path}: no group {group!r}; there: {', '.join(file.names()) or 'nothing'}")
            found = file.group(group)
            return cls(tuple(_sweep(f"{path}: {group}/{x}", found.group(x)) for x in found.names()), f"{path}: {group}")


def _sweep(name: str, group: Group) -> Sweep:
    traces = {}
    for key in UNITS:
        if key not in group:
            raise ValueError(f"{name}: no dataset {key}; there: {', '.join(group.names())}")
    V, Ca_i = (group.dataset(key) for key in UNITS)
    if len(V.shape) != 1 or V.shape != Ca_i.shape:
        raise ValueError(f"{name}: V {V.shape} and Ca_i {Ca_i.shape}; allowed: one shape, (samples,)")
    for key, units in UNITS.items():
        found = group.dataset(key)
        if found.unit not in units:
            raise ValueError(f"{name}: {key}: unit = {found.unit!r}; allowed: {', '.join(units)}")
        traces[key] = found.numbers((None,)) * units[found.unit]
    about = {}
    for key, attribute in (
        ("cycle_length", "cycle_length_ms"),
        ("dt", "sampling_interval_ms"),
        ("onset", "stimulus_onset_ms"),
    ):
        if not group.has_attribute(attribute):
            raise ValueError(f"{name}: no attribute {attribute}")
        about[key] = group.number(attribute)
    return Sweep(**traces, **about, name=name)


def _checked(
    name: str, key: str, trace, dt: float, low: float, high: float, unit: str
) -> Float[np.ndarray, " samples"]:
    trace = np.asarray(trace, np.float64)
    if trace.ndim != 1 or not trace.size:
        raise ValueError(f"{name}: {key}: expected shape (samples,), got {trace.shape}")
    gaps = np.flatnonzero(~np.isfinite(trace))
    if gaps.size:
        raise ValueError(
            f"{name}: {key} = {trace[gaps[0]]} at {gaps[0] * dt:g} ms; allowed: no gaps ({gaps.size} samples)"
        )
    if trace.min() < low or trace.max() > high:
        raise ValueError(
            f"{name}: {key} from {trace.min():.4g} to {trace.max():.4g} {unit}; allowed: {low:g} to {high:g} {unit} "
            "(is its unit the one stated?)"
        )
    return trace


@typed
def simulated_observations(
    cell: AbstractCell,
    cycle_lengths=(400.0, 600.0, 800.0),
    *,
    duration: float = DURATION,
    dt: int = 1,
    noise: tuple[float, float] = (0.0, 0.0),
    seed: int = 0,
    name: str = "simulated",
) -> Observations:
    """What an experiment would see of `cell`: its last two cycles at each cycle length.

    Args:
        cell: one cell.
        cycle_lengths: ms.
        duration: ms of pacing from the published initial state.
        dt: sampling interval, whole ms.
        noise: standard deviations, mV and mM.
        seed: of the noise.
        name: of the observations.
    """
    check_whole("dt", dt, "ms")
    check("noise", noise, "mV and mM", "two numbers >= 0", lambda x: x.shape == (2,) and (x >= 0).all())
    check_seed(seed)
    beats = paced_beats(cell, cycle_lengths, duration=duration)
    draws = np.random.default_rng(seed)
    sweeps = []
    for k, length in enumerate(beats.cycle_lengths):
        trace = beats.every_ms(k)
        seen = [
            (getattr(trace, key)[-2 * int(length) :: dt] + sd * draws.standard_normal(-(-2 * int(length) // dt)))
            for key, sd in zip((cell.potential, "Ca_i"), noise, strict=True)
        ]
        sweeps.append(Sweep(float(length), seen[0], np.maximum(seen[1], 0), float(dt), name=f"{name} {length:g} ms"))
    return Observations(tuple(sweeps), name)
