"""What does a millisecond of tissue cost, at equal error of conduction velocity, beside other programs?

    python benchmarks/tissue.py [--quick] [--groups cable sheet] [--peers FILE] [--out DIR]

cable: 1,000 ten Tusscher 2004 cells (epi) at 0.1 mm, on one core, float64 (as Myokit's C) and float32.
sheet: 512 x 512 ten Tusscher & Panfilov 2006 cells (epi) at 0.2 mm, float32, on two cores.

D is 0.154 mm^2/ms. The error of each step is that of the conduction velocity of a plane wave, against the limit of
short steps on the same mesh (Richardson, order two). Speed is the best of several runs of a process of its own, without
compilation. What the others need for the same error is read from `results/tissue_peers.json` (`tissue_peers.py`).
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from common import RESULTS, machine, table, write_json
from tissue_peers import equal_error

import jaxcardio as jc

D = 0.154
GROUPS: dict[str, dict[str, Any]] = {
    "cable": dict(model="TT2004 epi", dx=0.1, shape=[1000], strip=[200], threads=1, precisions=["float64", "float32"]),
    "sheet": dict(model="TP06 epi", dx=0.2, shape=[512, 512], strip=[8, 200], threads=2, precisions=["float32"]),
}
STEPS = {"explicit": (0.03, 0.02, 0.01, 0.005, 0.0025), "implicit": (0.04, 0.03, 0.02, 0.01, 0.005, 0.0025)}
PULSE = jc.protocols.PulseTrain(amplitude=-104.0, duration=1.0, period=1000.0)
MODELS = {"TT2004 epi": jc.models.TenTusscher2004, "TP06 epi": jc.models.TenTusscherPanfilov2006}
COLUMNS = {
    "model": ("model", "s"),
    "precision": ("precision", "s"),
    "diffusion": ("diffusion", "s"),
    "dt": ("dt ms", ".4g"),
    "cv_error_percent": ("CV error %", ".3f"),
}
AT_EQUAL_ERROR = {
    "error_percent": ("at error %", "g"),
    "seconds_per_simulated_ms": ("s a ms", ".3g"),
    "peer": ("other program", "s"),
    "times_faster": ("times faster", ".1f"),
}


def speed_of_wave(group: dict[str, Any], dt: float, diffusion: str) -> float:
    """CV, mm/ms, along the strip, in float64."""
    nx = group["strip"][-1]
    tissue = jc.tissue.Tissue(MODELS[group["model"]]("epi"), group["strip"], group["dx"], D)
    stimulus = jc.tissue.Stimulus(PULSE, np.s_[..., : round(1.0 / group["dx"])])
    t1 = 2.0 * nx * group["dx"]
    run = jc.tissue.simulate(tissue, [stimulus], t1=t1, dt=dt, save_every=t1, diffusion=diffusion)
    first, last = (np.unravel_index(round(share * nx), group["strip"]) for share in (0.4, 0.8))
    return float(jc.tissue.conduction_velocity(run, first, last))


def seconds_a_step(group: dict[str, Any], precision: str, diffusion: str, dt: float, steps: int) -> dict[str, float]:
    """Of a wave that has just begun: seconds and seconds of CPU time a step, the best of five."""
    cell = jc.astype(MODELS[group["model"]]("epi"), precision)
    tissue = jc.tissue.Tissue(cell, group["shape"], group["dx"], D)
    stimulus = jc.tissue.Stimulus(PULSE, np.s_[..., : round(1.0 / group["dx"])])
    t1 = steps * dt
    best = {"wall": np.inf, "cpu": np.inf}
    for _ in range(6):
        began = time.perf_counter(), time.process_time()
        run = jc.tissue.simulate(tissue, [stimulus], t1=t1, dt=dt, save_every=t1, diffusion=diffusion)
        jax.block_until_ready(run.final_state)
        spent = time.perf_counter() - began[0], time.process_time() - began[1]
        best = {"wall": min(best["wall"], spent[0]), "cpu": min(best["cpu"], spent[1])}
    return {name: float(s) / steps for name, s in best.items()}


def row_in_a_process(**wanted) -> dict[str, float]:
    """`seconds_a_step` on as many cores as the group has."""
    done = subprocess.run(
        [sys.executable, __file__, "--row", json.dumps(wanted)], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def one_row(wanted: dict[str, Any]) -> None:
    """In the process of a row: prints what it takes."""
    group = GROUPS[wanted.pop("group")]
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: group["threads"]])
    jax.config.update("jax_num_cpu_devices", group["threads"])
    print(json.dumps(seconds_a_step(group, **wanted)))


def rows_of(name: str, quick: bool) -> list[dict[str, Any]]:
    """One row a precision, way of diffusing and step: its CV, the error of that, and what a ms costs."""
    group = GROUPS[name]
    rows = []
    for diffusion, steps in STEPS.items():
        if quick:
            steps = steps[-4:-1]
        if diffusion == "implicit" and len(group["shape"]) > 1:
            continue  # cosine transforms cost more than the cells
        speeds = [speed_of_wave(group, dt, diffusion) for dt in steps]
        limit = speeds[-1] + (speeds[-1] - speeds[-2]) / ((steps[-2] / steps[-1]) ** 2 - 1)
        for precision in group["precisions"]:
            count = 20 if quick else 50 if len(group["shape"]) > 1 else 1000
            took = row_in_a_process(
                group=name, precision=precision, diffusion=diffusion, dt=0.02 if not quick else 0.01, steps=count
            )
            nodes = int(np.prod(group["shape"]))
            rows += [
                {
                    "program": "jaxcardio",
                    "model": group["model"],
                    "precision": precision,
                    "diffusion": diffusion,
                    "dx": group["dx"],
                    "dt": dt,
                    "cv": cv,
                    "cv_limit": limit,
                    "cv_error_percent": 100 * (cv / limit - 1),
                    "threads": group["threads"],
                    "speed_shape": group["shape"],
                    "node_steps_per_s": nodes / took["wall"],
                    "node_steps_per_cpu_s": nodes / took["cpu"],
                    "seconds_per_simulated_ms": took["wall"] / dt,
                }
                for dt, cv in zip(steps, speeds, strict=True)
            ]
    return rows


def compared(rows: Sequence[dict[str, Any]], peers: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What each way needs for equal error, and how many times more the others do: by the clock on our side; on theirs
    by the clock or by CPU time, whichever is faster."""
    found = []
    for precision, diffusion in dict.fromkeys((r["precision"], r["diffusion"]) for r in rows):
        ours = [r for r in rows if (r["precision"], r["diffusion"]) == (precision, diffusion)]
        ours = [r | {"node_steps_per_cpu_s": 0.0} for r in ours]
        for own in equal_error(ours):
            same = {k: own[k] for k in ("model", "dx", "speed_shape", "error_percent")}
            for peer in peers:
                if all(peer[k] == v for k, v in same.items()):
                    ratio = peer["seconds_per_simulated_ms"] / own["seconds_per_simulated_ms"]
                    found.append(own | {"diffusion": diffusion, "peer": peer["program"], "times_faster": ratio})
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few steps; times mean nothing")
    parser.add_argument("--groups", nargs="+", choices=list(GROUPS), default=list(GROUPS))
    parser.add_argument("--peers", type=Path, default=RESULTS / "tissue_peers.json")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--row", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    if options.row:
        return one_row(options.row)
    rows = [row for name in options.groups for row in rows_of(name, options.quick)]
    peers = json.loads(options.peers.read_text())["equal_error"] if options.peers.is_file() else []
    found = {"machine": machine(), "rows": rows, "equal_error": compared(rows, peers)}
    write_json(options.out / "tissue.json", found)
    print(table(rows, COLUMNS | {"node_steps_per_s": ("node-steps/s", ".3g"), "cv": ("m/s", ".5f")}))
    print(table(found["equal_error"], COLUMNS | AT_EQUAL_ERROR))


if __name__ == "__main__":
    main()
