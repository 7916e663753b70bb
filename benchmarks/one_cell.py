"""One cell alone against Myokit's CVODE, in one run: two seconds of ten Tusscher 2004 at 1 Hz.

    python benchmarks/one_cell.py [--repeats 20] [--out DIR]

Both give V at whole milliseconds and are timed in turns after their first call. The error is against Kvaerno5 at
1e-10, away from upstrokes. Ours is `RushLarsen2` on `paced_grid`, its steps as long as 0.02 mV allows, in a process
that `jc.tune_for_one_cell()` sets up (it matters on jax 0.10). Needs `jaxcardio[benchmark]`, a C compiler, SUNDIALS.
"""

import jaxcardio as jc

jc.tune_for_one_cell()

import argparse  # noqa: E402
import time  # noqa: E402
from collections.abc import Sequence  # noqa: E402
from pathlib import Path  # noqa: E402

import diffrax  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from common import RESULTS, machine, write_json  # noqa: E402
from peers import cvode, versions  # noqa: E402

PACING = jc.protocols.PulseTrain(-52.0, 1.0, 1000.0, 10.0)
T1, TOLERANCE, NEAR, BAR = 2000.0, 1e-6, 5.0, 1.5
STAGES = ((2.0, 0.0125), (10.0, 0.025), (40.0, 0.125), (400.0, 0.5), (np.inf, 1.0))
"""Of `paced_grid`: a quarter to a half longer than its own steps, so that the error is just within 0.02 mV."""


def measure(repeats: int) -> dict:
    cell = jc.models.TenTusscher2004()
    ts = np.arange(0.0, T1 + 1)
    alone = cell.replace(g_Kr=jnp.reshape(cell.g_Kr, (1,)))
    theirs = cvode(alone, PACING, T1, TOLERANCE)

    grid = jc.paced_grid(PACING, T1, stages=STAGES)

    def ours():
        return jc.simulate(cell, PACING, t1=T1, solver=jc.RushLarsen2(), grid=grid, outputs=["V"]).V

    true = jc.simulate(cell, PACING, t1=T1, solver=diffrax.Kvaerno5(), rtol=1e-10, outputs=["V"], max_steps=10**7)
    away = (np.abs(ts[:, None] - np.array([11.0, 1011.0])) > NEAR).all(axis=1)
    ways = {"jaxcardio": ours, "Myokit CVODE 1e-6": lambda: theirs.run(ts)[0]}
    errors = {n: float(np.sqrt(np.mean((np.asarray(w()) - true.V)[away] ** 2))) for n, w in ways.items()}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            began = time.perf_counter()
            jax.block_until_ready(way())
            seconds[name].append(time.perf_counter() - began)
    rows = [{"name": n, "rmse_mV": errors[n], "median_s": float(np.median(s))} for n, s in seconds.items()]
    ratios = np.array(seconds["Myokit CVODE 1e-6"]) / np.array(seconds["jaxcardio"])
    return {"rows": rows, "times_faster": float(np.median(ratios)), "bar": BAR, "peers": versions()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=20, help="timed calls of each (default 20)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of one_cell.json")
    given = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    found = measure(given.repeats)
    name = f"one_cell_jax_{'_'.join(jax.__version__.split('.')[:2])}.json"
    write_json(given.out / name, {"benchmark": "one_cell", "machine": machine(), **found})
    for row in found["rows"]:
        print(f"{row['name']:20} {row['median_s']:.4f} s, {row['rmse_mV']:.4f} mV")
    print(f"{found['times_faster']:.2f} times faster; bar {BAR}")


if __name__ == "__main__":
    main()
