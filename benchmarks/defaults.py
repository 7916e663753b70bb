"""Is what the command line prints by default right? Five models, every beat, against a converged solution.

    python benchmarks/defaults.py [--models kernik ...] [--out DIR]

runs `jaxcardio simulate MODEL` as it is, measures the file it wrote as the command does, and compares with Kvaerno5 at
a tolerance of 1e-10. There dV/dt is the model's, at samples 0.004 ms apart about each upstroke, and everything else is
read off these samples with nothing of `jaxcardio.biomarkers`. Bars: 1 % of dV/dt max, 0.1 ms of APD, 0.1 mV of V.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from common import RESULTS, machine, table, write_json

import jaxcardio as jc
from jaxcardio.__main__ import main as command_line
from jaxcardio.clock import merge

MODELS = ("KernikClancy2019", "TenTusscher2004", "Skibsbye2016", "AlievPanfilov1996", "AlievPanfilovModified")
BEFORE, AFTER, SPACING = 2.0, 8.0, 0.004
"""Of the reference's samples about each upstroke, in the model's unit of time."""
RTOL = 1e-10
MS, MV = 12.9, 100.0
"""Units of the dimensionless models."""


def measure(model: str) -> list[dict[str, Any]]:
    """A row a beat."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "run.h5"
        command_line(["simulate", model, "--no-plot", "--out", str(file)])
        trace = jc.Trace.load(file)
    cell: Any = trace.cell
    ms, mV = (MS, MV) if cell.units[cell.potential] == "1" else (1.0, 1.0)
    beats = jc.biomarkers.action_potentials(trace)
    seen = np.flatnonzero(np.asarray(beats.valid & beats.repolarised))
    upstrokes, rest = np.asarray(beats.t_upstroke)[seen], np.asarray(beats.positions.rest)[seen]
    ts, V, slope = reference(trace, upstrokes)
    dvdt_max = np.asarray(beats.dvdt_max)
    rows = []
    for k, (beat, begin) in enumerate(zip(seen, trace.ts[rest], strict=True)):
        end = trace.ts[rest][k + 1] if k + 1 < len(seen) else ts[-1]
        true = one_beat(ts, V, slope, begin, upstrokes[k], end)
        found = {
            "dvdt_max": dvdt_max[beat], "apd30": beats.apd30[beat], "apd50": beats.apd50[beat],
            "apd90": beats.apd90[beat], "rmp": beats.rmp[beat], "peak": beats.peak[beat],
        }  # fmt: skip
        row: dict[str, Any] = {"model": model, "beat": int(beat), "dvdt_max_V_s": true["dvdt_max"] * mV / ms}
        row["dvdt_max_percent"] = 100 * (found["dvdt_max"] / true["dvdt_max"] - 1)
        row |= {f"{x}_ms": ms * float(found[x] - true[x]) for x in ("apd30", "apd50", "apd90")}
        row |= {f"{x}_mV": mV * float(found[x] - true[x]) for x in ("rmp", "peak")}
        rows.append(row)
    return rows


def reference(trace: jc.Trace, upstrokes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, V and dV/dt of the converged solution, close together about the upstrokes."""
    cell: Any = trace.cell
    near = np.arange(-BEFORE, AFTER, SPACING)
    wanted = merge(np.concatenate([trace.ts, *(t + near for t in upstrokes)]))
    wanted = wanted[(wanted >= 0) & (wanted <= trace.ts[-1])]
    run = jc.simulate(
        cell,
        trace.protocol,
        t1=trace.ts[-1],
        solver=diffrax.Kvaerno5(),
        rtol=RTOL,
        save_at=wanted,
        max_steps=10_000_000,
    )
    assert run.ok, run.problems()
    stimulus = np.zeros(len(wanted)) if trace.protocol is None else np.asarray(trace.protocol.value(wanted))
    rates = jax.vmap(lambda y, i: getattr(cell.rates(0.0, y, i), cell.potential))
    return wanted, np.asarray(run.V), np.asarray(jax.jit(rates)(run.ys, jnp.asarray(stimulus)))


def one_beat(ts, V, slope, begin, upstroke, end) -> dict[str, float]:
    """What is measured of a beat, from samples alone."""
    rising = np.flatnonzero(np.abs(ts - upstroke) < BEFORE)
    steepest = rising[np.argmax(slope[rising])]
    resting = float(np.interp(begin, ts, V))
    beat = np.flatnonzero((ts >= ts[steepest]) & (ts < end))
    peak = beat[np.argmax(V[beat])]
    found = {"dvdt_max": float(slope[steepest]), "rmp": resting, "peak": float(V[peak])}
    for level in (30, 50, 90):
        potential = V[peak] - level / 100 * (V[peak] - resting)
        j = next(j for j in range(peak, len(ts)) if V[j] <= potential)
        fall = ts[j - 1] + (V[j - 1] - potential) / (V[j - 1] - V[j]) * (ts[j] - ts[j - 1])
        found[f"apd{level}"] = float(fall - ts[steepest])
    return found


BARS = {"dvdt_max_percent": 1.0, "apd30_ms": 0.1, "apd50_ms": 0.1, "apd90_ms": 0.1, "rmp_mV": 0.1, "peak_mV": 0.1}
COLUMNS = {
    "model": ("model", "s"), "beat": ("beat", "d"), "dvdt_max_V_s": ("dV/dt V/s", ".2f"),
    "dvdt_max_percent": ("error %", "+.3f"), "apd30_ms": ("APD30 ms", "+.3f"), "apd50_ms": ("APD50 ms", "+.3f"),
    "apd90_ms": ("APD90 ms", "+.3f"), "rmp_mV": ("rest mV", "+.4f"), "peak_mV": ("peak mV", "+.4f"),
}  # fmt: skip


def benchmark(models: Sequence[str], out: Path = RESULTS) -> list[dict[str, Any]]:
    rows = [row for model in models for row in measure(model)]
    write_json(out / "defaults.json", {"benchmark": "defaults", "machine": machine(), "bars": BARS, "rows": rows})
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of defaults.json")
    given = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    rows = benchmark(given.models, given.out)
    print(table(rows, COLUMNS))
    for name, bar in BARS.items():
        print(f"largest |{name}|: {max(abs(row[name]) for row in rows):.4f}, bar {bar:g}")


if __name__ == "__main__":
    main()
