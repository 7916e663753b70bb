"""Progress of long work."""

import contextlib
import sys
import time
from collections.abc import Callable


def progress_bar(title: str, total: float | None = None, unit: str = "") -> Callable[[float], None]:
    """A one-line bar on stderr: call it with the fraction done. With a total and its unit it shows the rate."""
    began = time.perf_counter()

    def report(done: float) -> None:
        spent = time.perf_counter() - began
        left = f", {spent * (1 / done - 1):.0f} s left" if done > 0 else ""
        rate = "" if total is None or spent == 0 else f", {total * done / spent:.3g} {unit}/s"
        bar = "#" * round(30 * done)
        end = "\n" if done >= 1 else ""
        say(f"\r{title} [{bar:<30}] {100 * done:3.0f} %  {spent:.0f} s{rate}{left} {end}")

    return report


def say(text: str) -> None:
    """Writes on stderr, if that can be done: where it is closed or full the work goes on."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(text)
        sys.stderr.flush()
