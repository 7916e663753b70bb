"""Twins of really recorded cells: four human iPSC-CMs, each clamped at ten settings of the amplifier.

    python benchmarks/recorded_twins.py [--data FILE] [--quick] [--out DIR]

prints tables and writes recorded_twins.json. Each recording is fitted by itself (`jaxcardio.twin.recorded_cells`):
conductances and gates of a Kernik-Clancy cell, and the rig. Tables:

- `settings`: what is left of each recording, after the capacitive transient, against its noise and against what the
  discrepancy of the model was found to be; R_s and C beside those of the membrane test before the clamp trials.
- `conductances`: those that the posterior knows (median standard deviation below 0.3 of the prior's), and how many of
  the ten 90 % intervals hold their common mean. Also those it does not know, for the reader to judge.
- `action potential`: of draws from the ten posteriors together, behind the same seal and junction potential, beside the
  cell's own, measured alike.

A finished fit is kept in OUT/recorded_twins until all are done, so that a run that was stopped goes on from there.
"""

import argparse
import hashlib
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import jax
import jax.numpy as jnp
import numpy as np
from common import RESULTS, machine, table, write_json
from jaxtyping import Float

import jaxcardio as jc
from jaxcardio.biomarkers import action_potentials_from
from jaxcardio.cell import AbstractCell, AbstractWrappedCell, Scalar, parameter
from jaxcardio.twin import recorded_cells as rc
from jaxcardio.twin.refine import NEAR as CONVERGED
from jaxcardio.twin.twin import LEVEL, MISFIT

DATA = Path(__file__).parents[2] / "shared" / "data" / "ipsc_patch_clamp.h5"
CELLS = ("3_021021_2_control", "4_021921_1_control", "4_021921_2_control", "5_031221_2_control")
PERCENT = (0, 20, 40, 60, 80)
SETTINGS = {f"rspre_{p}": (0.0, p / 100) for p in PERCENT} | {f"rscomp_{p}": (p / 100, 0.7) for p in PERCENT}
"""Parts of R_s corrected and predicted in each trial, as the study's public analysis code says; and as the transients
show, which grow with the prediction alone. The capacitive transient was cancelled in all of them."""
TESTED = "vcp_0_0"
"""The membrane test before this, the first clamp of every cell, counts."""
DRAWS = 60
"""Of each recording's posterior."""
T1, DISCARD, DT = 10_000.0, 5_000.0, 0.1
FEATURES = {"apd90": "ms", "cycle_length": "ms", "rmp": "mV", "peak": "mV"}
PUBLISHED = {"apd90": "APD90", "cycle_length": "CL", "rmp": "MP", "peak": "Peak"}
STILL = 5.0
"""A potential that varies by less than this (mV) is at rest."""
SMOOTHING = 5.0
"""Of a recorded potential before its features, ms."""
IDENTIFIED = 0.3
"""A parameter is identified where its posterior standard deviation is less than this part of the prior's."""
AGREE, NEAR_TEST, DECIDED = 0.8, 0.3, 0.5
"""Part of the settings that must agree; allowed relative error of R_s and C; where fewer draws do what the
cell did (beat, or rest), there is no prediction of it."""
INTERVAL = (0.05, 0.5, 0.95)


class RecordedCell(NamedTuple):
    """One cell of the file."""

    name: str
    recordings: dict[str, jc.twin.Recording]
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


def load_cell(path: Path, name: str, settings: Sequence[str] = tuple(SETTINGS)) -> RecordedCell:
    """Reads a clamped cell of the file, at some settings; recorded at 37 C."""
    recordings = {s: jc.twin.Recording.load(path, f"{name}/clamp/{s}", temperature=310.0) for s in settings}
    with h5py.File(path, "r") as file:
        group: Any = file[name]
        tests = np.asarray(group["membrane_tests"][()], np.float64)
        before = tuple(str(x) for x in group["membrane_tests"].attrs["before_trial"])
        spontaneous = np.asarray(group["pre_drug_spont"][()], np.float64) if "pre_drug_spont" in group else None
        published = {k.removeprefix("published_"): float(v) for k, v in group.attrs.items() if k.startswith("publ")}
    return RecordedCell(name, recordings, float(tests[:, 0].mean()), tests, before, spontaneous, published)


class SealedCell(AbstractWrappedCell):
    """A cell with a leak through the seal of its pipette, without a clamp."""

    cell: AbstractCell
    g_leak: Scalar = parameter(0.0, "nS/pF", "conductance of the seal; reverses at 0 mV")

    def rates(self, t, y, i_stim):
        return self.cell.rates(t, y, i_stim + self.g_leak * getattr(y, self.potential))


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def fitted(cell: RecordedCell, experiment: rc.RecordedExperiment, keep: Path, steps: dict[str, int]):
    """The posterior, from `keep` if the same code made it; and the seconds that it took."""
    said = (steps, list(cell.recordings), experiment.ideal.digest, dict(rc.WIDE), dict(rc.UNKNOWN_RIG))
    digest = hashlib.sha256(repr(said).encode()).hexdigest()[:12]
    path = keep / f"{cell.name}_{digest}.npz"
    arrays = ("mean", "covariance", "observed", "fitted", "noise", "cost", "decrement")
    if path.is_file():
        with np.load(path) as kept:
            errors = tuple(rc.Discrepancy(*(float(x) for x in row)) for row in kept["discrepancy"])
            known = {name: kept[name] for name in arrays}
            return rc.RecordedPosterior(**known, discrepancy=errors), float(kept["seconds"])
    begin = time.perf_counter()
    found = rc.fit_recorded(
        experiment,
        list(cell.recordings.values()),
        [SETTINGS[s] for s in cell.recordings],
        **steps,
        progress=lambda text: say(f"{cell.name}: {text}"),
    )
    seconds = time.perf_counter() - begin
    keep.mkdir(parents=True, exist_ok=True)
    written = path.with_suffix(".part.npz")
    np.savez(
        written, **{k: getattr(found, k) for k in arrays}, discrepancy=np.array(found.discrepancy), seconds=seconds
    )
    written.replace(path)
    return found, seconds


def setting_rows(cell: RecordedCell, experiment: rc.RecordedExperiment, posterior: rc.RecordedPosterior):
    """One a recording."""
    wrong = posterior.observed - posterior.fitted
    rigs = experiment.rigs(jnp.asarray(posterior.mean), jnp.asarray([SETTINGS[s] for s in cell.recordings]))
    sd = dict(zip(rc.NAMES, posterior.sd.T, strict=True))
    measured_C, measured_R, _ = cell.tests[cell.tested_before.index(TESTED)]
    for k, (name, error) in enumerate(zip(cell.recordings, posterior.discrepancy, strict=True)):
        variance = error.variance(posterior.noise[k], posterior.observed[k])
        yield {
            "setting": name,
            "residual": float(np.sqrt(np.mean(wrong[k] ** 2))),
            "median_residual": float(np.median(np.abs(wrong[k]))),
            "noise": float(np.sqrt(np.mean(posterior.noise[k] ** 2))),
            "ratio": float(np.sqrt(np.mean(wrong[k] ** 2 / posterior.noise[k] ** 2))),
            "explained": float(1 - wrong[k].var() / posterior.observed[k].var()),
            "absolute": error.absolute,
            "relative": error.relative,
            "effective": wrong.shape[1] / error.dependent,
            "chi2": float(np.mean(wrong[k] ** 2 / variance)),
            "converged": bool(posterior.decrement[k] < CONVERGED),
            "R_s": float(rigs.R_s[k]),
            "R_s_sd": float(rigs.R_s[k] * sd["R_s"][k]),
            "R_s_error": float(rigs.R_s[k] / measured_R - 1),
            "C": float(rigs.C_cell[k]),
            "C_sd": float(rigs.C_cell[k] * sd["C_cell"][k]),
            "C_error": float(rigs.C_cell[k] / measured_C - 1),
        }


class Agreement(NamedTuple):
    """Of one unknown over the recordings."""

    consensus: float
    """Mean of the estimates, each weighted by its precision."""
    within: int
    """How many recordings' 90 % intervals hold it."""
    recordings: int
    identified: bool
    """Whether the median standard deviation is less than `IDENTIFIED` of the prior's."""


def agreement(posterior: rc.RecordedPosterior) -> list[Agreement]:
    """Whether the recordings say the same of each unknown."""
    weight = 1 / posterior.sd**2
    consensus = (weight * posterior.mean).sum(axis=0) / weight.sum(axis=0)
    within = (np.abs(posterior.mean - consensus) < LEVEL * posterior.sd).sum(axis=0)
    known = np.median(posterior.sd, axis=0) < IDENTIFIED * rc.PRIOR_SD
    said = zip(consensus, within, known, strict=True)
    return [Agreement(float(c), int(w), len(weight), bool(i)) for c, w, i in said]


def conductance_rows(experiment: rc.RecordedExperiment, posterior: rc.RecordedPosterior):
    """One an unknown."""
    said = agreement(posterior)
    for k, (name, prior, one) in enumerate(zip(rc.NAMES, rc.PRIOR_SD, said, strict=True)):
        yield {
            "unknown": name,
            "conductance": name in rc.CONDUCTANCES,
            "consensus": one.consensus,
            "spread": float(posterior.mean[:, k].std()),
            "median_sd": float(np.median(posterior.sd[:, k])),
            "prior_sd": float(prior),
            "identified": one.identified,
            "within": one.within,
            "of": one.recordings,
            "estimates": posterior.mean[:, k].tolist(),
            "sds": posterior.sd[:, k].tolist(),
        }


def features(ts: np.ndarray, V: np.ndarray, smoothing: float | None = None) -> dict[str, np.ndarray]:
    """Means over the valid beats of each trace; NaN where there are fewer than three beats."""
    beats = action_potentials_from(ts, V, smoothing=smoothing)
    valid = np.asarray(beats.valid) & np.asarray(beats.repolarised)
    few = valid.sum(axis=-1) < 3
    found = {}
    for name in FEATURES:
        x = np.where(valid, np.asarray(getattr(beats, name)), np.nan)
        known = np.isfinite(x)
        mean = np.where(known, x, 0).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1)
        found[name] = np.where(few | ~known.any(axis=-1), np.nan, mean)
    return found


def predicted(experiment: rc.RecordedExperiment, posterior: rc.RecordedPosterior, draws: int) -> dict[str, np.ndarray]:
    """Features of draws from every recording's posterior, as the same pipette would report them."""
    random = np.random.default_rng(0)
    some = [
        random.multivariate_normal(m, c, size=draws, method="eigh")
        for m, c in zip(posterior.mean, posterior.covariance, strict=True)
    ]
    x = jnp.asarray(np.concatenate(some))
    rig = experiment.rigs(x, jnp.zeros((len(x), 2)))
    population = SealedCell(experiment.cells(x), rig.g_leak / rig.C_cell)
    how: dict[str, Any] = {"t1": T1, "dt": DT, "save_every": 0.5, "solver": jc.RushLarsen2(), "outputs": ["V"]}
    trace = jc.population.simulate(population, **how, progress=True)
    ts, V = np.asarray(trace.ts), np.asarray(trace.ys.V) - np.asarray(rig.V_offset)[:, None]
    late, ok = ts >= DISCARD, np.asarray(trace.status) == 0
    V = np.where(np.isfinite(V), V, 0.0)[:, late]
    found = {k: np.where(ok, x, np.nan) for k, x in features(ts[late], V).items()}
    still = ok & (np.ptp(V, axis=1) < STILL)
    return found | {"rest": np.where(still, V.mean(axis=1), np.nan)}


def action_potential(cell: RecordedCell, draws: dict[str, np.ndarray]) -> dict[str, Any]:
    """Recorded features beside the predicted intervals, and what that makes of the twin."""
    V, own = cell.spontaneous, dict.fromkeys(FEATURES, np.nan)
    if V is not None:
        dt = next(iter(cell.recordings.values())).dt
        own = {k: float(x[0]) for k, x in features(dt * np.arange(len(V)), V[None], SMOOTHING).items()}
    own["rest"] = np.nan if "APD90" in cell.published else cell.published["MP"]
    beating, resting = (float(np.isfinite(draws[name]).mean()) for name in ("apd90", "rest"))
    rows = []
    for name, unit in (FEATURES | {"rest": "mV"}).items():
        known = draws[name][np.isfinite(draws[name])]
        low, middle, high = np.quantile(known, INTERVAL) if len(known) else (np.nan,) * 3
        seen = own[name]
        rows.append(
            {
                "feature": f"{name}, {unit}",
                "recorded": seen,
                "published": cell.published.get(PUBLISHED.get(name, ""), np.nan),
                "low": float(low),
                "median": float(middle),
                "high": float(high),
                "covered": bool(low <= seen <= high) if np.isfinite(seen) else None,
            }
        )
    beats = bool(np.isfinite(own["apd90"]))
    predicts = (beating if beats else resting) >= DECIDED
    return {"beats": beats, "beating": beating, "resting": resting, "predicts": predicts, "features": rows}


def verdict(settings: list[dict[str, Any]], spontaneous: dict[str, Any], unknowns: list[dict[str, Any]]) -> list[str]:
    """Why this twin lies outside the prior, or makes no prediction; empty if it is inside."""
    doubts = []
    ratio = float(np.median([row["ratio"] for row in settings]))
    if ratio**2 > MISFIT:
        doubts.append(f"no cell of the model gives these currents: residual {ratio:.0f} times the noise")
    far = [u for u in unknowns if abs(u["consensus"]) > 2 * u["prior_sd"]]
    if far:
        doubts.append("beyond two standard deviations of the prior: " + ", ".join(u["unknown"] for u in far))
    if not spontaneous["predicts"]:
        found = f"{100 * spontaneous['beating']:.0f} % of the draws beat, {100 * spontaneous['resting']:.0f} % rest"
        doubts.append(f"{found}: it does not say that the cell {'beats' if spontaneous['beats'] else 'rests'}")
    return doubts


def report(name: str, data: Path, keep: Path, quick: bool) -> dict[str, Any]:
    """Everything of one cell, also printed."""
    settings = ("rspre_0", "rscomp_80") if quick else tuple(SETTINGS)
    cell = load_cell(data, name, settings)
    first = cell.recordings[settings[0]]
    experiment = rc.RecordedExperiment.of(first, cell.capacitance, **({"growth": 1.5, "t1": 1000.0} if quick else {}))
    posterior, seconds = fitted(cell, experiment, keep, {"together": 2, "apart": 1} if quick else {})
    rows = list(setting_rows(cell, experiment, posterior))
    unknowns = list(conductance_rows(experiment, posterior))
    spontaneous = action_potential(cell, predicted(experiment, posterior, 2 if quick else DRAWS))
    tested = cell.tests[cell.tested_before.index(TESTED)]
    doubts = verdict(rows, spontaneous, unknowns)
    content = {
        "cell": name,
        "seconds": seconds,
        "measured_C": float(tested[0]),
        "measured_R_s": float(tested[1]),
        "settings": rows,
        "unknowns": unknowns,
        "action_potential": spontaneous,
        "declared_outside": doubts,
        "bars": bars(rows, unknowns, spontaneous, doubts),
    }
    print(as_text(content), flush=True)
    return content


def bars(settings, unknowns, spontaneous, doubts: list[str]) -> dict[str, Any]:
    """What the bars ask, counted."""
    known = [u for u in unknowns if u["identified"] and u["conductance"]]
    coverage = [row["covered"] for row in spontaneous["features"] if row["covered"] is not None]
    return {
        "identified": [u["unknown"] for u in known],
        "agreeing": [u["unknown"] for u in known if u["within"] >= AGREE * u["of"]],
        "R_s_within": sum(abs(row["R_s_error"]) < NEAR_TEST for row in settings),
        "C_within": sum(abs(row["C_error"]) < NEAR_TEST for row in settings),
        "covered": sum(coverage),
        "features": len(coverage),
        "confidently_wrong": not all(coverage) and not doubts,
    }


def as_text(content: dict[str, Any]) -> str:
    """The tables of one cell."""
    columns = {
        "setting": ("setting", ""), "residual": ("residual", ".2f"), "median_residual": ("median", ".2f"),
        "noise": ("noise", ".3f"), "ratio": ("times noise", ".0f"), "explained": ("explained", ".3f"),
        "absolute": ("misfit pA/pF", ".2f"), "relative": ("+ of I", ".2f"), "effective": ("effective n", ".0f"),
        "chi2": ("chi2", ".2f"), "R_s": ("R_s", ".1f"), "R_s_sd": ("sd", ".1f"), "C": ("C", ".1f"),
        "C_sd": ("sd", ".1f"),
    }  # fmt: skip
    known = {
        "unknown": ("conductance", ""), "consensus": ("log p/p0", ".2f"), "spread": ("spread", ".2f"),
        "median_sd": ("median sd", ".2f"), "identified": ("identified", ""), "within": ("agree", "d"),
        "of": ("of", "d"),
    }  # fmt: skip
    beats = {
        "feature": ("feature", ""), "recorded": ("recorded", ".1f"), "published": ("published", ".1f"),
        "low": ("5 %", ".1f"), "median": ("50 %", ".1f"), "high": ("95 %", ".1f"), "covered": ("covered", ""),
    }  # fmt: skip
    conductances = [u for u in content["unknowns"] if u["conductance"]]
    part = content["action_potential"]
    lines = [
        f"\n{content['cell']} ({content['seconds']:.0f} s); membrane test: R_s {content['measured_R_s']:.1f} MOhm, "
        f"C {content['measured_C']:.1f} pF",
        table(content["settings"], columns),
        "",
        table(conductances, known),
        "",
        f"{100 * part['beating']:.0f} % of the draws beat, {100 * part['resting']:.0f} % rest; "
        f"the cell {'beat' if part['beats'] else 'rested'}",
        table(part["features"], beats),
        "",
    ]
    lines += [f"declared outside: {reason}" for reason in content["declared_outside"] or ["no"]]
    return "\n".join([*lines, f"bars: {content['bars']}"])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="the recorded cells (HDF5)")
    parser.add_argument("--quick", action="store_true", help="one cell, two settings, few windows: does it run?")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    if not given.data.is_file():
        sys.exit(f"--data {given.data}: no such file; the recorded cells are not part of the package")
    jax.config.update("jax_enable_x64", True)
    name = f"recorded_twins{'_quick' if given.quick else ''}"
    some = CELLS[-1:] if given.quick else CELLS
    content: dict[str, Any] = {"machine": machine(), "priors": dict(rc.WIDE), "rig": dict(rc.UNKNOWN_RIG)}
    content["cells"] = [report(cell, given.data, given.out / name, given.quick) for cell in some]
    write_json(given.out / f"{name}.json", content)
    shutil.rmtree(given.out / name)


if __name__ == "__main__":
    main()
