"""The conductance layer: how large each current of an observed cell is, fitted through the solver.

Behind the gates each current has a gain. The gains are found from V and Ca_i by Levenberg-Marquardt through whole
cycles of the cell (forward mode), with the slow hidden states at the begin of each cycle. The hidden gates at that
begin are no unknowns: they are followed along the recorded potential. A penalty on |log gain| keeps currents that the
data do not ask to change where they were; those that did move are then fitted again without it.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..annotations import typed
from ..arguments import check
from ..cell import AbstractCell, unknown_name
from ..progress import progress_bar
from ..protocols import PulseTrain
from ..relaxation import Relaxation, is_relaxation
from ..simulation.closed_form import voltage_gates
from ..simulation.grid import paced_grid
from ..simulation.simulate import simulate
from ..solvers import RushLarsen2
from .gating import follow
from .observations import Observations
from .paced import paced_beats

SIGMA_V = 1.0
"""mV; what the model and the recording may differ by."""
SIGMA_CA = 0.02
"""The same of Ca_i, as a share of its range."""
PULL = 50.0
"""Cost of |log gain| = 1, a sweep: as of 100 samples that are a sigma off."""
SLOW_SD = 0.2
"""Prior deviation of the log of a slow state about that of the paced model."""
SETTLING = 20_000.0
"""ms for which the model is paced to find it."""
TRIED, ALONE = 3, 15
"""Single currents that are tried as a beginning (a large change has other minima nearer), and iterations of each."""
MOVED = 0.02
"""A gain whose log is smaller than this has not moved."""


class Retrained(NamedTuple):
    """Gains of the currents of an observed cell.

    names: parameters, one a current. log_gain: of each, relative to the cell given; 0 where it has not moved.
    sd: of log_gain where it moved, by the curvature of the fit, its samples taken for independent; else 0.
    cost: half the sum of squares, prior included. rms_V (mV), rms_Ca (mM): of what is left.
    cell: with the gains in it. predicted, observed: V and Ca_i of the last cycle of each sweep, (samples, 2).
    slow: log of each slow state relative to the paced model, a row a sweep. dt: between samples, ms.
    """

    names: tuple[str, ...]
    log_gain: Float[np.ndarray, " gains"]
    sd: Float[np.ndarray, " gains"]
    cost: float
    rms_V: float
    rms_Ca: float
    cell: AbstractCell
    predicted: tuple[Float[np.ndarray, "samples 2"], ...]
    observed: tuple[Float[np.ndarray, "samples 2"], ...]
    slow: Float[np.ndarray, "sweeps slow"]
    dt: float

    @property
    def gain(self) -> dict[str, float]:
        """By parameter."""
        return dict(zip(self.names, np.exp(self.log_gain).tolist(), strict=True))


class Problem:
    """Observations of a cell as a least-squares problem: residuals and Jacobian of (log gains, slow states)."""

    def __init__(self, cell: AbstractCell, observations: Observations, names: Sequence[str], **steps):
        self.cell, self.names, self.sweeps = cell, tuple(names), observations.sweeps
        fields: tuple[str, ...] = type(cell.initial_state())._fields
        if "Ca_i" not in fields:
            raise ValueError(f"cell: {type(cell).__name__} has no state 'Ca_i' to observe; it has {', '.join(fields)}")
        dt, onset = self.sweeps[0].dt, self.sweeps[0].onset
        longest = max(s.cycle_length for s in self.sweeps)
        self.pulse = PulseTrain(amplitude=-52.0, duration=1.0, period=1e6, start=onset)
        self.t1, self.times = longest - dt, dt * np.arange(round(longest / dt))
        self.steps: dict[str, Any] = steps or dict(solver=RushLarsen2(), grid=paced_grid(self.pulse, self.t1))
        gates = voltage_gates(cell)
        lengths = [s.cycle_length for s in self.sweeps]
        paced = paced_beats(cell, np.ceil(lengths), duration=max(SETTLING, 2 * max(lengths)))
        starts = [
            self._begin(s, gates, jax.tree.map(lambda x: x[-1, 0], y))
            for s, y in zip(self.sweeps, paced.states, strict=True)
        ]
        self.begin = jax.tree.map(lambda *x: jnp.stack(x), *starts)
        rates = cell.rates(0.0, starts[0], 0.0)._asdict()
        self.slow = tuple(n for n, r in rates.items() if not is_relaxation(r) and n not in (cell.potential, "Ca_i"))
        self.observed = tuple(np.stack([s.cycle(x, s.cycles - 1) for x in (s.V, s.Ca_i)], -1) for s in self.sweeps)
        self.sigma = np.array([SIGMA_V, SIGMA_CA * max(np.ptp(x[:, 1]) for x in self.observed)])
        self._values = eqx.filter_jit(jax.vmap(self._predict))
        self._slopes = eqx.filter_jit(jax.vmap(lambda q, y: (self._predict(q, y), jax.jacfwd(self._predict)(q, y))))

    def _begin(self, sweep, gates: tuple[str, ...], y):
        """The state where the last cycle of a sweep begins: seen, followed, at their steady state, or of the model."""
        cell, last = self.cell, (sweep.cycles - 1) * sweep.samples
        V = jnp.asarray(sweep.V[: last + 1])

        def relaxations(V) -> Relaxation:
            rates = cell.rates(0.0, y._replace(**{cell.potential: V}), 0.0)
            found = [getattr(rates, name) for name in gates]
            return Relaxation(jnp.stack([r.steady for r in found]), rate=jnp.stack([r.rate for r in found]))

        at_each = jax.vmap(relaxations)((V[1:] + V[:-1]) / 2)
        h = follow(at_each, relaxations(V[0]).steady, jnp.full(len(V) - 1, sweep.dt))[-1]
        y = y._replace(
            **{cell.potential: V[-1], "Ca_i": jnp.asarray(sweep.Ca_i[last])}, **dict(zip(gates, h, strict=True))
        )
        rates = cell.rates(0.0, y, 0.0)._asdict()
        others = {n: r.steady for n, r in rates.items() if is_relaxation(r) and n not in gates}
        return y._replace(**others)

    def cell_of(self, log_gain) -> AbstractCell:
        values = self.cell.parameters()
        return self.cell.replace(**{n: values[n].value * jnp.exp(x) for n, x in zip(self.names, log_gain, strict=True)})

    def _predict(self, q: Float[Array, " unknowns"], y):
        """V and Ca_i at every sample of the longest cycle; q: log gains, then logs of the slow states."""
        gains, slow = q[: len(self.names)], q[len(self.names) :]
        y = y._replace(**{n: getattr(y, n) * jnp.exp(x) for n, x in zip(self.slow, slow, strict=True)})
        how: dict[str, Any] = dict(t1=self.t1, y0=y, save_at=self.times, outputs=[self.cell.potential, "Ca_i"])
        ys = simulate(self.cell_of(gains), self.pulse, **how, **self.steps).ys
        return jnp.stack([getattr(ys, self.cell.potential), ys.Ca_i], -1)

    @property
    def unknowns(self) -> int:
        return len(self.names) + len(self.slow) * len(self.sweeps)

    def _each(self, x):
        """The unknowns that each sweep sees."""
        n = len(self.names)
        slow = x[n:].reshape(len(self.sweeps), len(self.slow))
        return jnp.asarray(np.concatenate([np.tile(x[:n], (len(slow), 1)), slow], 1))

    def predicted(self, x: Float[np.ndarray, " unknowns"]) -> tuple[np.ndarray, ...]:
        values = np.asarray(self._values(self._each(x), self.begin))
        return tuple(v[: s.samples] for v, s in zip(values, self.sweeps, strict=True))

    def residual(self, x) -> Float[np.ndarray, " residuals"]:
        """In units of sigma; the prior of the slow states last."""
        found = [((p - o) / self.sigma).ravel() for p, o in zip(self.predicted(x), self.observed, strict=True)]
        return np.concatenate([*found, x[len(self.names) :] / SLOW_SD])

    def linear(self, x) -> tuple[np.ndarray, np.ndarray]:
        """residual and its Jacobian (residuals, unknowns)."""
        values, slopes = (np.asarray(a) for a in self._slopes(self._each(x), self.begin))
        n, m = len(self.names), len(self.slow)
        residuals, rows = [], []
        for k, sweep in enumerate(self.sweeps):
            residuals.append(((values[k, : sweep.samples] - self.observed[k]) / self.sigma).ravel())
            own = (slopes[k, : sweep.samples] / self.sigma[:, None]).reshape(-1, n + m)
            row = np.zeros((len(own), self.unknowns))
            row[:, :n], row[:, n + m * k : n + m * (k + 1)] = own[:, :n], own[:, n:]
            rows.append(row)
        prior = np.eye(self.unknowns)[n:] / SLOW_SD
        return np.concatenate([*residuals, x[n:] / SLOW_SD]), np.concatenate([*rows, prior])


def minimise(
    problem: Problem,
    x: Float[np.ndarray, " unknowns"],
    *,
    free: Sequence[int] | None = None,
    towards: Float[np.ndarray, " gains"] | None = None,
    pull: float = 0.0,
    iterations: int = 40,
    tolerance: float = 1e-4,
    report: Callable[[float], None] = lambda done: None,
) -> tuple[Float[np.ndarray, " unknowns"], float, Float[np.ndarray, "unknowns unknowns"]]:
    """Levenberg-Marquardt for half the sum of squares + pull |log gain - towards|; each step is a lasso problem.

    Args:
        problem: what to fit.
        x: where to begin.
        free: indices of the gains that may move; default all. Slow states always may.
        towards: where the penalty pulls the log gains to; default 0.
        pull: cost of a |log gain| of 1.
        iterations: at most so many.
        tolerance: done when the cost falls by less than this, relatively and absolutely.
        report: told the fraction done.

    Returns:
        The unknowns, the cost without the penalty, and the curvature J^T J there.
    """
    n = len(problem.names)
    movable = np.ones(problem.unknowns, bool)
    if free is not None:
        movable[:n] = False
        movable[list(free)] = True
    centre = np.zeros(problem.unknowns)
    centre[:n] = 0.0 if towards is None else towards
    weight = np.where(np.arange(problem.unknowns) < n, pull, 0.0)

    def penalty(x):
        return float(np.sum(weight * np.abs(x - centre)))

    damping = 1e-2
    residual, J = problem.linear(x)
    cost = 0.5 * float(residual @ residual) + penalty(x)
    for k in range(iterations):
        H, g = J.T @ J, J.T @ residual
        before = cost
        for _ in range(8):
            A = H + damping * np.diag(np.diag(H) + 1e-6)
            trial = _lasso(A, g - A @ x, x, centre, weight, movable)
            there = problem.residual(trial)
            new = 0.5 * float(there @ there) + penalty(trial)
            if np.isfinite(new) and new < cost:
                x, cost, damping = trial, new, damping / 5
                break
            damping *= 5
        report(k / iterations)
        if before - cost < tolerance * (1 + before):
            break
        residual, J = problem.linear(x)
    residual, J = problem.linear(x)
    report(1.0)
    return x, 0.5 * float(residual @ residual), J.T @ J


def _lasso(A, b, x, centre, weight, movable, sweeps: int = 200):
    """The minimum of z A z / 2 + b z + weight |z - centre| over the movable coordinates, by coordinate descent."""
    z = x.copy()
    coordinates = np.flatnonzero(movable)
    for _ in range(sweeps):
        largest = 0.0
        for i in coordinates:
            pulled = z[i] - (A[i] @ z + b[i]) / A[i, i] - centre[i]
            new = centre[i] + np.sign(pulled) * max(abs(pulled) - weight[i] / A[i, i], 0.0)
            largest, z[i] = max(largest, abs(new - z[i])), new
        if largest < 1e-9:
            break
    return z


@typed
def retrain(
    cell: AbstractCell,
    observations: Observations,
    *,
    names: Sequence[str] | None = None,
    reference: Retrained | None = None,
    pull: float = PULL,
    progress: bool | Callable[[float], None] = False,
    **steps: Any,
) -> Retrained:
    """How large each current of an observed cell is.

    Args:
        cell: the model, with learned gates (`as_cell`) or with its own.
        observations: V and Ca_i of the cell.
        names: the parameters that scale currents; default all of `cell.conductances`.
        reference: a fit of the same cell under control, towards which the gains are pulled instead of 1.
        pull: cost of |log gain| = 1 a sweep; in units of half a squared sigma.
        progress: True for a bar on stderr, or a function of the fraction done.
        steps: of `simulate`: `solver` with `grid`, `dt` or `rtol`, `atol` (then also
            `adjoint=diffrax.ForwardMode()`). Default `RushLarsen2` on a `paced_grid`.

    ValueError: an unknown name, an argument out of its range.
    """
    names = tuple(dict.fromkeys(cell.conductances.values())) if names is None else tuple(names)
    for name in names:
        if name not in cell.parameters():
            raise ValueError(unknown_name("parameter", name, cell.parameters(), type(cell).__name__))
    check("pull", pull, "", "0 or more", lambda x: x >= 0)
    return retrained(Problem(cell, observations, names, **steps), reference=reference, pull=pull, progress=progress)


def retrained(
    problem: Problem, *, reference: Retrained | None = None, pull: float = PULL, progress: Any = False
) -> Retrained:
    """`retrain` of a problem that is already set up (and compiled)."""
    n = len(problem.names)
    towards = np.zeros(n) if reference is None else reference.log_gain
    report = progress_bar("retraining", 100, "%") if progress is True else progress or (lambda done: None)
    begin = np.concatenate([towards, np.zeros(problem.unknowns - n)])
    singles = [minimise(problem, begin, free=[k], iterations=ALONE) for k in promising(problem, begin)[:TRIED]]
    report(0.3)
    fits = []
    for i, start in enumerate((begin, min(singles, key=lambda single: single[1])[0])):
        x, cost, _ = minimise(
            problem,
            start,
            towards=towards,
            pull=pull * len(problem.sweeps),
            report=lambda done, i=i: report(0.3 + 0.25 * (i + done)),
        )
        fits.append((cost + pull * len(problem.sweeps) * float(np.abs(x[:n] - towards).sum()), x))
    pulled = min(fits, key=lambda fit: fit[0])[1]
    moved = np.flatnonzero(np.abs(pulled[:n] - towards) > MOVED).tolist()
    pulled[:n] = np.where(np.isin(np.arange(n), moved), pulled[:n], towards)
    x, cost, H = minimise(problem, pulled, free=moved, report=lambda done: report(0.8 + 0.2 * done))
    return _summary(problem, x, cost, H, moved)


def promising(problem: Problem, x: Float[np.ndarray, " unknowns"]) -> list[int]:
    """Gains by how much each alone, with the slow states, would lower the cost of a linear problem; best first."""
    residual, J = problem.linear(x)
    n = len(problem.names)
    slow, wanted = J[:, n:], np.column_stack([J[:, :n], residual])
    apart = wanted - slow @ np.linalg.lstsq(slow, wanted, rcond=None)[0]
    score = (apart[:, :n].T @ apart[:, n]) ** 2 / np.maximum(np.sum(apart[:, :n] ** 2, 0), 1e-12)
    return np.argsort(score)[::-1].tolist()


def _summary(problem: Problem, x, cost: float, H, moved) -> Retrained:
    n = len(problem.names)
    kept = np.concatenate([moved, np.arange(n, problem.unknowns)]).astype(int)
    covariance = np.linalg.inv(H[np.ix_(kept, kept)])
    predicted = problem.predicted(x)
    left = np.concatenate([p - o for p, o in zip(predicted, problem.observed, strict=True)])
    # A fit that leaves more than sigma is as uncertain as that says.
    worse = max(1.0, float(np.mean((left / problem.sigma) ** 2)))
    sd = np.zeros(n)
    sd[moved] = np.sqrt(worse * np.diag(covariance)[: len(moved)])
    rms_V, rms_Ca = np.sqrt(np.mean(left**2, 0)).tolist()
    return Retrained(
        names=problem.names,
        log_gain=x[:n],
        sd=sd,
        cost=cost,
        rms_V=rms_V,
        rms_Ca=rms_Ca,
        cell=problem.cell_of(x[:n]),
        predicted=predicted,
        observed=problem.observed,
        slow=x[n:].reshape(len(problem.sweeps), -1),
        dt=problem.sweeps[0].dt,
    )
