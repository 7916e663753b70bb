"""Networks that read the parameters of a cell off its voltage-clamp recording: the published one, and a better one."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Key

from ..annotations import typed
from ..arguments import check, check_known, check_seed, check_whole, refusal
from ..files.hdf5 import read_network, write_network
from ..files.writing import check_place
from ..population import Uniform
from ..training import fit
from .experiment import Experiment

SHARES = (0.7, 0.1, 0.2)
"""Of the cells: to train on, to choose the best epoch by, to test with (paper: 70:10:20)."""
COMPRESSION = 1.0
"""pA/pF from which asinh(I / COMPRESSION) compresses: I_Na is hundreds of times larger than I_f."""
FORMAT = "jaxcardio twin network 1"
DEEPEST = 64
"""Layers of a network in a file, at most."""
SEED_OF_CELLS = 2**31
"""Added to a training's seed, so that no cell of a user's own seed is met in training."""


class FrontEnd(eqx.Module):
    """Windows of a recording -> principal components, by how far the cells differ there beyond the noise.

    asinh compresses; each window is divided by the noise it has after that; the leading principal components are
    divided by the square root of their deviation ("half-whitened": fully whitened, the smallest are mostly noise and
    are fitted).
    """

    mean: Float[np.ndarray, " windows"]
    deviation: Float[np.ndarray, " windows"]
    basis: Float[np.ndarray, "windows components"]

    def __call__(self, observed: Float[Array, " windows"]) -> Float[Array, " components"]:
        return ((jnp.arcsinh(observed / COMPRESSION) - self.mean) / self.deviation) @ self.basis


class Standardise(eqx.Module):
    """Windows of a recording, each with mean 0 and deviation 1 over the training cells."""

    mean: Float[np.ndarray, " windows"]
    deviation: Float[np.ndarray, " windows"]

    def __call__(self, observed: Float[Array, " windows"]) -> Float[Array, " windows"]:
        return (observed - self.mean) / self.deviation


class Network(eqx.Module):
    """observed current (cells, windows), pA/pF -> theta (cells, parameters)."""

    front: FrontEnd | Standardise
    mlp: eqx.nn.MLP
    unit: float
    """Prior standard deviation of theta: what an output of 1 stands for."""

    def __call__(self, observed: Float[Array, "cells windows"]) -> Float[Array, "cells parameters"]:
        return self.unit * jax.vmap(lambda one: self.mlp(self.front(one)))(observed)


@typed
def improved(
    observed: Float[np.ndarray, "cells windows"],
    noise: Float[np.ndarray, " windows"],
    parameters: int,
    unit: float,
    *,
    key: Key[Array, ""],
    components: int = 256,
    width: int = 768,
) -> Network:
    """An untrained network of two hidden layers behind a `FrontEnd` made from these cells and this noise."""
    _check_sizes(unit, parameters=parameters, components=components, width=width)
    compressed = np.arcsinh(observed / COMPRESSION)
    mean = compressed.mean(axis=0)
    seen_noise = np.sqrt(np.mean(noise**2 / (observed**2 + COMPRESSION**2), axis=0))
    deviation = seen_noise + 0.02 * compressed.std(axis=0) + 1e-5
    scaled = (compressed - mean) / deviation
    variance, directions = np.linalg.eigh(scaled.T @ scaled / len(scaled) + np.diag((seen_noise / deviation) ** 2))
    leading = np.argsort(variance)[::-1][:components]
    basis = directions[:, leading] / np.maximum(variance[leading], 1e-9) ** 0.25
    basis /= np.sqrt(np.mean((scaled @ basis) ** 2))
    front = FrontEnd(*(np.asarray(x, np.float32) for x in (mean, deviation, basis)))
    mlp = eqx.nn.MLP(len(leading), parameters, width, 2, activation=jax.nn.silu, dtype=jnp.float32, key=key)
    return Network(front, mlp, unit)


@typed
def published(
    observed: Float[np.ndarray, "cells windows"],
    noise: Float[np.ndarray, " windows"],
    parameters: int,
    unit: float,
    *,
    key: Key[Array, ""],
    width: int = 1024,
    depth: int = 26,
) -> Network:
    """The network of the study (doi 10.7554/eLife.110013): 26 hidden layers of 1024, tanh; on standardised currents.

    (On raw currents it hardly learns. Its initial weights are not stated; Glorot's keep the signal through 26 layers.)
    """
    _check_sizes(unit, parameters=parameters, width=width, depth=depth)
    front = Standardise(*(np.asarray(x, np.float32) for x in (observed.mean(0), observed.std(0) + noise + 1e-5)))
    mlp = eqx.nn.MLP(observed.shape[1], parameters, width, depth, activation=jnp.tanh, dtype=jnp.float32, key=key)
    layers = [
        eqx.tree_at(
            lambda x: (x.weight, x.bias),
            layer,
            (
                jax.nn.initializers.glorot_normal()(k, layer.weight.shape, jnp.float32),
                jnp.zeros(layer.out_features, jnp.float32),
            ),
        )
        for layer, k in zip(mlp.layers, jax.random.split(key, depth + 1), strict=True)
    ]
    return Network(front, eqx.tree_at(lambda x: x.layers, mlp, tuple(layers)), unit)


@dataclasses.dataclass(frozen=True)
class Trained:
    """A network and how well it does on cells it has not seen.

    Attributes:
        network: observed current -> theta.
        names: the parameters.
        test_error: mean absolute error of each parameter over the test cells.
        test_mse: mean square error over all.
        training, validation: mean square error of each epoch.
        settings: how it was made.
    """

    network: Network
    names: tuple[str, ...]
    test_error: Float[np.ndarray, " parameters"]
    test_mse: float
    training: Float[np.ndarray, " epochs"]
    validation: Float[np.ndarray, " epochs"]
    settings: dict[str, Any]

    def __call__(self, observed: Float[np.ndarray, "cells windows"]) -> Float[np.ndarray, "cells parameters"]:
        return np.asarray(_predict(self.network, jnp.asarray(observed, jnp.float32)), np.float64)


def _check_sizes(unit: float, **sizes: int) -> None:
    check("unit", unit, "", "> 0, finite", lambda x: 0 < x < np.inf)
    for name, size in sizes.items():
        check_whole(name, size, "")


@eqx.filter_jit
def _predict(network, observed):
    return network(observed)


def training_cells(
    experiment: Experiment, n: int, *, spread: float, seed: int, progress: bool | Callable[[float], None] = False
) -> tuple[Float[np.ndarray, "n parameters"], Float[np.ndarray, "n windows"]]:
    """theta (float32) and the noiseless observations of n cells, uniform in +-spread; those that failed left out."""
    theta = Uniform(spread).factors(experiment.names, seed=SEED_OF_CELLS + seed, indices=np.arange(n)) - 1
    observed = experiment.currents_of(theta, progress=progress)
    good = np.isfinite(observed).all(axis=1)
    return theta[good].astype(np.float32), observed[good]


@typed
def train(
    experiment: Experiment,
    *,
    cells: int = 10_000,
    spread: float = 0.2,
    sigma: float = 0.05,
    seed: int = 0,
    build: Callable[..., Network] = improved,
    epochs: int = 40,
    batch: int = 256,
    rate: float = 1e-3,
    patience: int | None = None,
    checkpoint: str | Path | None = None,
    progress: bool | Callable[[float], None] = False,
) -> Trained:
    """Simulates cells under the experiment's command and trains a network to name their parameters.

    Args:
        experiment: the command, and which samples are seen.
        cells: how many to simulate; `SHARES` says what for.
        spread: theta is uniform in +-spread.
        sigma: standard deviation of white noise on every raw sample, pA/pF; 0 for none. Fresh in every epoch.
        seed: of the cells, the first weights, the order and the noise. Cells differ from those of a user's seeds.
        build: `improved` or `published`, or the like.
        epochs, batch: how often each cell is seen, and how many together.
        rate: highest learning rate; it falls to a hundredth along half a cosine.
        patience, checkpoint, progress: as for `training.fit`.

    ValueError: an argument out of its range, by name.
    """
    check_whole("cells", cells, "cells", least=100)
    check("spread", spread, "", "0 < spread < 1", lambda x: 0 < x < 1)
    check("sigma", sigma, "pA/pF", ">= 0", lambda x: np.isfinite(x) and x >= 0)
    check("rate", rate, "", "> 0, finite", lambda x: 0 < x < np.inf)
    check_seed(seed, bits=31)  # SEED_OF_CELLS is added
    for name, count in (("epochs", epochs), ("batch", batch), ("patience", 1 if patience is None else patience)):
        check_whole(name, count, "cells" if name == "batch" else "epochs")
    if checkpoint is not None:
        check_place(checkpoint)
    theta, clean = training_cells(experiment, cells, spread=spread, seed=seed, progress=progress)
    first, second = (int(len(theta) * share) for share in np.cumsum(SHARES)[:2])
    parts = slice(0, first), slice(first, second), slice(second, None)
    batch = min(batch, first)
    noise = (max(sigma, 1e-3) / np.sqrt(experiment.windows.counts)).astype(np.float32)
    unit = spread / np.sqrt(3)
    key = jax.random.key(seed)
    network = build(clean[parts[0]], noise, theta.shape[1], float(unit), key=key)
    added = (sigma / np.sqrt(experiment.windows.counts)).astype(np.float32)

    def loss(mlp, batch):
        observed, wanted, key = batch
        noisy = observed + added[None] * jax.random.normal(key, observed.shape, jnp.float32)
        return jnp.mean((jax.vmap(lambda one: mlp(network.front(one)))(noisy) - wanted) ** 2)

    def batches(epoch: int) -> Iterator[Any]:
        order = np.random.default_rng((seed, epoch)).permutation(first)
        keys = jax.random.split(jax.random.fold_in(key, epoch), len(order) // batch)
        for k, some in enumerate(np.split(order[: len(keys) * batch], len(keys))):
            yield clean[some], theta[some] / np.float32(unit), keys[k]

    held_out = np.random.default_rng((seed, 2**32)).standard_normal((len(clean) - first, clean.shape[1]), np.float32)
    seen = clean[first:] + added * held_out
    judge = partial(_predict, observed=jnp.asarray(seen[: second - first]))

    def validate(mlp) -> float:
        found = judge(dataclasses.replace(network, mlp=mlp))
        return float(np.mean((np.asarray(found) - theta[parts[1]]) ** 2))

    each_epoch = first // batch
    warmup = min(each_epoch, epochs * each_epoch - 1)
    schedule = optax.warmup_cosine_decay_schedule(0.0, rate, warmup, epochs * each_epoch, rate / 100)
    done = fit(
        network.mlp, loss, batches, validate, optimiser=optax.adamw(schedule), epochs=epochs,
        patience=patience, checkpoint=checkpoint, progress=progress,
    )  # fmt: skip
    network = dataclasses.replace(network, mlp=done.model)
    wrong = np.asarray(_predict(network, jnp.asarray(seen[second - first :]))) - theta[parts[2]]
    settings = {"cells": cells, "spread": spread, "sigma": sigma, "seed": seed, "epochs": epochs, "batch": batch}
    return Trained(
        network=network,
        names=experiment.names,
        test_error=np.abs(wrong).mean(axis=0),
        test_mse=float(np.mean(wrong**2)),
        training=done.training * unit**2,
        validation=done.validation,
        settings=settings | {"rate": rate, "build": build.__name__, "experiment": experiment.digest},
    )


@typed
def save_network(path: str | Path, trained: Trained) -> None:
    """Writes a trained network: a line of JSON, then its leaves."""
    mlp = trained.network.mlp
    about = {
        "settings": trained.settings,
        "names": trained.names,
        "shape": (trained.network.front.mean.shape[0], mlp.in_size, mlp.width_size, mlp.depth),
        "unit": trained.network.unit,
        "test_error": trained.test_error.tolist(),
        "test_mse": trained.test_mse,
        "training": trained.training.tolist(),
        "validation": trained.validation.tolist(),
    }
    write_network(path, FORMAT, about, trained.network)


@typed
def load_network(path: str | Path) -> Trained:
    """Reads what `save_network` wrote; anything else is a ValueError that names the path."""
    about, network = read_network(path, FORMAT, _empty)
    series = {k: np.asarray(about[k], np.float64) for k in ("test_error", "training", "validation")}
    return Trained(network, tuple(about["names"]), test_mse=about["test_mse"], settings=about["settings"], **series)


def _empty(about: dict[str, Any]) -> Network:
    """A network of the same structure, to be filled."""
    _check_about(about)
    windows, inputs, width, depth = about["shape"]
    mean = np.broadcast_to(np.float32(0), windows)
    if about["settings"]["build"] == improved.__name__:
        front, activation = FrontEnd(mean, mean, np.broadcast_to(np.float32(0), (windows, inputs))), jax.nn.silu
    else:
        front, activation = Standardise(mean, mean), jnp.tanh
    mlp = eqx.nn.MLP(
        inputs, len(about["names"]), width, depth, activation=activation, dtype=jnp.float32, key=jax.random.key(0)
    )
    return Network(front, mlp, about["unit"])


def _check_about(about: dict[str, Any]) -> None:
    """That the line of a file describes a trained network. ValueError: by name."""
    names, settings, shape = about["names"], about["settings"], about["shape"]
    if not isinstance(shape, list) or len(shape) != 4:
        raise refusal("shape", shape, "", "windows, inputs, width and depth")
    for name, x in zip(("windows", "inputs", "width", "depth"), shape, strict=True):
        check_whole(f"shape: {name}", x, "")
    if shape[3] > DEEPEST:
        raise refusal("shape: depth", shape[3], "layers", f"at most {DEEPEST}")
    if not isinstance(names, list) or not names or not all(isinstance(x, str) for x in names):
        raise refusal("names", names, "", "a list of names of parameters")
    if not isinstance(settings, dict) or not {"build", "experiment"} <= settings.keys():
        raise refusal("settings", settings, "", "an object with build and experiment")
    for name in ("unit", "test_mse"):
        check_known(name, about[name], "", "a number", lambda x: True)
    for name, shape in (("test_error", (len(names),)), ("training", None), ("validation", None)):
        check(name, about[name], "", "numbers", lambda x, shape=shape: x.ndim == 1 and shape in (None, x.shape))
