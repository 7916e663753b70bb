"""Populations of cells: simulate them, screen them for viable ones, plot what came out.

Cell i of a seed and a design is always the same cell, whatever the number of cells or the machine.

Examples:
  jaxcardio population simulate cells.h5 --cells 200 --t1 10000
  jaxcardio population simulate clamped.h5 --steps "-80:500,0:250" --outputs I_ion_total,I_CaL
  jaxcardio population screen --cells 300 --sobol 0.4 --range apd90=100:800 --out screened.csv
  jaxcardio population plot cells.h5
"""

from .shared import (
    Parser,
    add_jobs,
    chunk_argument,
    ms,
    population_arguments,
    rules_arguments,
    stimulus_arguments,
    whole,
)


def add_arguments(parser: Parser) -> None:
    add_jobs(parser, simulate=_simulate, screen=_screen, plot=_plot)


def _simulate(parser: Parser) -> None:
    """Sample cells, simulate each, and keep the potential or the named outputs in one HDF5 file."""
    parser.add_argument("out", metavar="OUT.h5")
    population_arguments(parser)
    stimulus_arguments(parser)
    _run_arguments(parser)
    parser.add_argument("--outputs", metavar="NAMES", help="states and currents to keep (default: the potential)")


def _run_arguments(parser: Parser) -> None:
    group = parser.add_argument_group("numerics (rush-larsen-2; under a clamp the closed form)")
    group.add_argument("--t1", type=ms, metavar="MS", help="length of each run, ms")
    group.add_argument("--save-every", type=ms, metavar="MS", help="sampling interval, ms (default 1 ms; 0.05 t.u.)")
    group.add_argument("--dt", type=ms, metavar="MS", help="longest step, ms (default: chosen by the protocol)")
    chunk_argument(group)


def _screen(parser: Parser) -> None:
    """Sample cells and tell which of them are viable, and every reason against the others."""
    population_arguments(parser)
    stimulus_arguments(parser)
    rules_arguments(parser).add_argument(
        "--discard", type=ms, metavar="MS", help="beginning of each run, not looked at, ms (default: half of t1)"
    )
    _run_arguments(parser)
    parser.set_defaults(t1=10_000.0)
    parser.add_argument("--out", metavar="FILE", help="a row a cell, with its reasons: .csv, or .h5 to plot")


def _plot(parser: Parser) -> None:
    """Draw traces of some cells with median and 5 to 95 % band, or biomarkers of a screening, or both of a dataset."""
    parser.add_argument("source", metavar="FILE|FOLDER", help="a population, a screening (.h5), or a dataset")
    parser.add_argument("--out", metavar="FIG.png", help="where to draw (default: FILE's or FOLDER's name)")
    parser.add_argument("--output", metavar="NAME", help="the saved state or current to draw")
    parser.add_argument("--cells", type=whole, default=200, metavar="N", help="cells read of a dataset (default 200)")
