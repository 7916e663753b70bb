"""Progress of long work."""

import sys
import time
from collections.abc import Callable


def progress_bar(title: str) -> Callable[[float], None]:
    """A one-line bar on stderr: call it with the fraction done."""
    began = time.perf_counter()

    def report(done: float) -> None:
        spent = time.perf_counter() - began
        left = spent * (1 / done - 1) if done > 0 else float("nan")
        bar = "#" * round(30 * done)
        end = "\n" if done >= 1 else ""
        sys.stderr.write(f"\r{title} [{bar:<30}] {100 * done:3.0f} %  {spent:.0f} s, {left:.0f} s left {end}")
        sys.stderr.flush()

    return report
