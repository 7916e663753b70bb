"""Twins of really recorded cells: one cell clamped at several settings of the amplifier, and a model that is wrong.

Three things differ from a simulated cell:

- Real cells lie far from the published one, so every unknown of the cell is the logarithm of a ratio p / p0 (`WIDE`).
- The amplifier is not ideal. What is dialled is known (`SETTINGS`); the resistance and the capacitance of the pipette
  and cell are not, nor are those by which the amplifier was told to compensate (`DIALLED`).
- No parameters reproduce the current to within its noise. The misfit is taken for a random error of its own,
  `Discrepancy`, whose size and correlation are estimated from the residual: a posterior that knew only of the noise
  would be confidently wrong.

The file: a group a cell, in it `clamp/<setting>` (see `Recording`), `membrane_tests` and `pre_drug_spont`.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import h5py
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from ..cell import AbstractCell, Scalar
from ..grid import Stage, merge, staged_grid
from ..models import KernikClancy2019
from ..relaxation import Relaxation
from .experiment import Experiment
from .recording import Recording
from .rig import Rig, measured_noise, recorded_current
from .twin import LEVEL
from .windows import Windows, windows_of

PERCENT = (0, 20, 40, 60, 80)
SETTINGS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {f"rspre_{p}": (0.0, p / 100) for p in PERCENT} | {f"rscomp_{p}": (p / 100, 0.7) for p in PERCENT}
)
"""Parts of R_s that were corrected and predicted in each trial, in the order of recording; as the study's public code
says. The capacitive transient was cancelled in all of them."""

CONDUCTANCES = (
    "scale_g_K1", "scale_g_Kr", "scale_g_Ks", "scale_g_to", "scale_p_CaL", "scale_g_CaT", "scale_g_Na", "scale_g_f",
    "scale_k_NaCa", "scale_P_NaK", "scale_g_b_Na", "scale_g_b_Ca",
)  # fmt: skip
KINETICS = (
    "m_5", "h_1", "h_5", "j_1", "tau_m_const", "tau_h_const", "d_5", "f_5", "tau_d_const", "tau_f_const",
    "Xr1_1", "Xr1_5", "r_5", "s_5", "Xf_5", "K1_1",
)  # fmt: skip
SLOPES = ("m_6", "h_2", "h_6", "d_6", "f_6")
WIDE: Mapping[str, float] = MappingProxyType(
    dict.fromkeys(CONDUCTANCES, 1.0) | dict.fromkeys(KINETICS, 0.7) | dict.fromkeys(SLOPES, 0.2)
)
"""Prior standard deviations of log(p / p0): a conductance within a factor of 5 of the published one (90 %); rates, time
constants and ratios within a factor of 3, which moves a gate's half-activation by 5 mV; slopes within 30 %."""
DIALLED = "R_set"
"""log(R_set / R_s): the resistance that the amplifier was told, against the true one."""
UNKNOWN_RIG: Mapping[str, float] = MappingProxyType(
    {"R_s": 0.5, "C_cell": 0.2, "C_set": 0.15, "g_leak": 1.0, "V_offset": 8.0, "I_offset": 0.2, "tau_filter": 0.5,
     DIALLED: 0.4}
)  # fmt: skip
"""Prior standard deviations around `typical_rig`: logarithms of positive numbers, mV, pA/pF. V_offset has room for an
uncorrected junction potential."""
EDGE_STAGES = (Stage(0.1, 0.01), Stage(0.5, 0.02), Stage(4.0, 0.04), Stage(10.0, 0.1), Stage(30.0, 0.5))
LATE = 2.0
"""Steps after each edge of the command, then this, ms: within 0.05 pA/pF (r.m.s.) of four times as many."""
BLANK, GROWTH = 0.6, 1.2
"""ms after an edge that are left out: the amplifier's own poles, of which the rig knows nothing; growth of windows."""
IDENTIFIED = 0.3
"""A parameter is identified where its posterior standard deviation is less than this part of the prior's."""
NEAR = 0.5
"""As `refine.NEAR`."""
SMOOTHING = 5.0
"""Of a potential before its biomarkers, ms."""


class RecordedCell(NamedTuple):
    """One cell of the file."""

    name: str
    recordings: dict[str, Recording]
    """By setting."""
    capacitance: float
    """By which the recorded currents were divided, pF: the mean of its membrane tests."""
    tests: Float[np.ndarray, "tests 3"]
    """Capacitance (pF), access and membrane resistance (MOhm)."""
    tested_before: tuple[str, ...]
    """What followed each test."""
    spontaneous: Float[np.ndarray, " samples"] | None
    """Membrane potential without a clamp, mV, sampled like the recordings; None if there is none."""
    published: dict[str, float]
    """Features of the spontaneous action potential as the study published them."""


def load_cell(path: str | Path, name: str, settings: Sequence[str] = tuple(SETTINGS), temperature: float = 310.0):
    """Reads a clamped cell of the file, at some settings.

    ValueError: no such cell, or what `Recording.load` refuses.
    """
    recordings = {s: Recording.load(path, f"{name}/clamp/{s}", temperature=temperature) for s in settings}
    with h5py.File(path, "r") as file:
        group: Any = file[name]
        tests = np.asarray(group["membrane_tests"][()], np.float64)
        before = tuple(str(x) for x in group["membrane_tests"].attrs["before_trial"])
        spontaneous = np.asarray(group["pre_drug_spont"][()], np.float64) if "pre_drug_spont" in group else None
        published = {k.removeprefix("published_"): float(v) for k, v in group.attrs.items() if k.startswith("publ")}
    return RecordedCell(name, recordings, float(tests[:, 0].mean()), tests, before, spontaneous, published)


def typical_rig(capacitance: float) -> Rig:
    """The prior's centre: a usual pipette and seal; cell and amplifier at the capacitance of the recording."""
    return Rig(R_s=25.0, C_cell=capacitance, C_set=capacitance, g_leak=1.0, cancelled=1.0, tau_filter=0.05)


@dataclasses.dataclass(frozen=True, eq=False)
class RecordedExperiment:
    """(x, setting) -> recorded current in windows: x[:n] logarithms of p / p0 of `WIDE`, x[n:] changes of the rig.

    An amplifier that was told R_set = k R_s is, by the equations of `rig`, one that was told R_s, with alpha and C_set
    k times and `cancelled` 1 / k times as large.

    Attributes:
        ideal: the command, the windows, the cell, its parameters in the order of `WIDE`.
        capacitance: by which the recorded current was divided, pF.
    """

    ideal: Experiment
    capacitance: float

    @staticmethod
    def of(cell: RecordedCell, growth: float = GROWTH, t1: float | None = None) -> "RecordedExperiment":
        """What could have been recorded of a cell, until `t1` (ms)."""
        first = next(iter(cell.recordings.values()))
        windows = windows_of(first.command, t1 or first.t1, first.dt, BLANK, growth)
        base = KernikClancy2019(temperature=first.temperature)
        return RecordedExperiment(Experiment(first.command, windows, base, tuple(WIDE)), cell.capacitance)

    @property
    def windows(self) -> Windows:
        return self.ideal.windows

    @cached_property
    def names(self) -> tuple[str, ...]:
        return (*WIDE, *UNKNOWN_RIG)

    @cached_property
    def prior_sd(self) -> Float[np.ndarray, " unknowns"]:
        return np.array([*WIDE.values(), *UNKNOWN_RIG.values()])

    def cells(self, x: Float[Array, "*cells unknowns"]) -> AbstractCell:
        return self.ideal.cells(jnp.expm1(x[..., : len(WIDE)]))

    def rigs(self, x: Float[Array, "*cells unknowns"], setting: Float[Array, "*cells 2"]) -> Rig:
        """With the amplifier's R_set folded in."""
        by = dict(zip(UNKNOWN_RIG, jnp.moveaxis(x[..., len(WIDE) :], -1, 0), strict=True))
        k = jnp.exp(by.pop(DIALLED))
        rig = typical_rig(self.capacitance).moved(**by)
        return dataclasses.replace(
            rig, alpha=setting[..., 0] * k, beta=setting[..., 1], C_set=rig.C_set * k, cancelled=1 / k
        )

    def current(self, x: Float[Array, "*cells unknowns"], setting: Float[Array, "*cells 2"]):
        """The recorded current at the windows' times, pA/pF of `capacitance`."""
        rig = self.rigs(x, setting)
        found = recorded_current(self.cells(x), rig, self.ideal.protocol, self.windows.times, self._grid)
        return found * (rig.C_set / self.capacitance)[..., None]

    @cached_property
    def _grid(self) -> np.ndarray:
        end = float(self.windows.times[-1])
        starts = np.append(0.0, self.ideal.protocol.edges(0.0, end))
        stages = [*EDGE_STAGES, Stage(np.inf, LATE)]
        return merge(np.concatenate([staged_grid(starts, np.zeros(0), 0.0, end, stages), self.windows.times, starts]))

    @cached_property
    def linearised(self):
        """Compiled: (x, setting) of some recordings -> `current` and its Jacobian (recordings, windows, unknowns)."""

        def at(x, setting):
            def along(direction):
                way = jnp.broadcast_to(direction, x.shape)
                return jax.jvp(lambda x: self.current(x, setting), (x,), (way,))

            return jax.vmap(along, out_axes=(None, -1))(jnp.eye(x.shape[-1], dtype=x.dtype))

        return jax.jit(at)


class Discrepancy(NamedTuple):
    """Error of a window beside the noise: of standard deviation absolute + relative * current (in squares)."""

    absolute: float
    """pA/pF."""
    relative: float
    dependent: float
    """How many windows tell as much as one: residuals resemble each other along a step and from step to step."""

    def variance(self, noise: np.ndarray, observed: np.ndarray) -> np.ndarray:
        """Of each window, noise included."""
        return noise**2 + self.absolute**2 + (self.relative * observed) ** 2


ABSOLUTE, RELATIVE = np.geomspace(0.02, 3.0, 26), np.append(0.0, np.geomspace(0.01, 1.0, 24))
"""Among which the discrepancy is sought."""
UNLIKE = 0.05
"""Correlations are summed up to the first lag at which they are below this."""


def discrepancy(
    wrong: Float[np.ndarray, " windows"],
    noise: Float[np.ndarray, " windows"],
    observed: Float[np.ndarray, " windows"],
    segment: Int[np.ndarray, " windows"],
) -> Discrepancy:
    """The most likely one for a residual; `segment` says between which edges each window lies."""
    variance = noise**2 + (ABSOLUTE**2)[:, None, None] + (RELATIVE**2)[None, :, None] * observed**2
    misfit = (np.log(variance) + wrong**2 / variance).sum(axis=-1)
    i, j = np.unravel_index(misfit.argmin(), misfit.shape)
    found = Discrepancy(float(ABSOLUTE[i]), float(RELATIVE[j]), 1.0)
    scaled = wrong / np.sqrt(found.variance(noise, observed))
    numbers = np.unique(segment)
    table = np.full((len(numbers), max(np.bincount(segment))), np.nan)
    for row, number in zip(table, numbers, strict=True):
        row[: (segment == number).sum()] = scaled[segment == number]
    steps = [_dependent(np.swapaxes(table[k::2], 0, 1)) for k in (0, 1)]
    return found._replace(dependent=_dependent(table) * float(np.mean(steps)))


def _dependent(table: Float[np.ndarray, "rows columns"]) -> float:
    """1 + 2 sum of the correlations along the rows."""
    whole, total = np.nanmean(table**2), 1.0
    for lag in range(1, table.shape[1] // 2):
        correlation = np.nanmean(table[:, lag:] * table[:, :-lag]) / whole
        if not correlation > UNLIKE:
            break
        total += 2 * correlation
    return float(total)


class RecordedPosterior(NamedTuple):
    """What each recording says of its cell and rig: a Gaussian posterior a recording. On the host, float64."""

    mean: Float[np.ndarray, "recordings unknowns"]
    covariance: Float[np.ndarray, "recordings unknowns unknowns"]
    observed: Float[np.ndarray, "recordings windows"]
    fitted: Float[np.ndarray, "recordings windows"]
    noise: Float[np.ndarray, "recordings windows"]
    discrepancy: tuple[Discrepancy, ...]
    decrement: Float[np.ndarray, " recordings"]
    """How much lower another Gauss-Newton step expects the cost (minus log posterior) to be."""

    @property
    def sd(self) -> Float[np.ndarray, "recordings unknowns"]:
        return np.sqrt(np.diagonal(self.covariance, axis1=-2, axis2=-1))

    @property
    def converged(self) -> Bool[np.ndarray, " recordings"]:
        return self.decrement < NEAR


def fit_recorded(
    experiment: RecordedExperiment,
    cell: RecordedCell,
    *,
    together: int = 30,
    apart: int = 15,
    progress: Callable[[str], None] = lambda text: None,
) -> RecordedPosterior:
    """Every recording's own posterior, from a common start: the one cell and rig that fit all of them best.

    `refine` is not used because the size of the errors, which it takes as known, is estimated here along the way. The
    hold before the first step is not fitted: what went before is not known.

    Args:
        experiment: of this cell.
        cell: the recordings.
        together, apart: most steps (Levenberg-Marquardt) of the common start, and of each recording by itself.
        progress: told what is going on, a line a step.
    """
    windows = experiment.windows
    edges = experiment.ideal.protocol.edges(0.0, experiment.ideal.t1)
    segment = np.searchsorted(edges, windows.times)
    data = _Data(
        experiment,
        np.array([SETTINGS[s] for s in cell.recordings]),
        np.stack([windows.averages(r.current) for r in cell.recordings.values()]),
        np.stack([measured_noise(r.current, windows) / np.sqrt(windows.counts) for r in cell.recordings.values()]),
        segment,
        segment > 0,
    )
    start = np.zeros((1, len(experiment.names)))
    common = _descend(data, start, together, lambda text: progress(f"together, {text}"))
    found = _descend(
        data, np.tile(common.x, (len(data.observed), 1)), apart, lambda text: progress(f"apart, {text}")
    )
    seen = data.seen
    return RecordedPosterior(
        found.x, found.covariance, data.observed[:, seen], found.fitted, data.noise[:, seen], found.errors,
        found.decrement,
    )  # fmt: skip


class _Data(NamedTuple):
    experiment: RecordedExperiment
    settings: np.ndarray
    observed: np.ndarray
    noise: np.ndarray
    segment: np.ndarray
    seen: np.ndarray

    def linearised(self, x):
        x = np.broadcast_to(x, (len(self.observed), x.shape[-1]))
        current, jacobian = (np.asarray(a) for a in self.experiment.linearised(jnp.asarray(x), self.settings))
        return current[:, self.seen], jacobian[:, self.seen]


class _Descent(NamedTuple):
    x: np.ndarray
    covariance: np.ndarray
    fitted: np.ndarray
    errors: tuple[Discrepancy, ...]
    decrement: np.ndarray


FARTHEST = 3.0
"""Prior standard deviations that one step may go."""


def _descend(data: _Data, x: np.ndarray, steps: int, progress: Callable[[str], None]) -> _Descent:
    """Levenberg-Marquardt of one x for all recordings, or of one for each; the errors are those of where it is."""
    sd, fits = data.experiment.prior_sd, len(x)
    observed, noise, segment = data.observed[:, data.seen], data.noise[:, data.seen], data.segment[data.seen]
    unit, damping = np.eye(len(sd)), np.ones(fits)
    current, jacobian = data.linearised(x)

    def cost(x, current, deviation):
        wrong = ((observed - current) / deviation).reshape(fits, -1)
        return 0.5 * np.sum(wrong**2, axis=1) + 0.5 * np.sum((x / sd) ** 2, axis=1)

    for step in range(steps + 1):
        errors = tuple(discrepancy(*a, segment) for a in zip(observed - current, noise, observed, strict=True))
        deviation = np.sqrt([e.variance(*a) * e.dependent for e, *a in zip(errors, noise, observed, strict=True)])
        scaled = (jacobian / deviation[..., None] * sd).reshape(fits, -1, len(sd))
        wrong = ((current - observed) / deviation).reshape(fits, -1)
        curvature = scaled.swapaxes(1, 2) @ scaled + unit
        slope = np.einsum("fwp,fw->fp", scaled, wrong) + x / sd
        decrement = 0.5 * np.einsum("fp,fp->f", slope, np.linalg.solve(curvature, slope[..., None])[..., 0])
        if step == steps or (decrement < 0.1 * NEAR).all():
            break
        z = -np.linalg.solve(curvature + damping[:, None, None] * unit, slope[..., None])[..., 0]
        z *= np.minimum(1.0, FARTHEST / np.abs(z).max(axis=1))[:, None]
        trial = x + sd * z
        there, ways = data.linearised(trial)
        better = cost(trial, there, deviation) < cost(x, current, deviation)
        x, damping = np.where(better[:, None], trial, x), np.where(better, damping / 4, damping * 6)
        of = np.broadcast_to(better, len(observed)) if fits == 1 else better
        current = np.where(of[:, None], there, current)
        jacobian = np.where(of[:, None, None], ways, jacobian)
        progress(f"step {step + 1}: another would gain {decrement.max():.3g}")
    return _Descent(x, np.linalg.inv(curvature) * sd * sd[:, None], current, errors, decrement)


class Agreement(NamedTuple):
    """Of one parameter over the recordings."""

    consensus: float
    """Mean of the estimates, each weighted by its precision."""
    within: int
    """How many recordings' 90 % intervals hold it."""
    recordings: int
    identified: bool
    """Whether the median standard deviation is less than `IDENTIFIED` of the prior's."""


def agreement(posterior: RecordedPosterior, prior_sd: Float[np.ndarray, " unknowns"]) -> list[Agreement]:
    """Whether the recordings say the same of each unknown."""
    weight = 1 / posterior.sd**2
    consensus = (weight * posterior.mean).sum(axis=0) / weight.sum(axis=0)
    within = (np.abs(posterior.mean - consensus) < LEVEL * posterior.sd).sum(axis=0)
    identified = np.median(posterior.sd, axis=0) < IDENTIFIED * prior_sd
    return [Agreement(float(c), int(w), len(weight), bool(i)) for c, w, i in zip(consensus, within, identified, strict=True)]
