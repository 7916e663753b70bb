"""Training of the small sodium gatings: on voltage clamps, then on action-potential clamps, then through the solver.

Each stage keeps the data of those before it. Levenberg-Marquardt in float64 throughout: the networks have a hundred
weights and the data no noise, so that second-order steps reach in seconds what gradient descent does not reach at all.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from ..annotations import typed
from ..arguments import check_seed, check_whole, refusal
from ..files.writing import check_place, write_leaves
from ..models import AbstractSodiumGating, Skibsbye2016
from ..progress import progress_bar
from ..protocols import PulseTrain
from ..simulation.simulate import simulate
from ..solvers import RushLarsenMidpoint
from . import flow_map, rates
from .clamp_data import AMPLITUDE, DURATION, Clamps, action_potentials, voltage_clamps
from .flow_map import FlowMap
from .losses import action_potential_residual, clamp_residual, semigroup_residual, time_domain_residual
from .rates import RateSurrogate

STARTS = 6
"""Networks that begin; the one that fits the clamps best goes on."""
ROUND = 20
"""Steps of Levenberg-Marquardt between two checkpoints."""
ROUNDS = {"starts": 3, "clamps": 8, "action potentials": 4, "solver": 2}
"""Rounds of each stage; "starts" is the part of the first that all networks take."""
STEP = 0.1
"""Step of the runs through the solver, ms. The exact channel takes the same: the network learns the channel, and not to
make up for the error of a step."""
LENGTH = 50.0
"""Of those runs from the onset of a stimulus, ms: the upstroke and what the sodium current does after it."""
WEIGHTS = {"clamps": 1.0, "semigroup": 1.0, "action potentials": 30.0, "time domain": 1.0, "solver": 1.0}
"""What each root mean square is multiplied by: of logarithms, of shares, of gates, of 1/ms and of mV."""
TOLERANCE = 1e-10


class Training(NamedTuple):
    """A trained gating, and how it got there."""

    gating: Any
    stages: tuple[str, ...]
    """The stage of each round that was run."""
    residuals: Float[np.ndarray, " rounds"]
    """Root mean square of all weighted residuals of the stage, after each round (that of the best start)."""


class _Data(NamedTuple):
    """What the stages of a schedule need; None for the rest."""

    clamps: Clamps
    beats: Any
    upstrokes: Any


class _State(NamedTuple):
    """All that the rest of a training depends on: what a checkpoint holds."""

    weights: Array
    round: Array
    residuals: Array
    seed: Array


@typed
def train_rates(
    *,
    seed: int = 0,
    cell: Skibsbye2016 | None = None,
    widths: tuple[int, ...] = rates.WIDTHS,
    rounds: dict[str, int] = ROUNDS,
    checkpoint: str | Path | None = None,
    progress: bool | Callable[[float], None] = False,
) -> Training:
    """Trains a `RateSurrogate` of the cell's own sodium channel; the same seed gives the same network.

    Bit by bit on one kind of processor with the same number of cores and one version of JAX; else rounding differs, and
    learned rates by some 1e-6 of them.

    `train_rates().gating` is the network, which `save` writes and `cell.replace(sodium=...)` takes.

    Args:
        seed: of the initial weights and of the clamps.
        cell: whose channel; default `Skibsbye2016()`.
        widths: hidden units of each layer.
        rounds: of each stage, `ROUND` steps each: "starts", "clamps", "action potentials", "solver".
        checkpoint: a file, written whole after every round. If it is there, training goes on from it, to the same
            result as if it had never stopped.
        progress: True for a bar on stderr, or a function of the fraction done.

    ValueError: an argument out of its range; a checkpoint of another training; JAX computes in float32.
    """
    return _train(
        lambda key: RateSurrogate(widths, key=key), "rates", (1e-3, 30.0), seed, cell, rounds, checkpoint, progress
    )


@typed
def train_flow_map(
    *,
    seed: int = 0,
    cell: Skibsbye2016 | None = None,
    widths: tuple[int, ...] = flow_map.WIDTHS,
    rounds: dict[str, int] = ROUNDS,
    checkpoint: str | Path | None = None,
    progress: bool | Callable[[float], None] = False,
) -> Training:
    """Trains a `FlowMap` of the cell's own sodium channel, its semigroup included; arguments as of `train_rates`."""
    span = (flow_map.SHORTEST, flow_map.LONGEST)
    return _train(lambda key: FlowMap(widths, key=key), "flow map", span, seed, cell, rounds, checkpoint, progress)


def _train(begin, title, span, seed, cell, rounds, checkpoint, progress) -> Training:
    check_seed(seed)
    _check_rounds(rounds)
    if not jax.config.read("jax_enable_x64"):
        raise ValueError('training in float32; allowed: float64 (first jax.config.update("jax_enable_x64", True))')
    if checkpoint is not None:
        check_place(checkpoint)
    cell = Skibsbye2016() if cell is None else cell
    schedule = [stage for stage, count in rounds.items() for _ in range(count)]
    report = progress_bar(f"training {title}", len(schedule), "rounds") if progress is True else progress or _silent
    networks = [begin(key) for key in jax.random.split(jax.random.key(seed), STARTS)]
    like, weights = networks[0], jnp.stack([ravel_pytree(network)[0] for network in networks])
    unravel = ravel_pytree(like)[1]
    state = _State(weights, jnp.asarray(0), jnp.full(len(schedule), jnp.nan), jnp.asarray(seed))
    if checkpoint is not None and Path(checkpoint).exists():
        state = _resumed(Path(checkpoint), state)
    data = _data(cell, span, seed, schedule)
    runs = {stage: _round(_residual(stage, unravel, cell), stage == "starts") for stage in dict.fromkeys(schedule)}
    while (k := int(state.round)) < len(schedule):
        stage = schedule[k]
        weights, error = runs[stage](state.weights if stage == "starts" else state.weights[0], data)
        if stage == "starts":
            best = jnp.argsort(error)
            weights, error = weights[best], error[best][0]
        else:
            weights = state.weights.at[0].set(weights)
        state = _State(weights, jnp.asarray(k + 1), state.residuals.at[k].set(error), state.seed)
        if checkpoint is not None:
            write_leaves(checkpoint, state)
        report((k + 1) / len(schedule))
    return Training(unravel(state.weights[0]), tuple(schedule), np.asarray(state.residuals))


def _data(cell: Skibsbye2016, span: tuple[float, float], seed: int, schedule: list[str]) -> _Data:
    clamps = voltage_clamps(cell.sodium, shortest=span[0], longest=span[1], seed=seed)
    beats = action_potentials(cell) if {"action potentials", "solver"} & {*schedule} else None
    return _Data(clamps, beats, _upstrokes(cell, beats) if "solver" in schedule else None)


@eqx.filter_jit
def _upstrokes(cell: Skibsbye2016, beats: Any) -> Float[Array, "beats times"]:
    """V every `STEP` ms from the onset of each beat's stimulus, mV."""
    pacing = PulseTrain(AMPLITUDE, DURATION, 1000.0, 0.0)
    how: dict[str, Any] = dict(t1=LENGTH, dt=STEP, save_every=STEP, solver=RushLarsenMidpoint())
    return jax.vmap(lambda onset: jnp.asarray(simulate(cell, pacing, y0=onset, **how).V))(beats.onset)


def _residual(stage: str, unravel: Callable[[Array], AbstractSodiumGating], cell: Skibsbye2016):
    """(weights, data) -> all residuals of a stage, each kind of them with a sum of squares that is its mean square."""

    def residual(weights, data: _Data):
        gating = unravel(weights)
        clamps, beats = data.clamps, data.beats
        parts = {"clamps": clamp_residual(gating, clamps)}
        if isinstance(gating, FlowMap):
            parts["semigroup"] = semigroup_residual(gating, clamps.V[::3], clamps.dt[0, ::3])
        if stage in ("action potentials", "solver"):
            along = jax.vmap(lambda V, gates: time_domain_residual(gating, beats.dt, V, gates))
            parts["time domain"] = along(beats.V, beats.gates)
            parts["action potentials"] = action_potential_residual(gating, beats)
        if stage == "solver":
            hybrid = cell.replace(sodium=gating)
            parts["solver"] = _upstrokes(hybrid, beats) - data.upstrokes
        return jnp.concatenate([WEIGHTS[name] / x.size**0.5 * jnp.ravel(x) for name, x in parts.items()])

    return residual


def _round(residual, many: bool):
    """(weights, data) -> weights after `ROUND` steps, and the root mean square there; of each of many, or of one."""
    solver = optx.LevenbergMarquardt(rtol=TOLERANCE, atol=TOLERANCE, linear_solver=lx.Normal(lx.Cholesky()))

    def run(weights, data):
        found = optx.least_squares(residual, solver, weights, data, max_steps=ROUND, throw=False).value
        return found, jnp.linalg.norm(residual(found, data))

    return eqx.filter_jit(jax.vmap(run, in_axes=(0, None)) if many else run)


def _resumed(path: Path, like: _State) -> _State:
    try:
        with open(path, "rb") as file:
            found = eqx.tree_deserialise_leaves(file, like)
        if int(found.seed) != int(like.seed):
            raise ValueError(f"of seed {int(found.seed)}, not {int(like.seed)}")
        return found
    except Exception as error:
        raise ValueError(f"checkpoint = {path}: not a checkpoint of this training ({error})") from error


def _check_rounds(rounds: dict[str, int]) -> None:
    if list(rounds) != list(ROUNDS):
        raise refusal("rounds", rounds, "", f"a number of rounds for each of {', '.join(ROUNDS)}, in this order")
    for stage, count in rounds.items():
        check_whole(f"rounds[{stage!r}]", count, "rounds", 1 if stage == "starts" else 0)


def _silent(done: float) -> None:
    pass
