"""Compare every model with its reference on this machine and device, in double and single precision.

Right-hand sides and currents at the reference's states: |error| relative to the reference, whose size is floored at
a thousandth of the column's median. Traces: RMSE of V away from upstrokes, rush-larsen-2. Exit status 1 if a bar is
missed.
"""

from .shared import Parser


def add_arguments(parser: Parser) -> None:
    parser.add_argument("--no-traces", action="store_true", help="only right-hand sides and currents (seconds)")
    parser.add_argument("--float64-only", action="store_true", help="leave out single precision")
