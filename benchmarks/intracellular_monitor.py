"""Half an hour of 60 channels monitored: time, memory, and whether the result depends on how much is read at once.

    python benchmarks/intracellular_monitor.py [--quick] [--recording FILE] [--out DIR]

A recording of a simulated culture (60 channels, 30 minutes, 5 kHz, 540 million samples; dofetilide added in the middle)
is made by another process, unless one is given. It is monitored with the network that ships, in slabs of 10 s, and
in slabs of 7 s again (some channels), where every number must be the same to the last bit. Memory is the peak of the
whole process, Python, JAX and the network included.

Results go to intracellular_monitor.json.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from common import RESULTS, machine, write_json

import jaxcardio as jc

MOST_MEMORY = 1024.0
"""Bar, MB."""
AGAIN = 4
"""Channels that are monitored a second time."""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="4 channels, one minute")
    parser.add_argument("--recording", type=Path, help="of yours, instead of the simulated one")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        path = given.recording or _made(Path(folder) / "recording.h5", given.quick)
        found = _monitored(path, 3_000.0 if given.quick else 120_000.0)
    for name, value in found.items():
        print(f"{name:28} {value}")
    write_json(given.out / f"intracellular_monitor{'_quick' * given.quick}.json", {"machine": machine(), **found})
    return 0


def _made(path: Path, quick: bool) -> Path:
    """In another process, whose memory is not counted."""
    size = (4, 1.0) if quick else (60, 30.0)
    call = f"""
import jaxcardio as jc
jc.intracellular.synthesize_recording({str(path)!r}, channels={size[0]}, duration={60_000 * size[1]},
    added_at={30_000 * size[1]}, electroporated_at={2_000 * size[1]})
"""
    subprocess.run([sys.executable, "-c", call], check=True)
    return path


def _monitored(path: Path, span: float) -> dict[str, Any]:
    recording = jc.intracellular.Recording.load(path)
    network = jc.intracellular.load_network("small")
    settings = {"wash_in": span, "span": span}
    began, processor = time.perf_counter(), time.process_time()
    found = jc.intracellular.monitor(recording, network, progress=True, **settings)
    seconds, processor = time.perf_counter() - began, time.process_time() - processor
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    some = recording.channels[:AGAIN]
    again = jc.intracellular.monitor(recording, network, channels=some, chunk=7_000.0, **settings)
    print(found)
    length = recording.duration / 1000
    return {
        "channels": len(recording.channels),
        "seconds_recorded": length,
        "samples": len(recording.channels) * recording.n_samples,
        "beats": int(np.isfinite(found.times).sum()),
        "seconds": seconds,
        "processor_seconds": processor,
        "channels_in_real_time": len(recording.channels) * length / seconds,
        "peak_memory_MB": memory,
        "memory_met": memory < MOST_MEMORY,
        "same_in_other_slabs": _same(found, again),
        "effects": [dict(zip(jc.intracellular.monitoring.HEADINGS, row, strict=True)) for row in found.rows()],
    }


def _same(found: Any, again: Any) -> bool:
    """Whether the channels monitored again have the same numbers to the last bit."""
    n = len(again.channels)
    beats = again.times.shape[1]
    pairs = zip(
        jax.tree.leaves((found.times, found.durations, found.field_potentials, found.early)),
        jax.tree.leaves((again.times, again.durations, again.field_potentials, again.early)),
        strict=True,
    )
    return all(np.array_equal(x[:n, :beats], y, equal_nan=y.dtype.kind == "f") for x, y in pairs)


if __name__ == "__main__":
    raise SystemExit(main())
