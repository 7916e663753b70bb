"""A recording to try things with: of a simulated cell that no network has seen, with noise, and its truth beside it."""

import dataclasses
from pathlib import Path

import h5py
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..annotations import typed
from ..arguments import COLDEST, WARMEST, check, check_seed
from ..files.writing import check_replaceable, put, write_hdf5
from ..models import KernikClancy2019
from ..population import Uniform
from ..protocols import AbstractProtocol
from ..simulation.simulate import simulate
from .experiment import OUTPUT, Experiment
from .protocols import LENGTH, designed, random_steps
from .recording import Recording
from .windows import windows_of

RATE = 10.0
"""Samples a ms, as an amplifier takes them."""
FORMAT = "jaxcardio example recording"


@typed
def recorded(
    theta: Float[np.ndarray, " parameters"],
    protocol: AbstractProtocol,
    *,
    sigma: float = 0.05,
    seed: int = 0,
    temperature: float = 310.0,
    t1: float = LENGTH,
    name: str = "simulated cell",
) -> Recording:
    """The clean recording of a Kernik-Clancy cell at 10 kHz, with white noise of `sigma` (pA/pF) on every sample."""
    check("sigma", sigma, "pA/pF", ">= 0", lambda x: np.isfinite(x) and x >= 0)
    check_seed(seed)
    check("temperature", temperature, "K", f"{COLDEST:g} to {WARMEST:g} K", lambda x: COLDEST <= x <= WARMEST)
    base = KernikClancy2019(temperature=temperature)
    cell = Experiment(protocol, windows_of(protocol, t1, 1 / RATE), base).cells(jnp.asarray(theta))
    ts = np.arange(round(t1 * RATE)) / RATE
    clean = np.asarray(getattr(simulate(cell, protocol, t1=t1, save_at=ts, outputs=[OUTPUT]).ys, OUTPUT))
    noise = sigma * np.random.default_rng(seed).standard_normal(len(ts))
    return Recording(protocol, clean + noise, 1 / RATE, temperature, float(base.C_m), name)


@typed
def write_example(path: str | Path, *, index: int = 0, spread: float = 0.2, sigma: float = 0.05, seed: int = 1) -> None:
    """Writes the designed protocol's recording of cell `index` of a population, a second one to judge a twin by (other
    steps, group `check`), and the true theta (dataset `truth`, which nothing here reads but tests and figures).

    ValueError: a file is there that is no such example, or no file can be written.
    """
    check("sigma", sigma, "pA/pF", ">= 0", lambda x: np.isfinite(x) and x >= 0)
    check_seed(seed)
    check_seed(index, "index")
    names = KernikClancy2019.SIX_CURRENTS
    theta = Uniform(spread).factors(names, seed=seed, indices=np.array([index]))[0] - 1
    check_replaceable(path, FORMAT)
    first = recorded(theta, designed(), sigma=sigma, seed=seed, name=f"simulated cell {index} of seed {seed}")
    other = recorded(theta, random_steps(seed), sigma=sigma, seed=seed + 1)

    def write(file: h5py.File) -> None:
        file.attrs["format"] = FORMAT
        first.put(file)
        dataclasses.replace(other, name="check").put(file, "check")
        put(file, "truth", theta, "p / p0 - 1").attrs["names"] = list(names)

    write_hdf5(path, write)
