"""How long until the first result: whole processes, import and compilation included, without a cache and with one.

    python benchmarks/first_result.py [--repeats 3] [--out DIR]

Each row is a program of its own, run on one core: README's first block, the first call of an implicit solver (without
its imports), and the command line. "cold": nothing has been compiled before. "warm": JAX's persistent cache has what an
earlier process of the same program compiled. The least of several runs, by wall clock, on a machine with nothing else
to do (`load_average` of the record).
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
from common import RESULTS, machine, table, write_json

README = Path(__file__).resolve().parents[1] / "README.md"
IMPLICIT = """
import time, jax, diffrax, jaxcardio as jc
jax.config.update("jax_enable_x64", True)
cell = jc.models.TenTusscher2004()
pacing = jc.protocols.PulseTrain(amplitude=-52.0, duration=1.0, period=1000.0, start=10.0)
simulate = jc.simulate  # imported here
began = time.perf_counter()
trace = simulate(cell, pacing, t1=1000.0, solver=diffrax.Kvaerno5(), rtol=1e-6)
jax.block_until_ready(trace.ys)
print("SECONDS", time.perf_counter() - began)
"""


class Program(NamedTuple):
    """What is run, and what it is to take: seconds, cold and warm."""

    title: str
    arguments: Callable[[], list[str]]
    cold: float
    warm: float | None


def first_block() -> str:
    """README's first block of Python, which then says when it was done: what is left is Python taking itself apart."""
    found = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert found is not None
    return found[1] + "\nimport os, time\nprint('SECONDS', time.time() - float(os.environ['BEGAN']))\n"


COMMAND = ["-m", "jaxcardio"]
SIMULATE = [*COMMAND, "simulate", "tentusscher", "--t1", "1000"]
PROGRAMS = (
    Program("README's first block", lambda: ["-c", first_block()], 6.0, 2.5),
    Program("diffrax.Kvaerno5(), first call", lambda: ["-c", IMPLICIT], 6.0, 2.0),
    Program("jaxcardio simulate tentusscher --t1 1000", lambda: SIMULATE, 5.0, 2.5),
    Program("jaxcardio models", lambda: [*COMMAND, "models"], 0.6, None),
)  # fmt: skip


@contextmanager
def on_one_core() -> Iterator[None]:
    """Programs started inside run on one core. They inherit it: a `preexec_fn` would fork a process that runs JAX."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def seconds(program: Program, folder: str, cache: str | None) -> float:
    """One run in `folder`: its wall time, or what it says itself."""
    settings = {
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "JAX_COMPILATION_CACHE_DIR": cache or "",
        "JAX_ENABLE_COMPILATION_CACHE": "1" if cache else "0",
    }
    with on_one_core():
        settings["BEGAN"] = repr(time.time())
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *program.arguments()],
            cwd=folder, env=os.environ | settings, capture_output=True, text=True, check=True,
        )  # fmt: skip
        took = time.perf_counter() - began
    said = re.search(r"^SECONDS (.*)$", done.stdout, re.MULTILINE)
    return float(said[1]) if said else took


def measure(program: Program, repeats: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        cold = [seconds(program, folder, None) for _ in range(repeats)]
        cache = str(Path(folder) / "cache")
        seconds(program, folder, cache)
        warm = [seconds(program, folder, cache) for _ in range(repeats)]
    row = {"program": program.title, "cold_s": min(cold), "cold_bar_s": program.cold}
    return row | ({"warm_s": min(warm), "warm_bar_s": program.warm} if program.warm else {})


COLUMNS = {
    "program": ("program", "s"), "cold_s": ("cold s", ".2f"), "cold_bar_s": ("bar", ".1f"), "warm_s": ("warm s", ".2f"),
    "warm_bar_s": ("bar", ".1f"),
}  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=3, help="runs of each kind (default 3)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of first_result.json")
    given = parser.parse_args(arguments)
    rows = [measure(program, given.repeats) for program in PROGRAMS]
    name = f"first_result_jax_{'_'.join(jax.__version__.split('.')[:2])}.json"
    write_json(given.out / name, {"benchmark": "first_result", "machine": machine(), "rows": rows})
    print(table(rows, COLUMNS))


if __name__ == "__main__":
    main()
