"""The training loop: epochs of batches, the best model by a validation error, checkpoints that lose nothing."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from ..arguments import check_whole
from ..files.writing import check_place, write_leaves
from ..progress import progress_bar


class Fit(NamedTuple):
    """What a training came to."""

    model: Any
    """The model of the epoch with the lowest validation error."""
    training: Float[np.ndarray, " epochs"]
    """Mean loss of each epoch that was run."""
    validation: Float[np.ndarray, " epochs"]
    """Validation error after each epoch that was run."""


class _State(NamedTuple):
    """All that the rest of a training depends on: what a checkpoint holds."""

    model: Any
    optimiser: Any
    best: Any
    epoch: Array
    training: Array
    validation: Array


def fit(
    model: Any,
    loss: Callable[[Any, Any], Float[Array, ""]],
    batches: Callable[[int], Iterable[Any]],
    validate: Callable[[Any], float],
    *,
    optimiser: optax.GradientTransformation,
    epochs: int,
    patience: int | None = None,
    checkpoint: str | Path | None = None,
    progress: bool | Callable[[float], None] = False,
) -> Fit:
    """Trains every inexact array of `model` (an Equinox module).

    Args:
        model: where to begin.
        loss: (model, batch) -> the number to lower.
        batches: epoch -> its batches. Must be a function of the epoch alone, so that a resumed training sees the same.
        validate: model -> the error by which the best epoch is chosen.
        optimiser: from optax.
        epochs: at most so many.
        patience: stops after this many epochs without a lower validation error; None never stops early.
        checkpoint: a file, written whole after every epoch. If it is there, training goes on from it, to the same
            result as if it had never stopped.
        progress: True for a bar on stderr, or a function of the fraction done.

    ValueError: an argument out of its range; a checkpoint of another model, or where no file can be written.
    """
    check_whole("epochs", epochs, "epochs")
    if patience is not None:
        check_whole("patience", patience, "epochs")
    if checkpoint is not None:
        check_place(checkpoint)
    report = progress_bar("training", epochs, "epochs") if progress is True else progress or (lambda done: None)
    begun = optimiser.init(eqx.filter(model, eqx.is_inexact_array))
    unseen = jnp.full(epochs, jnp.nan, jnp.float32)
    state = _State(model, begun, model, jnp.asarray(0), unseen, unseen)
    if checkpoint is not None and Path(checkpoint).exists():
        state = _resumed(Path(checkpoint), state)

    @eqx.filter_jit
    def step(model, optimiser_state, batch):
        value, gradient = eqx.filter_value_and_grad(loss)(model, batch)
        with jax.numpy_dtype_promotion("standard"):  # optax mixes dtypes, whatever its caller is strict about
            trainable = eqx.filter(model, eqx.is_inexact_array)
            updates, optimiser_state = optimiser.update(gradient, optimiser_state, trainable)
        return eqx.apply_updates(model, updates), optimiser_state, value

    while (epoch := int(state.epoch)) < epochs and not _exhausted(state, patience):
        current, optimiser_state, values = state.model, state.optimiser, []
        for batch in batches(epoch):
            current, optimiser_state, value = step(current, optimiser_state, batch)
            values.append(value)
        error = float(validate(current))
        better = epoch == 0 or error < np.nanmin(np.asarray(state.validation))
        state = _State(
            current,
            optimiser_state,
            current if better else state.best,
            jnp.asarray(epoch + 1),
            state.training.at[epoch].set(jnp.mean(jnp.stack(values)).astype(jnp.float32)),
            state.validation.at[epoch].set(error),
        )
        if checkpoint is not None:
            write_leaves(checkpoint, state)
        report((epoch + 1) / epochs)
    ran = int(state.epoch)
    if ran < epochs:
        report(1.0)
    return Fit(state.best, np.asarray(state.training)[:ran], np.asarray(state.validation)[:ran])


def _exhausted(state: _State, patience: int | None) -> bool:
    epoch = int(state.epoch)
    if patience is None or epoch == 0:
        return False
    return epoch - 1 - int(np.nanargmin(np.asarray(state.validation)[:epoch])) >= patience


def _resumed(path: Path, like: _State) -> _State:
    try:
        with open(path, "rb") as file:
            return eqx.tree_deserialise_leaves(file, like)
    except Exception as error:
        raise ValueError(
            f"checkpoint = {path}: not a checkpoint of this model, optimiser and number of epochs ({error})"
        ) from error
