"""A twin: from a recording to the parameters of the cell, what is known of them, and whether they can be believed."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from jaxtyping import Float

from ..annotations import typed
from ..arguments import check, check_seed, check_whole, refusal
from ..cell import AbstractCell
from ..files.hdf5 import read_hdf5
from ..files.reading import FLOATS, Group
from ..files.records import cell_from_json, cell_to_json, versions
from ..files.writing import put, write_hdf5
from .experiment import Experiment
from .network import Trained, train
from .recording import Recording
from .refine import Posterior, check_float64, refine
from .rig import measured_noise

FORMAT, FORMAT_VERSION = "jaxcardio twin", 1
LEVEL = 1.6449
"""Standard deviations to either end of a 90 % interval."""
MISFIT = 1.25
"""Mean square residual (in units of the noise) beyond which the model does not describe a recording."""
OUTSIDE = 4.0
"""Posterior standard deviations beyond the prior's range from which a parameter is outside (52 are looked at)."""
STARTS = 4
"""Fits of a recording at most: another one only where those before it have found no optimum that fits."""
UNSEEN = 0.1
"""A direction of which the recording knows less than this part of what the prior knows is not seen."""


@dataclasses.dataclass(frozen=True, eq=False)
class Twin:
    """What one recording says of a cell. On the host, float64.

    Attributes:
        base: the cell around which theta = p / p0 - 1 is relative.
        names: the parameters.
        mean, covariance: of the Gaussian posterior of theta.
        prior_sd: standard deviation of theta before the recording.
        information, directions: see `Posterior`.
        guess: what the network said, where the fit began.
        sigma: standard deviation of the noise of one raw sample, pA/pF, as measured.
        chi2: mean square residual of the fit in units of the noise.
        check: the same for a recording that was not fitted, the posterior's own spread allowed for; NaN without one.
        times, observed, fitted: the windows (ms), what was recorded there and the twin's current, pA/pF.
        doubts: why the twin should not be believed, a sentence each; empty if there is no reason.
        settings: how it was made.
    """

    base: AbstractCell
    names: tuple[str, ...]
    mean: Float[np.ndarray, " parameters"]
    covariance: Float[np.ndarray, "parameters parameters"]
    prior_sd: Float[np.ndarray, " parameters"]
    information: Float[np.ndarray, " parameters"]
    directions: Float[np.ndarray, "parameters parameters"]
    guess: Float[np.ndarray, " parameters"]
    sigma: float
    chi2: float
    check: float
    times: Float[np.ndarray, " windows"]
    observed: Float[np.ndarray, " windows"]
    fitted: Float[np.ndarray, " windows"]
    doubts: tuple[str, ...]
    settings: dict[str, Any]

    @property
    def cell(self) -> AbstractCell:
        """The most probable cell, at the temperature of the recording."""
        known = self.base.parameters()
        return self.base.replace(
            **{name: known[name].value * (1 + x) for name, x in zip(self.names, self.mean, strict=True)}
        )

    @property
    def sd(self) -> Float[np.ndarray, " parameters"]:
        """Standard deviation of each parameter's theta."""
        return np.sqrt(np.diag(self.covariance))

    def interval(self) -> tuple[Float[np.ndarray, " parameters"], Float[np.ndarray, " parameters"]]:
        """Ends of the 90 % interval of theta."""
        return self.mean - LEVEL * self.sd, self.mean + LEVEL * self.sd

    def unseen(self) -> list[dict[str, float]]:
        """Directions of which the recording says nothing, each as its share of every parameter that matters in it."""
        return unseen_directions(self.names, self.information, self.directions)

    def table(self) -> str:
        """Every parameter with its unit and 90 % interval, and what may be thought of the whole, as text."""
        return _table(self)

    def save(self, path: str | Path) -> None:
        """Writes the twin as HDF5, whole or not at all."""

        def write(file: h5py.File) -> None:
            file.attrs.update(format=FORMAT, format_version=FORMAT_VERSION)
            plain = {"base": cell_to_json(self.base), "names": self.names, "doubts": self.doubts}
            numbers = {"sigma": self.sigma, "chi2": self.chi2, "check": self.check}
            file.attrs["about"] = json.dumps(plain | numbers | {"settings": self.settings, "versions": versions()})
            for name, unit in _ARRAYS.items():
                put(file, name, getattr(self, name), unit)

        write_hdf5(path, write)

    @staticmethod
    def load(path: str | Path) -> "Twin":
        """Reads what `save` wrote; a file that is truncated, foreign or of another version is a ValueError."""
        return read_hdf5(path, FORMAT, FORMAT_VERSION, _read)


_ARRAYS = {
    "mean": "1", "covariance": "1", "prior_sd": "1", "information": "prior", "directions": "prior sd", "guess": "1",
    "times": "ms", "observed": "pA/pF", "fitted": "pA/pF",
}  # fmt: skip


@typed
def build(
    recording: Recording,
    *,
    check_recording: Recording | None = None,
    spread: float = 0.2,
    trained: Trained | None = None,
    cells: int = 10_000,
    starts: int = STARTS,
    seed: int = 0,
    cell: AbstractCell | None = None,
    progress: bool | Callable[[float], None] = False,
) -> Twin:
    """The twin of a recorded cell: a network's guess, refined by Levenberg-Marquardt through the simulator.

    Args:
        recording: current under a voltage command, well clamped (else see `rig`).
        check_recording: another recording of the same cell, that is not fitted but predicted.
        spread: the prior: every parameter within +-spread of `cell`, treated as Gaussian of that standard deviation.
        trained: a network for this command; default: one is trained, which takes a minute or two.
        cells: how many simulated cells to train it on.
        starts: fits at most: from the network's guess and, where that leads to no optimum that fits, from about it.
        seed: of training and starts.
        cell: default `KernikClancy2019()`; it gets the temperature of the recording.
        progress: True for bars on stderr.

    ValueError: an argument out of its range; a network that was trained for another command; JAX without float64.
    """
    check_float64()
    check("spread", spread, "", "0 < spread < 1", lambda x: 0 < x < 1)
    check_whole("starts", starts, "fits")
    check_whole("cells", cells, "cells", least=100)
    check_seed(seed, bits=31)
    experiment = Experiment.of(recording, cell)
    windows = experiment.windows
    sigma = float(measured_noise(recording.current, windows))
    if trained is None:
        trained = train(experiment, cells=cells, spread=spread, sigma=sigma, seed=seed, progress=progress)
    elif trained.settings["experiment"] != experiment.digest:
        raise ValueError(
            "trained: a network for another command, temperature or model; allowed: one for this recording"
        )
    observed, noise = windows.averages(recording.current), sigma / np.sqrt(windows.counts)
    guess, found = fitted(
        experiment, observed[None], noise, trained, spread=spread, starts=starts, seed=seed, progress=progress
    )
    checked = np.nan
    if check_recording is not None:
        checked = predicted_misfit(experiment, check_recording, found)
    doubts = doubts_of(found, 0, experiment.names, spread, checked)
    settings = {"recording": recording.name, "spread": spread, "starts": starts, "seed": seed}
    settings["training"] = trained.settings
    one = {k: getattr(found, k)[0] for k in ("mean", "covariance", "information", "directions", "fitted")}
    return Twin(
        base=experiment.cell, names=experiment.names, **one, prior_sd=prior_sd_of(experiment, spread), guess=guess[0],
        sigma=sigma, chi2=float(found.chi2[0]), check=float(checked), times=windows.times, observed=observed,
        doubts=doubts, settings=settings,
    )  # fmt: skip


def prior_sd_of(experiment: Experiment, spread: float) -> Float[np.ndarray, " parameters"]:
    """Standard deviation of theta, uniform within +-spread."""
    return np.full(len(experiment.names), spread / np.sqrt(3))


@typed
def fitted(
    experiment: Experiment,
    observed: Float[np.ndarray, "cells windows"],
    noise: Float[np.ndarray, " windows"],
    trained: Trained,
    *,
    spread: float,
    starts: int = STARTS,
    seed: int = 0,
    progress: bool | Callable[[float], None] = False,
) -> tuple[Float[np.ndarray, "cells parameters"], Posterior]:
    """The network's guess of each cell, and the posterior that `refine` finds from there.

    Cells whose fit has not converged, or leaves a misfit, are fitted again from points about the guess.

    Args:
        experiment, observed, noise: as for `refine`.
        trained: a network for this experiment.
        spread, starts, seed, progress: as for `build`.
    """
    check("spread", spread, "", "0 < spread < 1", lambda x: 0 < x < 1)
    check_whole("starts", starts, "fits")
    check_seed(seed)
    guess = np.clip(trained(observed), -1.5 * spread, 1.5 * spread)
    prior = np.zeros(guess.shape[1]), prior_sd_of(experiment, spread)
    about = np.random.default_rng(seed).standard_normal((starts - 1, guess.shape[1])) * trained.test_error
    found = refine(experiment, observed, noise, guess[:, None], *prior, progress=progress)
    for moved in about:
        poor = np.flatnonzero(~(found.converged & (found.chi2 < MISFIT)))
        if len(poor):
            begun = (guess[poor] + moved)[:, None]
            found = found.improved(poor, refine(experiment, observed[poor], noise, begun, *prior, progress=progress))
    return guess, found


def predicted_misfit(experiment: Experiment, recording: Recording, posterior: Posterior, cell: int = 0) -> float:
    """Mean square difference between a recording that was not fitted and its prediction, in units of both's variance:
    near 1 where the prediction and its uncertainty are right."""
    other = Experiment.of(recording, experiment.cell)
    windows = other.windows
    current, jacobian = (np.asarray(x)[0] for x in other.linearised(posterior.mean[cell : cell + 1]))
    noise = measured_noise(recording.current, windows) ** 2 / windows.counts
    variance = noise + np.einsum("wp,pq,wq->w", jacobian, posterior.covariance[cell], jacobian)
    return float(np.mean((windows.averages(recording.current) - current) ** 2 / variance))


def unseen_directions(
    names: tuple[str, ...], information: Float[np.ndarray, " p"], directions: Float[np.ndarray, "p p"]
) -> list[dict[str, float]]:
    """Directions (prior standard deviations) with less information than `UNSEEN`, by parameter, largest share first."""
    found = []
    for k in np.flatnonzero(information < UNSEEN):
        order = np.argsort(-np.abs(directions[:, k]))
        found.append({names[i]: float(directions[i, k]) for i in order if abs(directions[i, k]) > 0.1})
    return found


@typed
def doubts_of(
    posterior: Posterior, cell: int, names: tuple[str, ...], spread: float, checked: float = np.nan
) -> tuple[str, ...]:
    """Why a twin should not be believed: a fit that has not ended, a misfit, a failed check, parameters outside."""
    check("spread", spread, "", "0 < spread < 1", lambda x: 0 < x < 1)
    check("cell", cell, "", f"0 to {len(posterior.mean) - 1}", lambda x: 0 <= x < len(posterior.mean))
    doubts = []
    mean, sd = posterior.mean[cell], posterior.sd[cell]
    if not posterior.converged[cell]:
        doubts.append("the fit has not converged")
    if not posterior.chi2[cell] < MISFIT:
        doubts.append(
            f"no cell within the prior gives this current: mean square residual {posterior.chi2[cell]:.3g} times the "
            f"noise's (allowed: < {MISFIT:g})"
        )
    if np.isfinite(checked) and not checked < MISFIT:
        doubts.append(f"the recording that was not fitted is missed: {checked:.3g} (allowed: < {MISFIT:g})")
    outside = (np.abs(mean) - spread > OUTSIDE * sd) & (sd < 0.5 * spread / np.sqrt(3))
    if outside.any():
        worst = ", ".join(f"{names[k]} {100 * mean[k]:+.0f} %" for k in np.flatnonzero(outside))
        doubts.append(f"outside +-{100 * spread:g} % of the model: {worst}; try a wider spread")
    return tuple(doubts)


def _read(file: Group) -> Twin:
    about = file.json("about")
    if missing := {"base", "names", "doubts", "sigma", "chi2", "check", "settings"} - set(about):
        raise ValueError(f"attribute about: no {min(missing)}")
    base = cell_from_json(about["base"])
    known = base.parameters()
    names, doubts, settings = about["names"], about["doubts"], about["settings"]
    if not _are_texts(names) or len(set(names)) < len(names) or not set(names) <= set(known):
        raise refusal("attribute about: names", names, "", "names of the model's parameters, each once")
    if not _are_texts(doubts) or not isinstance(settings, dict):
        raise ValueError("attribute about: doubts or settings; allowed: a list of texts, and an object")
    for name in ("sigma", "chi2", "check"):
        if isinstance(about[name], bool) or not isinstance(about[name], int | float):
            raise refusal(f"attribute about: {name}", about[name], "", "a number")
    sizes = {"parameters": len(names), "windows": file.dataset("times").shape[0] if file.dataset("times").shape else 0}
    arrays: dict[str, Any] = {}
    for name, unit in _ARRAYS.items():
        axes = str(Twin.__annotations__[name].dim_str).split()
        arrays[name] = file.numbers(name, tuple(sizes[axis] for axis in axes), FLOATS, unit)
    return Twin(
        base=base, names=tuple(names), doubts=tuple(doubts), settings=settings,
        sigma=about["sigma"], chi2=about["chi2"], check=about["check"], **arrays,
    )  # fmt: skip


def _are_texts(x: Any) -> bool:
    return isinstance(x, list) and all(isinstance(y, str) for y in x)


def _table(twin: Twin) -> str:
    known = twin.base.parameters()
    rows = [("parameter", "unit", "value", "change %", "90 % interval", "known")]
    for name, mean, sd, prior in zip(twin.names, twin.mean, twin.sd, twin.prior_sd, strict=True):
        value = f"{float(known[name].value) * (1 + mean):.5g}"
        interval = f"{100 * (mean - LEVEL * sd):+.1f} to {100 * (mean + LEVEL * sd):+.1f}"
        how_well = "not" if sd > 0.9 * prior else "partly" if sd > 0.3 * prior else "well"
        rows.append((name, known[name].unit, value, f"{100 * mean:+.1f}", interval, how_well))
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    lines = ["  ".join(f"{text:<{w}}" for text, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.append(
        f"noise {twin.sigma:.3g} pA/pF a sample; mean square residual {twin.chi2:.3f} of the noise's"
        + (f", {twin.check:.3f} on the recording that was not fitted" if np.isfinite(twin.check) else "")
    )
    unseen = twin.unseen()
    lines.append(f"{len(unseen)} directions that this recording does not see at all:")
    for shares in unseen:
        lines.append("  " + " ".join(f"{share:+.2f} {name}" for name, share in shares.items()))
    doubts = [f"doubt: {doubt}" for doubt in twin.doubts]
    lines += doubts or ["no doubts: fit, residual, ranges and check are as they should be"]
    return "\n".join(lines)
