"""Are biomarkers of noisy recordings right, and do their standard errors say how wrong they are?

    python benchmarks/noise.py [--quick] [--models kernik ...] [--out DIR]

Beats of three models whose biomarkers are known from samples every 0.02 ms, sampled at 1 to 50 kHz with white, 1/f
and 50 Hz noise, measured by `action_potentials` with no option. Early afterdepolarisations are bumps of known rise in
repolarisation. Bars: APD90 within 3 of its own standard errors in 99 % of beats; no beat falsely taken to have an EAD
at up to 2 mV; 95 % of EADs of 5 mV found; cycle length within 0.5 %.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from common import RESULTS, machine, table, write_json

import jaxcardio as jc

FINE = 0.02
"""ms between the samples of the truth."""
LENGTH = 10_000.0
MODELS = ("kernik", "ten_tusscher", "skibsbye")
KINDS = ("white", "1/f", "50 Hz")
QUANTITIES = ("apd90", "apd50", "apd30", "cycle_length", "t_upstroke", "dvdt_max", "rmp", "peak", "apa")
BARS = {"within_3_percent": 99.0, "false_eads": 0, "eads_found_percent": 95.0, "cycle_length_percent": 0.5}


class Truth(NamedTuple):
    """Fine samples (mV), and what the plain formulas make of them."""

    V: np.ndarray
    beats: jc.biomarkers.ActionPotentials


class Plan(NamedTuple):
    """What is measured: sampling rates (kHz), noise (mV rms), how often each; the same for EADs."""

    rates: tuple[int, ...] = (1, 5, 10, 50)
    levels: tuple[float, ...] = (0.0, 1.0, 2.0, 3.0)
    repeats: int = 2
    ead_rates: tuple[int, ...] = (1, 10)
    ead_levels: tuple[float, ...] = (0.0, 1.0, 2.0)


QUICK = Plan(rates=(1, 10), levels=(0.0, 1.0), repeats=1, ead_rates=(10,), ead_levels=(1.0,))


def simulated(model: str, length: float = LENGTH) -> np.ndarray:
    """V (time,) every `FINE` ms."""
    cell, pacing = {
        "kernik": (jc.models.KernikClancy2019(), None),
        "ten_tusscher": (jc.models.TenTusscher2004(), jc.protocols.PulseTrain(-52.0, 1.0, 1000.0, 10.0)),
        "skibsbye": (jc.models.Skibsbye2016(), jc.protocols.PulseTrain(-11.5, 2.0, 1000.0, 10.0)),
    }[model]
    run = jc.simulate(
        cell, pacing, t1=length, dt=FINE, solver=jc.RushLarsen2(), save_every=FINE, outputs=[cell.potential]
    )
    return np.asarray(run.V)


def truth_of(V: np.ndarray) -> Truth:
    return Truth(V, jc.biomarkers.action_potentials_from(FINE * np.arange(V.size), V))


def with_eads(true: Truth, rise: float, width: float = 25.0) -> Truth:
    """Every beat with a Gaussian bump late in repolarisation, of a size that makes V rise by `rise` mV."""
    V = true.V.copy()
    for upstroke, apd in zip(true.beats.t_upstroke, true.beats.apd90, strict=True):
        begin = int((upstroke + 0.75 * apd) / FINE)
        end = min(begin + int(4 * width / FINE), V.size)
        part = V[begin:end].copy()
        shape = np.exp(-((FINE * np.arange(part.size) / width - 2) ** 2))
        least, most = 0.0, 200.0
        for _ in range(40):
            height = (least + most) / 2
            bumped = part + height * shape
            enough = (bumped - np.minimum.accumulate(bumped)).max() >= rise
            least, most = (least, height) if enough else (height, most)
        V[begin:end] = part + most * shape
    return truth_of(V)


def sampled(true: Truth, rate: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Times and V at `rate` kHz, from a random fine sample on."""
    step = round(1 / (rate * FINE))
    first = int(rng.integers(step))
    V = true.V[first::step]
    return FINE * (first + step * np.arange(V.size)), V


def noise(kind: str, rms: float, n: int, dt: float, rng: np.random.Generator) -> np.ndarray:
    """Noise (n,) of a kind, mV, at intervals of dt ms; 1/f is of power, from one period a recording on."""
    if rms == 0:
        return np.zeros(n)
    if kind == "white":
        return rng.normal(0, rms, n)
    if kind == "50 Hz":
        return rms * np.sqrt(2) * np.sin(2 * np.pi * 0.05 * dt * np.arange(n) + rng.uniform(0, 2 * np.pi))
    f = np.fft.rfftfreq(n, dt)
    shape = np.concatenate([[0.0], f[1:] ** -0.5])
    z = np.fft.irfft(np.fft.rfft(rng.normal(size=n)) * shape, n)
    return z * (rms / z.std())


def measured(true: Truth, kind: str, rms: float, rate: int, seed: Sequence[int]) -> jc.biomarkers.ActionPotentials:
    rng = np.random.default_rng(seed)
    ts, V = sampled(true, rate, rng)
    return jc.biomarkers.action_potentials(jc.Trace.from_samples(ts, V + noise(kind, rms, V.size, 1 / rate, rng)))


def compare(true: Truth, kind: str, rms: float, rate: int, repeats: int, seed: int = 0) -> dict[str, Any]:
    """A row: errors of beats, in ms or mV and in their own standard errors."""
    apart: dict[str, list[np.ndarray]] = {name: [] for name in QUANTITIES}
    errors: dict[str, list[np.ndarray]] = {name: [] for name in QUANTITIES}
    flagged = beats = 0
    begin = time.perf_counter()
    for k in range(repeats):
        found = measured(true, kind, rms, rate, (seed, k, rate, round(100 * rms), KINDS.index(kind)))
        same = [np.abs(found.t_upstroke - t).argmin() for t in true.beats.t_upstroke if found.valid.any()]
        beats += int(found.valid.sum())
        flagged += int(found.ead.sum())
        for name in QUANTITIES:
            known = np.asarray(getattr(true.beats, name))[: len(same)]
            apart[name].append(np.asarray(getattr(found, name))[same] - known)
            errors[name].append(np.asarray(found.standard_error(name))[same])
    row: dict[str, Any] = {"noise": kind, "rms_mV": rms, "rate_kHz": rate}
    row |= {"beats": beats, "eads": flagged, "s": (time.perf_counter() - begin) / repeats}
    row["expected_beats"] = repeats * len(true.beats.apd90)
    for name in QUANTITIES:
        e, se = np.concatenate(apart[name]), np.concatenate(errors[name])
        known = np.isfinite(e)
        z = np.abs(e[known]) / np.maximum(se[known], 1e-9)
        row[f"{name}_known"] = int(known.sum())
        row[f"{name}_within_3"] = int((z <= 3).sum())
        row[f"{name}_median_z"] = float(np.median(z)) if z.size else None
        row[f"{name}_rms_error"] = float(np.sqrt(np.mean(e[known] ** 2))) if z.size else None
        row[f"{name}_median_se"] = float(np.median(se[known])) if z.size else None
    cycles = np.abs(np.concatenate(apart["cycle_length"])) / float(np.nanmean(true.beats.cycle_length))
    row["cycle_length_percent"] = float(100 * np.nanmax(cycles))
    return row


def benchmark(models: Sequence[str], plan: Plan, file: Path) -> dict[str, Any]:
    rows, eads = [], []
    for model in models:
        true = truth_of(simulated(model))
        for rate in plan.rates:
            for kind, rms in _noises(plan.levels):
                rows.append({"model": model} | compare(true, kind, rms, rate, plan.repeats))
        for rise in (5.0, 10.0):
            early = with_eads(true, rise)
            assert early.beats.ead.all(), model
            for rate in plan.ead_rates:
                for kind, rms in _noises(plan.ead_levels):
                    row = compare(early, kind, rms, rate, 1)
                    eads.append({"model": model, "rise_mV": rise} | row)
    content = {"benchmark": "noise", "machine": machine(), "bars": BARS, "rows": rows, "eads": eads}
    content["summary"] = summary(rows, eads)
    write_json(file, content)
    return content


def _noises(levels: Sequence[float]) -> list[tuple[str, float]]:
    return [(kind, rms) for kind in KINDS for rms in levels if rms > 0 or kind == "white"]


def summary(rows, eads) -> dict[str, Any]:
    """The bars' figures over all rows."""

    def total(which, name):
        return sum(row[name] for row in which)

    quiet = [row for row in rows if row["rms_mV"] <= 2]
    return {
        "beats": total(rows, "beats"),
        "beats_expected": total(rows, "expected_beats"),
        "apd90_known": total(rows, "apd90_known"),
        "within_3_percent": 100 * total(rows, "apd90_within_3") / total(rows, "apd90_known"),
        "beats_at_2_mV_or_less": total(quiet, "beats"),
        "false_eads": total(quiet, "eads"),
        "eads_found_percent": 100 * total(eads, "eads") / total(eads, "expected_beats"),
        "cycle_length_percent": max(row["cycle_length_percent"] for row in rows),
    }


COLUMNS = {
    "model": ("model", "s"), "noise": ("noise", "s"), "rms_mV": ("mV rms", ".1f"), "rate_kHz": ("kHz", "d"),
    "beats": ("beats", "d"), "apd90_known": ("APD90 known", "d"), "apd90_within_3": ("within 3 SE", "d"),
    "apd90_median_z": ("median error/SE", ".2f"), "apd90_rms_error": ("rms error ms", ".3f"),
    "apd90_median_se": ("SE ms", ".3f"), "cycle_length_percent": ("CL error %", ".3f"), "eads": ("EADs", "d"),
    "s": ("s", ".2f"),
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--quick", action="store_true", help="two rates, one level of noise: about a minute")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of noise.json")
    given = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    file = given.out / ("noise_quick.json" if given.quick else "noise.json")
    found = benchmark(given.models, QUICK if given.quick else Plan(), file)
    print(table(found["rows"], COLUMNS))
    print("\nwith EADs in every beat")
    print(table(found["eads"], {"rise_mV": ("rise mV", ".0f")} | COLUMNS))
    for name, value in found["summary"].items():
        bar = f", bar {BARS[name]:g}" if name in BARS else ""
        print(f"{name}: {value:.6g}{bar}")


if __name__ == "__main__":
    main()
