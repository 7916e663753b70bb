"""Clamps of held steps: the space in which protocols are designed, the designed one, and those to compare it with."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...annotations import check_fields, typed
from ...arguments import check, check_whole
from ...protocols import Segments, VoltageSteps
from ..experiment import Experiment
from ..windows import windows_of

LEVELS = tuple(float(level) for level in range(-120, 51, 10))
"""Candidates of every step, mV (digital-twin paper, protocol optimisation: -120 to +50 mV by 10 mV)."""
HOLD = -100.0
"""The first step, mV (same)."""
STEP = 250.0
"""Length of every step, ms (same)."""
LENGTH = 7000.0
"""Length of a protocol, ms (same)."""
PROBE_AT, PROBE = 6000.0, -120.0
"""One step that is not chosen: when it begins, ms, and its level, mV (same: it probes I_f)."""

DESIGNED = (
    -100.0, -30.0, -120.0, 30.0, -50.0, -20.0, -110.0, -40.0, -10.0, 50.0, -120.0, 10.0, 50.0, -20.0,
    50.0, 50.0, -110.0, -10.0, -70.0, 50.0, -80.0, -110.0, 50.0, -60.0, -120.0, -100.0, 50.0, -80.0,
)  # fmt: skip
"""Levels (mV) of `STEP` each that `design_by_information` found on eight cells, criterion A."""


@dataclasses.dataclass(frozen=True)
class Space:
    """The step protocols among which a design chooses; by default those of the digital-twin paper.

    Attributes:
        levels: candidates of every step, mV.
        hold: the first step, mV.
        step: length of every step, ms.
        length: of the protocol, ms: a whole number of steps, at least two.
        probes: (when it begins, ms; level, mV) of every later step that is not chosen.

    ValueError: an argument out of its range, by name.
    """

    levels: tuple[float, ...] = LEVELS
    hold: float = HOLD
    step: float = STEP
    length: float = LENGTH
    probes: tuple[tuple[float, float], ...] = ((PROBE_AT, PROBE),)

    def __post_init__(self):
        check_fields(self)
        check("levels", self.levels, "mV", "at least one, finite", lambda x: x.size > 0 and np.isfinite(x).all())
        check("hold", self.hold, "mV", "finite", np.isfinite)
        check("step", self.step, "ms", "> 0", lambda x: np.isfinite(x) and x > 0)
        steps = f"a whole number >= 2 of steps of {self.step} ms"
        check("length", self.length, "ms", steps, lambda x: x >= 2 * self.step and _is_whole(x / self.step))
        for at, level in self.probes:
            inside = f"the beginning of a step of {self.step} ms after the first, < {self.length} ms"
            check("probes", at, "ms", inside, lambda x: 0 < x < self.length and _is_whole(x / self.step))
            check("probes", level, "mV", "finite", np.isfinite)

    @property
    def choices(self) -> list[tuple[float, ...]]:
        """What each step may be, mV: one level where nothing is chosen."""
        choices = [tuple(self.levels)] * round(self.length / self.step)
        choices[0] = (self.hold,)
        for at, level in self.probes:
            choices[round(at / self.step)] = (level,)
        return choices

    def protocol(self, levels: Sequence[float] | np.ndarray) -> Segments:
        """The clamp with these levels, one a step."""
        return VoltageSteps(np.asarray(levels, float), np.full(len(levels), self.step))

    def one_step(self, **how: Any) -> Experiment:
        """The hold as an experiment of its own. `how`: `cell` and `names` of it, `dt`, `blank`, `growth` of windows."""
        about = {name: how.pop(name) for name in ("cell", "names") if name in how}
        clamp = self.protocol([self.hold])
        return Experiment(clamp, windows_of(clamp, self.step, **how), **about)


def _is_whole(x) -> bool:
    return bool(abs(x - np.rint(x)) < 1e-9)


def designed() -> Segments:
    """The best protocol known: the 28 steps that `design_by_information` found, `DESIGNED`; LENGTH ms."""
    return Space().protocol(DESIGNED)


def iv_staircase() -> Segments:
    """A staircase for current-voltage curves: up through `LEVELS` by 10 mV, and down again by 20 mV; LENGTH ms."""
    return Space().protocol([HOLD, *LEVELS, *LEVELS[-2::-2]])


def herg_staircase() -> Segments:
    """The staircase of the hERG literature, twice as fast; LENGTH ms.

    Source: Lei CL et al., Biophys J 2019;117:2438-2454, doi 10.1016/j.bpj.2019.07.029, with the levels and durations of
    the authors' protocol files. Theirs takes 15,400 ms. Here every duration is halved, and the opening leak ramp
    (900 ms of theirs) and the closing hold (500 ms) are left out.
    """
    up_and_down = [-40, -60, -20, -40, 0, -20, 20, 0, 40, 20, 40, 0, 20, -20, 0, -40, -20, -60, -40]
    begin = [40, -120, -80, *up_and_down, -80, 40, -70, -70, -120]
    end = [40, -120, -80, *up_and_down, -80, 40, -70, -110, -120]
    durations = [1000, 500, 1000, *[500] * len(up_and_down), 1000, 500, 10, 100, 390]
    return Segments(np.array(begin, float), np.array(end, float), 0.5 * np.array(durations, float), kind="voltage")


@typed
def random_steps(seed: int, space: Space = Space()) -> Segments:
    """A protocol of the space with every level drawn at random."""
    check_whole("seed", seed, "", least=0)
    rng = np.random.default_rng(seed)
    return space.protocol([rng.choice(levels) for levels in space.choices])
