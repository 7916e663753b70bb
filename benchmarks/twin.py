"""Digital twins against the cells that they stand for: every bar, on cells that no training has seen.

    python benchmarks/twin.py [--parts network refined ...] [--quick] [--out DIR]

prints a table of what was asked for, what was found and whether it is met, and writes twin.json after each part;
parts not asked for keep what an earlier run found. `--quick`: few cells and short training, to see that it works.

| part | what |
|---|---|
| `network` | theta read off the designed clamp by networks: 1,000 and 10,000 cells, and as published |
| `large` | the same with 200,000 cells (some twenty minutes) |
| `refined` | +-20 %, 310 K: network, then Levenberg-Marquardt; the twins' beats against the true cells' |
| `wide` | the same, +-40 %, 298 K (beats at 310 K) |
| `rig` | series resistance, leak, capacitance and offsets unknown, against the clean recording of the same cells |
| `design` | designed protocols against the published style, staircases and random ones, three seeds |
| `study` | E-4031 on 4000 cells around two twins |

Fits begin at the guess of a network trained on 10,000 cells. Cells are uniform in +-spread in all 52
parameters, noise is 0.05 pA/pF on every sample at 10 kHz, and the clamp is `twin.protocols.designed()` where nothing
else is said. An error is |theta - true theta|: its mean over cells for each parameter, and of these the median. z is
(theta - true theta) / posterior sd, over all cells and parameters.
"""

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from common import RESULTS, machine, table, write_json

import jaxcardio as jc
from jaxcardio import twin
from jaxcardio.twin import protocols

SIGMA = 0.05
SEED = 1
"""Of the cells that are tested; trainings draw from seeds of their own."""
ROOM, BODY = 298.0, 310.0
BLANK = 0.3
"""After each edge, ms: the amplifier's own poles are not in the model of the rig; the transient after them is."""
Bars = dict[str, tuple[float, float]]
"""Of what was found: lowest and highest that will do."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def experiment_of(temperature: float = BODY, protocol=None, blank: float = 0.0) -> twin.Experiment:
    protocol = protocols.designed() if protocol is None else protocol
    cell = jc.models.KernikClancy2019(temperature=temperature)
    return twin.Experiment(protocol, twin.windows_of(protocol, protocols.LENGTH, blank=blank), cell)


def cells_and_recordings(experiment, n: int, spread: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """theta, noisy windows, and their noise. Windows of white noise are white: it is added to the windows."""
    names = experiment.names
    theta = jc.population.Uniform(spread).factors(names, seed=SEED, indices=np.arange(n)) - 1
    clean = experiment.currents_of(theta, dtype="float64")
    noise = SIGMA / np.sqrt(experiment.windows.counts)
    return theta, clean + noise * np.random.default_rng(SEED).standard_normal(clean.shape), noise


def median_error(found: np.ndarray, theta: np.ndarray) -> float:
    return float(np.median(np.abs(found - theta).mean(axis=0)))


# --- networks --------------------------------------------------------------------------------------------------------


@functools.cache
def network(
    cells: int, spread: float = 0.2, temperature: float = BODY, how: str = "improved", blank: float = 0.0, **options
) -> Any:
    """A trained network, and the seconds that its cells and training took."""
    began = time.perf_counter()
    build = getattr(twin, how)
    trained = twin.train(
        experiment_of(temperature, blank=blank),
        cells=cells,
        spread=spread,
        sigma=SIGMA,
        build=build,
        progress=True,
        **options,
    )
    return trained, time.perf_counter() - began


def network_row(what: str, cells: int, bars: Bars, **how) -> dict[str, Any]:
    trained, seconds = network(cells, **how)
    parameters = sum(x.size for x in jax.tree.leaves(trained.network.mlp) if hasattr(x, "size"))
    found = {"median_error": float(np.median(trained.test_error)), "mse": trained.test_mse, "seconds": seconds}
    return row(what, found | {"weights": parameters, "test_cells": round(0.2 * cells)}, bars)


def measure_network(quick: bool) -> list[dict[str, Any]]:
    few, many = (500, 1000) if quick else (1000, 10_000)
    as_published: dict[str, Any] = dict(
        how="published", rate=1e-4, epochs=3 if quick else 20, batch=max(10, few // 100)
    )
    return [
        network_row(f"network, {few:,} cells", few, {}),
        network_row(
            f"network, {many:,} cells", many, {} if quick else {"median_error": (0, 0.037), "seconds": (0, 300)}
        ),
        network_row(f"network as published, {few:,} cells", few, {}, **as_published),
    ]


def measure_large(quick: bool) -> list[dict[str, Any]]:
    cells = 2000 if quick else 200_000
    return [network_row(f"network, {cells:,} cells", cells, {"median_error": (0, 0.020)}, batch=512, epochs=30)]


# --- refinement ------------------------------------------------------------------------------------------------------


def measure_refined(quick: bool, spread: float = 0.2, temperature: float = BODY) -> list[dict[str, Any]]:
    n = 4 if quick else 64
    experiment = experiment_of(temperature)
    trained, _ = network(1000 if quick else 10_000, spread, temperature)
    theta, observed, noise = cells_and_recordings(experiment, n, spread)
    began = time.perf_counter()
    guess, found = twin.fitted(experiment, observed, noise, trained, spread=spread, progress=True)
    z = (found.mean - theta) / found.sd
    near: Bars = {"median_error": (0, 0.010), "converged": (0.98, 1), "z_sd": (0.9, 1.15)}
    far: Bars = {"median_error": (0, 0.030), "converged": (0.95, 1), "z_sd": (0, 1.25)}
    of = f"+-{100 * spread:g} %, {temperature:g} K"
    fits = {
        "cells": n,
        "median_error": median_error(found.mean, theta),
        "network_error": median_error(guess, theta),
        "converged": float(found.converged.mean()),
        "z_sd": float(z.std()),
        "z_sd_of_cells": np.sort(z.std(axis=1)).tolist(),
        "chi2": np.sort(found.chi2).tolist(),
        "doubted": [int(k) for k in range(n) if twin.doubts_of(found, k, experiment.names, spread)],
        "seconds": time.perf_counter() - began,
    }
    return [
        row(f"network + refinement, {of}", fits, far if spread > 0.2 else near),
        beats_row(f"twins' beats, {of}", experiment, theta, found),
    ]


def beats_row(what: str, experiment, theta: np.ndarray, found) -> dict[str, Any]:
    """Both at body temperature, from the published state."""
    base = experiment.cell.replace(temperature=BODY)
    cells = [
        twin.Experiment(experiment.protocol, experiment.windows, base).cells(jnp.asarray(x))
        for x in (found.mean, theta)
    ]
    compared = twin.compare(*cells, progress=True)
    say(compared.table())
    both = compared.true_beats
    errors = {
        "beating": int(both.sum()),
        "within": float(compared.passes()[both].mean()),
        "worst_apd90_percent": float(100 * np.nanmax(np.abs(compared.apd90_error))),
        "worst_rmse_mV": float(np.nanmax(compared.rmse)),
        "outcomes": {name: int((compared.outcome == name).sum()) for name in dict.fromkeys(compared.outcome)},
    }
    return row(what, errors, {"within": (0.95, 1)})


def measure_wide(quick: bool) -> list[dict[str, Any]]:
    return measure_refined(quick, 0.4, ROOM)


def measure_rig(quick: bool) -> list[dict[str, Any]]:
    """The same cells and noise, clean and behind a rig of which only the amplifier's settings are known."""
    n, spread, began = 2 if quick else 16, 0.2, time.perf_counter()
    experiment = experiment_of()
    trained, _ = network(1000 if quick else 10_000)
    theta, observed, noise = cells_and_recordings(experiment, n, spread)
    _, clean = twin.fitted(experiment, observed, noise, trained, spread=spread, progress=True)
    known = twin.Rig(R_s=10.0, C_cell=60.0, C_set=60.0, g_leak=1.0, alpha=0.7)
    seen = experiment_of(blank=BLANK)
    ideal, _ = network(1000 if quick else 10_000, blank=BLANK)
    rigged = twin.RigExperiment(seen, known, spread=spread)
    change = np.random.default_rng(SEED).standard_normal((n, len(rigged.unknown))) * list(rigged.unknown.values())
    truth = np.concatenate([theta, change], axis=1)
    current = np.concatenate([np.asarray(rigged.linearised(jnp.asarray(x[None]))[0]) for x in truth])
    noise = SIGMA / np.sqrt(seen.windows.counts)
    observed = current + noise * np.random.default_rng(SEED).standard_normal(current.shape)
    guess = np.clip(ideal(observed), -1.5 * spread, 1.5 * spread)  # as if there were no rig
    start = np.concatenate([guess, np.zeros((n, len(rigged.unknown)))], axis=1)
    found = twin.refine(rigged, observed, noise, start[:, None], rigged.prior_mean, rigged.prior_sd, progress=True)
    errors = [median_error(x[:, :52], theta) for x in (clean.mean, found.mean)]
    wrong = np.abs(found.mean[:, 52:] - change)
    values = {
        "cells": n,
        "clean_error": errors[0],
        "rig_error": errors[1],
        "network_error": median_error(guess, theta),
        "ratio": errors[1] / errors[0],
        "converged": float(found.converged.mean()),
        "z_sd": float(((found.mean - truth) / found.sd).std()),
        "rig_parameters": {name: float(x) for name, x in zip(rigged.unknown, wrong.mean(axis=0), strict=True)},
        "seconds": time.perf_counter() - began,
    }
    return [row("rig unknown against clean", values, {"ratio": (0, 1.5)})]


# --- protocols -------------------------------------------------------------------------------------------------------


def measure_design(quick: bool) -> list[dict[str, Any]]:
    """Excess of the expected mean square error over its floor, on cells that no design has seen."""
    judged = (
        jc.population.Uniform(0.2).factors(experiment_of().names, seed=SEED, indices=np.arange(4 if quick else 16)) - 1
    )
    space = protocols.Space(length=500.0, probes=()) if quick else protocols.Space()

    def excess(protocol) -> float:
        windows = twin.windows_of(protocol, space.length)
        return protocols.criterion(twin.Experiment(protocol, windows), judged) - protocols.floor()

    step = space.one_step()
    rows = []
    compared = {"I-V staircase": protocols.iv_staircase(), "hERG staircase": protocols.herg_staircase()}
    shared = {} if quick else {name: excess(protocol) for name, protocol in compared.items()}
    for seed in range(1 if quick else 3):
        say(f"design, seed {seed}")
        searched = (
            jc.population.Uniform(0.2).factors(step.names, seed=100 + seed, indices=np.arange(2 if quick else 8)) - 1
        )
        greedy = protocols.design_by_information(searched, space=space, step=step, progress=True)
        steps = [0, *(round(at / space.step) for at, _ in space.probes)]
        finer = protocols.refine_by_gradient(
            greedy.protocol, searched[:4], step=step, fixed=steps, iterations=2 if quick else 10, progress=True
        )
        found = {"greedy": excess(greedy.protocol), "refined": excess(finer.protocol)}
        found["random"] = min(excess(protocols.random_steps(10 * seed + k, space)) for k in range(1 if quick else 3))
        published = published_style(space, seed, quick)
        found["network_greedy"] = excess(published)
        best = min(x for name, x in {**found, **shared}.items() if name not in ("greedy", "refined"))
        rows.append(
            row(f"designed protocol, seed {seed}", {**found, **shared, "of_the_best_other": found["refined"] / best},
                {"of_the_best_other": (0, 1)})
        )  # fmt: skip
    return rows


def published_style(space, seed: int, quick: bool):
    """The paper's search: after each step the level whose trained network has the lowest error (a small network)."""
    n = 200 if quick else 1000
    step = space.one_step(growth=1.5)
    theta = jc.population.Uniform(0.2).factors(step.names, seed=200 + seed, indices=np.arange(n)) - 1
    return protocols.design_by_network(theta, network_error, space=space, step=step, progress=True).protocol


def network_error(observed: np.ndarray, theta: np.ndarray) -> float:
    """Test error of ridge regression on random features of standardised currents: one wide layer, trained at once."""
    random, n = np.random.default_rng(0), len(theta)
    train_, test = slice(0, int(0.8 * n)), slice(int(0.8 * n), n)
    x = np.arcsinh(observed)
    x = (x - x[train_].mean(0)) / (x[train_].std(0) + 1e-3)
    weights = random.standard_normal((x.shape[1], 300)) / np.sqrt(x.shape[1])
    features = np.concatenate([np.tanh(x @ weights), np.ones((n, 1))], axis=1)
    A = features[train_]
    solved = np.linalg.solve(A.T @ A + 1.0 * np.eye(A.shape[1]), A.T @ theta[train_])
    return float(np.mean((features[test] @ solved - theta[test]) ** 2))


# --- drug ------------------------------------------------------------------------------------------------------------


def measure_study(quick: bool) -> list[dict[str, Any]]:
    """Around two twins, as the paper: two refined cells of part `refined` that beat."""
    began, n = time.perf_counter(), 40 if quick else 4000
    experiment = experiment_of()
    trained, _ = network(1000 if quick else 10_000)
    _, observed, noise = cells_and_recordings(experiment, 4 if quick else 8, 0.2)
    _, found = twin.fitted(experiment, observed, noise, trained, spread=0.2, progress=True)
    cells = experiment.cells(jnp.asarray(found.mean))
    viable = np.flatnonzero(jc.population.screen(cells).viable)[:2]
    twins = [jc.population.member(cells, int(k)) for k in viable]
    rows = []
    for temperature in (BODY,) if quick else (BODY, ROOM):
        t1 = 10_000.0 if temperature == BODY else 30_000.0
        studied = twin.study(
            twins, "E-4031", n=n if temperature == BODY else n // 10, temperature=temperature, t1=t1, progress=True
        )
        say(studied.table())
        rate = studied.incidence("ead")
        control = studied.control_apd90()
        at_50 = list(studied.doses).index(50.0)
        values = {
            "cells": len(studied.pooled.reasons),
            "viable": len(studied.pooled.cells),
            "doses_nM": studied.doses.tolist(),
            "ead": np.asarray(rate.estimate).tolist(),
            "ead_low": np.asarray(rate.low).tolist(),
            "ead_high": np.asarray(rate.high).tolist(),
            "ead_at_50nM_percent": 100 * float(rate.estimate[at_50]),
            "apd90_mean_ms": control.mean,
            "apd90_sd_ms": control.sd,
            "monotone": float(studied.is_monotone()),
            "seconds": time.perf_counter() - began,
        }
        rows.append(row(f"E-4031, {values['cells']} cells, {temperature:g} K", values, {"monotone": (1, 1)}))
    return rows


# --- the table -------------------------------------------------------------------------------------------------------

PARTS: dict[str, Callable[[bool], list[dict[str, Any]]]] = {
    "network": measure_network,
    "refined": measure_refined,
    "wide": measure_wide,
    "rig": measure_rig,
    "design": measure_design,
    "study": measure_study,
    "large": measure_large,
}


def row(what: str, found: dict[str, Any], bars: Bars) -> dict[str, Any]:
    """What was found, and of every bar whether it is met."""
    met = {name: bool(low <= found[name] <= high) for name, (low, high) in bars.items()}
    return {"what": what, "found": found, "bars": bars, "met": met}


def lines(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line a number."""
    out = []
    for one in rows:
        for name, x in one["found"].items():
            if isinstance(x, int | float):
                line = {"what": one["what"], "name": name, "found": float(x), "bar": "", "met": ""}
                if name in one["bars"]:
                    low, high = one["bars"][name]
                    line |= {"bar": f"{low:g} to {high:g}", "met": "yes" if one["met"][name] else "no"}
                out.append(line)
    return out


COLUMNS = {
    "what": ("what", "s"),
    "name": ("", "s"),
    "found": ("found", ".4g"),
    "bar": ("bar", "s"),
    "met": ("met", "s"),
}


def benchmark(parts: Sequence[str], quick: bool, out: Path) -> dict[str, Any]:
    path = out / ("twin_quick.json" if quick else "twin.json")
    earlier = json.loads(path.read_text())["parts"] if path.is_file() else {}
    content: dict[str, Any] = {"benchmark": "twin", "quick": quick, "parts": earlier}
    for name in parts:
        say(f"== {name}")
        about = machine()
        content["parts"][name] = {"machine": about, "rows": PARTS[name](quick)}
        write_json(path, content)
        print(table(lines(content["parts"][name]["rows"]), COLUMNS), flush=True)
    return content


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="few cells, short training: to see that it works")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of twin.json")
    given = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    benchmark(given.parts, given.quick, given.out)


if __name__ == "__main__":
    main()
