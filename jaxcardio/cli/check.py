"""The verb `check`."""

import argparse
import sys

import jax

from ..text_tables import text_table
from ..verification import checks


def run(given: argparse.Namespace) -> int:
    device = jax.devices()[0]
    print(f"jax {jax.__version__} on {device.platform} ({device.device_kind})")
    dtypes = ("float64",) if given.float64_only else ("float64", "float32")
    rows, missed = [("model", "comparison", "dtype", "error", "bar", "unit", "")], 0
    for found in checks(dtypes, traces=not given.no_traces):
        missed += not found.passed
        verdict = "ok" if found.passed else "MISSED"
        rows.append(
            (found.model, found.what, found.dtype, f"{found.error:.1e}", f"{found.bar:.0e}", found.unit, verdict)
        )
        _show(f"{found.model}, {found.what}, {found.dtype}")
    _show("")
    print(text_table(rows, left=3))
    print(f"{len(rows) - 1 - missed} of {len(rows) - 1} within their bars")
    return 1 if missed else 0


def _show(now: str) -> None:
    """What has just been compared, on one line of a terminal."""
    if sys.stderr.isatty():
        sys.stderr.write("\r" + now.ljust(78)[:78] + ("" if now else "\r"))
        sys.stderr.flush()
