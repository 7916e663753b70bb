"""The slab of Niederer et al. 2011 (doi 10.1098/rsta.2010.0139), in float64.

    python benchmarks/tissue_niederer.py [--dx 0.2 0.1] [--dt 0.005] [--out DIR]

prints when the slab's corners and its centre are activated, beside a finite-volume code (cardiacFoam, dt 0.005) and the
mean and spread of eleven codes (dt 0.01), and writes tissue_niederer.json.

- Set-up: 20 x 7 x 3 mm, fibres along x; ten Tusscher & Panfilov 2006, epicardial; conductivities of the paper in
  series; 1400 1/cm, 1 uF/cm^2. Activation is V through 0 mV, between steps.
- Stimulus: 50,000 uA/cm^3 for 2 ms, -35.714 pA/pF, in the cells whose centre lies in the closed cube of 1.5 mm at the
  origin: at 0.2 mm eight along each axis, the last of which is cut by the cube's side; at 0.1 mm fifteen.
- A point is sampled by linear extrapolation of the times from the centres of the two cells nearest to it along each
  axis (at the slab's centre: interpolation). `nearest` is the mean over the cells nearest to it.
- Extrapolated: the far corner at spacing 0, from 0.2 and 0.1 mm by order two.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from common import RESULTS, machine, table, write_json
from scipy.interpolate import RegularGridInterpolator

import jaxcardio as jc

SIZE = (20.0, 7.0, 3.0)
"""x, y, z, mm"""
CUBE = 1.5
"""Side of the stimulus, mm."""
POINTS = (
    (0, 0, 0), (0, 7, 0), (20, 0, 0), (20, 7, 0), (0, 0, 3), (0, 7, 3), (20, 0, 3), (20, 7, 3), (10, 3.5, 1.5),
)  # fmt: skip
FAR = POINTS.index((20, 7, 3))
FINITE_VOLUME = {
    0.1: (1.191, 31.066, 33.031, 44.539, 9.328, 32.564, 34.293, 45.495, 20.815),
    0.2: (1.191, 40.513, 35.065, 53.563, 11.230, 42.276, 36.493, 54.528, 23.923),
}
"""cardiacFoam's hexahedra at dt 0.005 ms, by spacing, ms."""
ELEVEN = {
    0.1: (
        (1.04, 29.76, 32.23, 43.97, 8.95, 31.32, 33.70, 44.93, 20.50),
        (0.38, 1.65, 0.56, 2.83, 0.56, 2.12, 1.00, 3.22, 1.30),
    ),
    0.2: (
        (1.05, 38.56, 34.43, 52.56, 11.29, 40.52, 36.67, 53.81, 24.58),
        (0.40, 5.00, 1.48, 7.10, 1.60, 6.08, 2.98, 8.17, 3.76),
    ),
}
"""Mean and standard deviation of the paper's eleven codes at dt 0.01 ms, ms."""
T1 = {0.1: 50.0, 0.2: 58.0}
"""Long enough for all of the slab, ms."""


def conductivities() -> tuple[float, float]:
    """Along and across the fibres, S/m."""
    intra, extra = (0.17, 0.019), (0.62, 0.24)
    along, across = (float(jc.tissue.monodomain_conductivity(i, e)) for i, e in zip(intra, extra, strict=True))
    return along, across


def slab(dx: float) -> jc.tissue.Tissue:
    """The slab at this spacing, mm."""
    along, across = (float(jc.tissue.diffusivity_of(s)) for s in conductivities())
    shape = tuple(round(n / dx) for n in reversed(SIZE))
    return jc.tissue.Tissue(jc.models.TenTusscherPanfilov2006("epi"), shape, dx, (across, across, along))


def stimulus(tissue: jc.tissue.Tissue) -> jc.tissue.Stimulus:
    """50,000 uA/cm^3 for 2 ms: over 1400 1/cm and 1 uF/cm^2, in mV/ms."""
    inside = [centres <= CUBE + 1e-9 for centres in tissue.centres()]
    z, y, x = np.meshgrid(*inside, indexing="ij")
    return jc.tissue.Stimulus(jc.protocols.PulseTrain(-50_000 / 1400, 2.0, 1000.0, 0.0), z & y & x)


def at_points(times: np.ndarray, tissue: jc.tissue.Tissue) -> list[float]:
    """Times at the nine points, linear between and beyond the cells' centres."""
    field = RegularGridInterpolator(tissue.centres(), times, bounds_error=False, fill_value=None)
    return [float(t) for t in field([point[::-1] for point in POINTS])]


def nearest(times: np.ndarray, tissue: jc.tissue.Tissue) -> list[float]:
    """Times of the cells nearest to the nine points."""
    found = []
    for point in POINTS:
        apart = [np.abs(c - p) for c, p in zip(tissue.centres(), point[::-1], strict=True)]
        near = np.ix_(*(np.flatnonzero(a <= a.min() + 1e-9) for a in apart))
        found.append(float(times[near].mean()))
    return found


def half_a_cell(times: np.ndarray, tissue: jc.tissue.Tissue) -> list[float]:
    """How far sampling rules may be apart at the nine points, ms: travel over half a cell along every axis."""
    steps = [np.abs(np.diff(times, axis=a, append=np.nan)) for a in range(3)]
    found = []
    for point in POINTS:
        index = tuple(
            min(int(p / dx), n - 2) for p, dx, n in zip(point[::-1], tissue.spacing, tissue.shape, strict=True)
        )
        found.append(0.5 * float(sum(step[index] for step in steps)))
    return found


def run_slab(dx: float, dt: float, progress: bool = False) -> dict[str, Any]:
    """Runs it: times at the points by both rules, the travel over half a cell, problems, seconds."""
    tissue = slab(dx)
    begin = time.perf_counter()
    run = jc.tissue.simulate(
        tissue, [stimulus(tissue)], t1=T1[dx], dt=dt, save_every=T1[dx], threshold=0.0, progress=progress
    )
    times = np.asarray(run.activation_time)
    return {
        "dx_mm": dx,
        "dt_ms": dt,
        "cells": int(np.prod(tissue.shape)),
        "seconds": time.perf_counter() - begin,
        "activation_ms": at_points(times, tissue),
        "nearest_ms": nearest(times, tissue),
        "half_a_cell_ms": half_a_cell(times, tissue),
        "problems": run.problems(),
    }


def rows_of(result: dict[str, Any]) -> list[dict[str, Any]]:
    """One row a point: ours, theirs, and how far apart."""
    dx = result["dx_mm"]
    mean, spread = ELEVEN[dx]
    return [
        {
            "point": f"{point[0]:g}, {point[1]:g}, {point[2]:g}",
            "ours": result["activation_ms"][k],
            "nearest": result["nearest_ms"][k],
            "finite_volume": FINITE_VOLUME[dx][k],
            "apart": result["activation_ms"][k] - FINITE_VOLUME[dx][k],
            "apart_percent": 100 * (result["activation_ms"][k] / FINITE_VOLUME[dx][k] - 1),
            "nearest_percent": 100 * (result["nearest_ms"][k] / FINITE_VOLUME[dx][k] - 1),
            "half_a_cell": result["half_a_cell_ms"][k],
            "mean": mean[k],
            "spread": spread[k],
        }
        for k, point in enumerate(POINTS)
    ]


COLUMNS = {
    "point": ("x, y, z, mm", ""),
    "ours": ("ours, ms", ".3f"),
    "nearest": ("nearest cell", ".3f"),
    "finite_volume": ("finite volume", ".3f"),
    "apart": ("apart, ms", "+.3f"),
    "apart_percent": ("%", "+.2f"),
    "nearest_percent": ("nearest, %", "+.2f"),
    "half_a_cell": ("half a cell, ms", ".3f"),
    "mean": ("11 codes", ".2f"),
    "spread": ("+-", ".2f"),
}


def main(arguments: Sequence[str]) -> None:
    """Runs, prints and keeps it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dx", type=float, nargs="+", default=[0.2, 0.1], choices=sorted(ELEVEN))
    parser.add_argument("--dt", type=float, default=0.005)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_num_cpu_devices", 2)
    results = []
    for dx in given.dx:
        result = run_slab(dx, given.dt, progress=True)
        result["points"] = rows_of(result)
        results.append(result)
        print(f"\n{dx:g} mm, {given.dt:g} ms: {result['cells']} cells, {result['seconds']:.0f} s")
        print(table(result["points"], COLUMNS), *result["problems"], sep="\n")
    far = {r["dx_mm"]: r["activation_ms"][FAR] for r in results}
    extrapolated = far[0.1] + (far[0.1] - far[0.2]) / 3 if len(far) == 2 else None
    if extrapolated is not None:
        print(f"\nfar corner at spacing 0: {extrapolated:.2f} ms (42.5 +- 0.5)")
    content = {"machine": machine(), "results": results, "far_corner_extrapolated_ms": extrapolated}
    write_json(given.out / "tissue_niederer.json", content)


if __name__ == "__main__":
    main(sys.argv[1:])
