"""Twins of really recorded cells: one cell clamped at several settings of the amplifier, and a model that is wrong.

Three things differ from a simulated cell:

- Real cells lie far from the published one, so every unknown of the cell is the logarithm of a ratio p / p0 (`WIDE`).
- The amplifier is not ideal. What part of R_s it was told to correct and predict is known; the resistance and the
  capacitance of pipette and cell are not, nor are those that it was told.
- No parameters reproduce the current to within its noise. The misfit is taken for a random error of its own,
  `Discrepancy`, estimated from the residual: a posterior that knew only of the noise would be confidently wrong.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..cell import AbstractCell
from ..clock import merge
from ..models import KernikClancy2019
from ..simulation.grid import Stage, staged_grid
from .experiment import Experiment
from .recording import Recording
from .rig import Rig, measured_noise, recorded_current
from .windows import windows_of

CONDUCTANCES: tuple[str, ...] = (
    "scale_g_K1", "scale_g_Kr", "scale_g_Ks", "scale_g_to", "scale_p_CaL", "scale_g_CaT", "scale_g_Na", "scale_g_f",
    "scale_k_NaCa", "scale_P_NaK", "scale_g_b_Na", "scale_g_b_Ca",
)  # fmt: skip
KINETICS: tuple[str, ...] = (
    "m_5", "h_1", "h_5", "j_1", "tau_m_const", "tau_h_const", "d_5", "f_5", "tau_d_const", "tau_f_const",
    "Xr1_1", "Xr1_5", "r_5", "s_5", "Xf_5", "K1_1",
)  # fmt: skip
SLOPES: tuple[str, ...] = ("m_6", "h_2", "h_6", "d_6", "f_6")
WIDE: Mapping[str, float] = MappingProxyType(
    {name: sd for names, sd in ((CONDUCTANCES, 1.0), (KINETICS, 0.7), (SLOPES, 0.2)) for name in names}
)
"""Prior standard deviations of log(p / p0): a conductance within a factor of 5 of the published one (90 %); rates, time
constants and ratios within a factor of 3, which moves a gate's half-activation by 5 mV; slopes within 30 %."""
DIALLED = "R_set"
"""Logarithm of R_set / R_s, the resistance that the amplifier was told against the true one."""
UNKNOWN_RIG: Mapping[str, float] = MappingProxyType(
    {"R_s": 0.5, "C_cell": 0.2, "C_set": 0.15, "g_leak": 1.0, "V_offset": 8.0, "I_offset": 0.2, "tau_filter": 0.5,
     DIALLED: 0.4, "alpha": 0.5}
)  # fmt: skip
"""Prior standard deviations around `typical_rig`, of what `Rig.moved` adds. alpha: feedback lags, does not reach what
it was told (0.8: 0.64 to 0.9 with 90 %). V_offset has room for an uncorrected junction potential."""
STAGES = (Stage(0.1, 0.01), Stage(0.5, 0.02), Stage(4.0, 0.04), Stage(10.0, 0.1), Stage(30.0, 0.5), Stage(np.inf, 2.0))
"""Steps after each edge of the command, ms: within 0.05 pA/pF (r.m.s.) of three times as many."""
BLANK, GROWTH = 0.6, 1.2
"""ms after an edge that are left out: the amplifier's own poles, of which the rig knows nothing; growth of windows."""
NAMES = (*WIDE, *UNKNOWN_RIG)
PRIOR_SD = np.array([*WIDE.values(), *UNKNOWN_RIG.values()])
"""The unknowns, in order, and how far each may lie from 0."""


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
    def of(
        recording: Recording, capacitance: float, growth: float = GROWTH, t1: float | None = None
    ) -> "RecordedExperiment":
        """What could have been recorded, from the first step (what went before is not known) to `t1` (ms)."""
        command = recording.command
        windows = windows_of(command, t1 or recording.t1, recording.dt, BLANK, growth)
        known = windows.times > command.edges(0.0, recording.t1)[0]
        windows = windows._replace(begin=windows.begin[known], end=windows.end[known])
        base = KernikClancy2019(temperature=recording.temperature)
        return RecordedExperiment(Experiment(command, windows, base, tuple(WIDE)), capacitance)

    def cells(self, x: Float[Array, "*cells unknowns"]) -> AbstractCell:
        return self.ideal.cells(jnp.expm1(x[..., : len(WIDE)]))

    def rigs(self, x: Float[Array, "*cells unknowns"], setting: Float[Array, "*cells 2"]) -> Rig:
        """Pipette, seal and cell, and an amplifier that was told the true resistance, by its (alpha, beta)."""
        by = dict(zip(UNKNOWN_RIG, jnp.moveaxis(x[..., len(WIDE) :], -1, 0), strict=True))
        rig = dataclasses.replace(typical_rig(self.capacitance), alpha=setting[..., 0], beta=setting[..., 1])
        return rig.moved(**{name: change for name, change in by.items() if name != DIALLED})

    def current(self, x: Float[Array, "*cells unknowns"], setting: Float[Array, "*cells 2"]):
        """The recorded current at the windows' times, pA/pF of `capacitance`."""
        rig, k = self.rigs(x, setting), jnp.exp(x[..., NAMES.index(DIALLED)])
        rig = dataclasses.replace(rig, alpha=rig.alpha * k, C_set=rig.C_set * k, cancelled=1 / k)
        found = recorded_current(self.cells(x), rig, self.ideal.protocol, self.ideal.windows.times, self._grid)
        return found * (rig.C_set / self.capacitance)[..., None]

    @cached_property
    def _grid(self) -> np.ndarray:
        end = float(self.ideal.windows.times[-1])
        starts = np.append(0.0, self.ideal.protocol.edges(0.0, end))
        staged = staged_grid(starts, np.zeros(0), 0.0, end, STAGES)
        return merge(np.concatenate([staged, starts, self.ideal.windows.times]))

    @cached_property
    def predicted(self):
        """`current`, compiled."""
        return jax.jit(self.current)

    @cached_property
    def linearised(self):
        """Compiled: (x, setting) of some recordings -> `current` and its Jacobian (recordings, windows, unknowns)."""

        def at(x, setting):
            def along(way):
                return jax.jvp(lambda x: self.current(x, setting), (x,), (jnp.broadcast_to(way, x.shape),))

            return jax.vmap(along, out_axes=(None, -1))(jnp.eye(x.shape[-1], dtype=x.dtype))

        return jax.jit(at)


class Discrepancy(NamedTuple):
    """Error of a window beside the noise: of standard deviation absolute + relative * current (in squares)."""

    absolute: float
    """pA/pF."""
    relative: float
    dependent: float
    """How many windows tell as much as one: residuals resemble each other along a step and from step to step."""

    def variance(self, noise: np.ndarray, observed: np.ndarray) -> np.ndarray:  # noise included
        return noise**2 + self.absolute**2 + (self.relative * observed) ** 2


ABSOLUTE, RELATIVE = np.geomspace(0.02, 3.0, 26), np.append(0.0, np.geomspace(0.01, 1.0, 24))


def discrepancy(
    wrong: Float[np.ndarray, " windows"],
    noise: Float[np.ndarray, " windows"],
    observed: Float[np.ndarray, " windows"],
    segment: Int[np.ndarray, " windows"],
) -> Discrepancy:
    """The most likely one for a residual, on a grid; `segment` says between which edges each window lies."""
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
    """1 + 2 sum of the correlations along the rows, up to the first lag at which there is none to speak of."""
    whole, total = np.nanmean(table**2), 1.0
    for lag in range(1, table.shape[1] // 2):
        correlation = np.nanmean(table[:, lag:] * table[:, :-lag]) / whole
        if not correlation > 0.05:
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
    cost: Float[np.ndarray, " recordings"]
    decrement: Float[np.ndarray, " recordings"]
    """Minus log posterior, and how much lower another Gauss-Newton step expects it to be."""

    @property
    def sd(self) -> Float[np.ndarray, "recordings unknowns"]:
        return np.sqrt(np.diagonal(self.covariance, axis1=-2, axis2=-1))


def fit_recorded(
    experiment: RecordedExperiment,
    recordings: Sequence[Recording],
    settings: Sequence[tuple[float, float]],
    *,
    together: int = 25,
    apart: int = 15,
    progress: Callable[[str], None] = lambda text: None,
) -> RecordedPosterior:
    """Every recording's own posterior.

    First, where the model does best: the one cell and rig for all recordings, and from there each by itself, windows
    counting as independent. What is left there is the discrepancy, which is then taken as known: the posterior's
    optimum is sought from there and from the median of all recordings, and the better one counts. (`refine` takes the
    size of the errors as known from the beginning.)

    Args:
        experiment: of one command and cell.
        recordings: of it.
        settings: of each, the parts of R_s that are corrected (alpha) and predicted (beta).
        together, apart: most steps (Levenberg-Marquardt) of the common start, and of each recording by itself.
        progress: told what is going on, a line a step.
    """
    windows, currents = experiment.ideal.windows, [r.current for r in recordings]
    data = _Data(
        experiment,
        jnp.asarray(settings),
        np.stack([windows.averages(x) for x in currents]),
        np.stack([measured_noise(x, windows) / np.sqrt(windows.counts) for x in currents]),
        np.searchsorted(experiment.ideal.protocol.edges(0.0, experiment.ideal.t1), windows.times),
        progress,
    )
    common = _descend(data, np.zeros((1, len(NAMES))), together)
    best = _descend(data, np.tile(common.mean, (len(recordings), 1)), apart)
    starts = best.mean, np.tile(np.median(best.mean, axis=0), (len(recordings), 1))
    one, other = (_descend(data, x, apart, best.discrepancy) for x in starts)
    of, row = (one.cost > other.cost).astype(int), np.arange(len(recordings))
    chosen = ("mean", "covariance", "fitted", "cost", "decrement")
    return one._replace(**{k: np.stack([getattr(one, k), getattr(other, k)])[of, row] for k in chosen})


class _Data(NamedTuple):
    experiment: RecordedExperiment
    settings: Array
    observed: np.ndarray
    noise: np.ndarray
    segment: np.ndarray
    progress: Callable[[str], None]

    def at(self, compiled: Callable, x: np.ndarray):
        """A function of the experiment, of every recording, on the host."""
        each = jnp.asarray(np.broadcast_to(x, (len(self.observed), x.shape[-1])))
        return jax.tree.map(np.asarray, compiled(each, self.settings))


NEAR, FARTHEST, TRIED = 0.05, 3.0, np.array([0.03, 0.3, 3.0, 30.0])
"""A fit has ended when another step would gain less; how many prior standard deviations one step may go; dampings that
are tried, times the last one (a Jacobian costs as much as a dozen currents, so each is made the most of)."""


def _descend(data: _Data, x: np.ndarray, steps: int, known: tuple[Discrepancy, ...] | None = None) -> RecordedPosterior:
    """Levenberg-Marquardt of one x for all recordings, or of one for each.

    Errors that are not known are those of where it is, and windows count as independent.
    """
    sd, fits, observed, noise = PRIOR_SD, len(x), data.observed, data.noise
    unit, damping, model = np.eye(len(sd)), np.ones(fits), data.experiment
    current, jacobian = data.at(model.linearised, x)

    def cost(x, current, deviation):
        wrong = ((observed - current) / deviation).reshape(fits, -1)
        return 0.5 * np.sum(wrong**2, axis=1) + 0.5 * np.sum((x / sd) ** 2, axis=1)

    step = 0
    while True:
        rows = list(zip(observed - current, noise, observed, strict=True))
        errors = known or tuple(discrepancy(*row, data.segment) for row in rows)
        deviation = np.sqrt([e.variance(*row[1:]) for e, row in zip(errors, rows, strict=True)])
        if known:
            deviation *= np.sqrt([[e.dependent] for e in errors])
        scaled = (jacobian / deviation[..., None] * sd).reshape(fits, -1, len(sd))
        wrong = ((current - observed) / deviation).reshape(fits, -1)
        curvature = scaled.swapaxes(1, 2) @ scaled + unit
        slope = np.einsum("fwp,fw->fp", scaled, wrong) + x / sd
        decrement = 0.5 * np.einsum("fp,fp->f", slope, np.linalg.solve(curvature, slope[..., None])[..., 0])
        before = cost(x, current, deviation)
        data.progress(f"{fits} fits, step {step}: another would gain {decrement.max():.3g}")
        if step == steps or (decrement < NEAR).all():
            covariance = np.linalg.inv(curvature) * sd * sd[:, None]
            return RecordedPosterior(x, covariance, observed, current, noise, errors, before, decrement)
        tried = damping * TRIED[:, None]
        z = -np.linalg.solve(curvature + tried[..., None, None] * unit, slope[..., None])[..., 0]
        z *= np.minimum(1.0, FARTHEST / np.abs(z).max(axis=-1, keepdims=True))
        costs = np.stack([cost(x + sd * way, data.at(model.predicted, x + sd * way), deviation) for way in z])
        best = np.argmin(np.nan_to_num(costs, nan=np.inf), axis=0), np.arange(fits)
        better = costs[best] < before
        x = np.where(better[:, None], x + sd * z[best], x)
        damping = np.clip(np.where(better, tried[best], 10 * tried[-1]), 1e-6, 1e6)
        current, jacobian = data.at(model.linearised, x)
        step += 1
