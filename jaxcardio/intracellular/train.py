"""Training of PIA-UNET on pairs: Adam, shuffled batches, the best epoch by validation, checkpoints."""

import functools
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from ..annotations import typed
from ..arguments import check_known, check_seed, check_whole, refusal
from ..files.writing import check_place, write_leaves
from ..json_text import parse_object
from ..progress import progress_bar
from .inference import Network, measures
from .losses import total_loss
from .pairs import Pairs
from .unet import PIAUNet, is_weight

FORMAT = "jaxcardio PIA-UNET training 1"
LONGEST_LINE = 1 << 20
"""Bytes of the first line of a checkpoint."""
SIZES = {1600: PIAUNet.small, 8000: PIAUNet.full}
"""Samples of a window, and the network that is made for it."""
RAREST = 0.001
"""Share of the training windows that lie outside of the ranges of `Network.unfamiliar`, at either end ..."""
MARGIN = 0.1
"""... before these are widened by so much of their length."""


class History(NamedTuple):
    """How a training went, epoch by epoch."""

    loss: Float[np.ndarray, " epoch"]
    """Mean of the total loss."""
    validation: Float[np.ndarray, " epoch"]
    """Mean absolute error of the median on the validation pairs; NaN without any."""


class Training(NamedTuple):
    """What a training came to."""

    network: Network
    """Of the epoch with the lowest validation error; of the last one without validation pairs. Not calibrated."""
    history: History


class _State(NamedTuple):
    """All that the rest of a training depends on: what a checkpoint holds."""

    net: PIAUNet
    optimiser: Any
    best: PIAUNet
    epoch: Array
    loss: Array
    validation: Array


@typed
def train(
    pairs: Pairs,
    *,
    validation: Pairs | None = None,
    net: PIAUNet | None = None,
    epochs: int = 30,
    batch: int = 32,
    rate: float = 2e-3,
    schedule: Literal["cosine", "constant"] = "cosine",
    alpha: float = 10.0,
    beta: float = 0.01,
    solver_weight: float = 0.0,
    louder: float = 1.0,
    seed: int = 0,
    checkpoint: str | Path | None = None,
    precision: Literal["float32", "bfloat16"] = "float32",
    progress: bool | Callable[[float], None] = False,
) -> Training:
    """Trains PIA-UNET on pairs of windows. Deterministic: the same pairs and seed give the same network.

    Args:
        pairs: to train on.
        validation: of other cells; the epoch with the lowest error on them is kept.
        net: where to begin; a new network of the size for these windows (1600 samples: `PIAUNet.small`, 8000:
            `PIAUNet.full`) where None.
        epochs: passes over the pairs; the study's number is 100. 30 passes over a thousand pairs are enough for
            `PIAUNet.small`.
        batch: windows a step. The last batch of an epoch is filled up from the first one.
        rate: of Adam, at the beginning; the study's is 1e-3.
        schedule: "cosine" lets the rate fall to 0 by the end; "constant" is the study's.
        alpha, beta, solver_weight: of `total_loss`.
        louder: input windows are multiplied by a random factor from 1/louder to louder; 1 leaves them as they are.
        seed: of the new network and of the order of the pairs.
        checkpoint: a file, written whole after every epoch. If it is there, training goes on from it, to the same bits
            as if it had never stopped.
        precision: "bfloat16" computes activations and their gradients in it; weights, statistics and losses stay
            float32.
        progress: True for a bar on stderr, or a function of the fraction done.

    ValueError: an argument out of its range; pairs whose windows do not fit the network; a checkpoint of another
    training.
    """
    for name, value, unit in (("epochs", epochs, "epochs"), ("batch", batch, "windows")):
        check_whole(name, value, unit)
    check_seed(seed)
    check_known("rate", rate, "", "above 0", lambda x: (x > 0) & np.isfinite(x))
    check_known("louder", louder, "", "1 to 10", lambda x: (x >= 1) & (x <= 10))
    for name, value in (("alpha", alpha), ("beta", beta), ("solver_weight", solver_weight)):
        check_known(name, value, "", "finite, >= 0", lambda x: (x >= 0) & np.isfinite(x))
    net = _new(pairs, seed) if net is None else net
    for name, of in (("pairs", pairs), ("validation", validation)):
        _check_fits(name, of, net, pairs.sampling_rate)
    if checkpoint is not None:
        check_place(checkpoint)
    weights = {"alpha": float(alpha), "beta": float(beta), "solver_weight": float(solver_weight)}
    settings = weights | {"epochs": epochs, "batch": batch, "rate": float(rate), "schedule": schedule}
    settings |= {"louder": float(louder), "seed": int(seed), "precision": precision}
    steps = epochs * -(-len(pairs) // batch) if schedule == "cosine" else None
    optimiser = _optimiser(float(rate), steps)
    step = _step_of(optimiser, float(pairs.sampling_rate), precision, **weights)
    report = progress_bar("training", epochs, "epochs") if progress is True else progress or (lambda done: None)
    about = settings | {
        "net": dict(net.settings),
        "data": [_digest(of) for of in (pairs, validation) if of is not None],
    }
    state = _begun(net, optimiser, epochs)
    if checkpoint is not None and Path(checkpoint).exists():
        state = _resumed(Path(checkpoint), about, state)
    while (epoch := int(state.epoch)) < epochs:
        state = _epoch(state, step, pairs, validation, settings)
        if checkpoint is not None:
            write_leaves(checkpoint, state, (json.dumps({"format": FORMAT} | about) + "\n").encode())
        report((epoch + 1) / epochs)
    network = Network(state.best, float(pairs.sampling_rate), about=settings | _described(pairs))
    return Training(network, History(np.asarray(state.loss), np.asarray(state.validation)))


def _new(pairs: Pairs, seed: int) -> PIAUNet:
    samples = np.shape(pairs.eap)[1]
    if samples not in SIZES:
        raise refusal("pairs", samples, "samples", f"{' or '.join(map(str, SIZES))} samples a window, or give net=")
    return SIZES[samples](jax.random.key(seed))


def _check_fits(name: str, pairs: Pairs | None, net: PIAUNet, sampling_rate: float) -> None:
    if pairs is None:
        return
    if not len(pairs):
        raise ValueError(f"{name}: no pairs; allowed: one at least")
    if np.shape(pairs.eap)[1] != net.samples:
        raise refusal(name, np.shape(pairs.eap)[1], "samples", f"{net.samples} samples a window, as the network has")
    if pairs.sampling_rate != sampling_rate:
        raise refusal(name, pairs.sampling_rate, "Hz", f"{sampling_rate:g} Hz, as the pairs of the training")
    if not (np.isfinite(pairs.eap).all() and np.isfinite(pairs.iap).all()):
        raise ValueError(f"{name}: samples that are not finite; allowed: finite ones")


def _begun(net: PIAUNet, optimiser: optax.GradientTransformation, epochs: int) -> _State:
    unseen = jnp.full(epochs, jnp.nan, jnp.float32)
    return _State(net, optimiser.init(eqx.filter(net, is_weight(net))), net, jnp.asarray(0), unseen, unseen)


@functools.cache
def _optimiser(rate: float, steps: int | None) -> optax.GradientTransformation:
    """Adam, whose rate falls to 0 as half a cosine over so many steps; at a constant rate where None."""
    return optax.adam(rate if steps is None else optax.cosine_decay_schedule(rate, steps))


@functools.cache  # so that a training with the same settings, of another seed or resumed, is not compiled again
def _step_of(optimiser: optax.GradientTransformation, sampling_rate: float, precision: str, **weights) -> Callable:
    """(net, optimiser's state, eap, iap) -> net and state one step later, and the loss before it."""

    @eqx.filter_jit
    def step(net, optimiser_state, eap, iap):
        trainable, rest = eqx.partition(net, is_weight(net))

        def loss(trainable):
            given = eap.astype(jnp.bfloat16) if precision == "bfloat16" else eap
            predicted, moved = eqx.combine(trainable, rest).train_call(given)
            return total_loss(iap, predicted, sampling_rate, **weights), moved

        (value, net), gradient = eqx.filter_value_and_grad(loss, has_aux=True)(trainable)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes, whatever its caller is strict about
            updates, optimiser_state = optimiser.update(gradient, optimiser_state, trainable)
        return eqx.apply_updates(net, updates), optimiser_state, value

    return step


def _epoch(state: _State, step: Callable, pairs: Pairs, validation: Pairs | None, settings: dict[str, Any]) -> _State:
    epoch = int(state.epoch)
    net, optimiser_state, losses = state.net, state.optimiser, []
    for eap, iap in _batches(pairs, settings, epoch):
        net, optimiser_state, value = step(net, optimiser_state, eap, iap)
        losses.append(value)
    loss = state.loss.at[epoch].set(jnp.mean(jnp.stack(losses)).astype(jnp.float32))
    errors, best = state.validation, net
    if validation is not None:
        found = Network(net, pairs.sampling_rate)(validation.eap).median
        error = float(np.mean(np.abs(found - validation.iap)))
        best = net if epoch == 0 or error < np.nanmin(np.asarray(errors)) else state.best
        errors = errors.at[epoch].set(error)
    return _State(net, optimiser_state, best, jnp.asarray(epoch + 1), loss, errors)


def _batches(pairs: Pairs, settings: dict[str, Any], epoch: int):
    """Batches of eap and iap, float32, all of one size; a function of the seed and the epoch alone."""
    draw = np.random.default_rng((settings["seed"], epoch))
    batch, louder = settings["batch"], settings["louder"]
    order = draw.permutation(len(pairs))
    for first in range(0, len(order), batch):
        chosen = np.take(order, np.arange(first, first + batch), mode="wrap")
        gain = louder ** draw.uniform(-1, 1, (batch, 1)).astype(np.float32)
        yield jnp.asarray(pairs.eap[chosen] * gain, jnp.float32), jnp.asarray(pairs.iap[chosen], jnp.float32)


def _resumed(path: Path, about: dict[str, Any], like: _State) -> _State:
    try:
        with open(path, "rb") as file:
            found = parse_object(file.readline(LONGEST_LINE), "its first line")
            if found.pop("format", None) != FORMAT:
                raise ValueError("another format")
            other = [name for name in about if found.get(name) != about[name]]
            if other:
                raise ValueError(f"another {', '.join(other)}")
            return eqx.tree_deserialise_leaves(file, like)
    except Exception as error:
        raise ValueError(f"checkpoint = {path}: not a checkpoint of this training ({error})") from error


def _digest(pairs: Pairs) -> str:
    digest = hashlib.sha256()
    for values in (pairs.eap, pairs.iap):
        digest.update(np.ascontiguousarray(values, np.float32).tobytes())
    return digest.hexdigest()


def _described(pairs: Pairs) -> dict[str, Any]:
    """What the pairs of a training were, and the ranges of what is familiar."""
    ranges = {}
    for name, values in measures(pairs.eap, pairs.signal_to_noise).items():
        low, high = np.quantile(values, [RAREST, 1 - RAREST])
        wide = MARGIN * (high - low)
        ranges[name] = [float(low - wide), float(high + wide)]
    names = {name: sorted(map(str, np.unique(getattr(pairs, name)))) for name in ("drug", "device")}
    return {"pairs": len(pairs), "cells": len(np.unique(pairs.cell)), **names, "ranges": ranges}
