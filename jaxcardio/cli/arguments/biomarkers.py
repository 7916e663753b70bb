"""Measure the action potentials of a saved trace or a recording: a table of beats (CSV or HDF5) and a figure.

FILE is one of
  - a trace that `simulate` (or Trace.save) wrote;
  - CSV with a header line t_ms,V_mV[,...]: one row a sample, ascending times in ms, then a column of mV for each cell;
  - HDF5 with datasets `t` (time,), attribute unit = ms or s, and `V` (time,) or (cells, time), unit = mV or V;
  - HDF5 with a dataset `V` only, and the attribute sampling_rate_Hz on it, on its group or on the file.
With --group the datasets are looked for in that group of an HDF5 recording, and --dataset names another than V.
"""

from .shared import Parser, ms, mV, output_arguments


def add_arguments(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--group", default="", help="group of an HDF5 recording that holds the datasets")
    parser.add_argument("--dataset", default="V", metavar="NAME", help="the potential's dataset there (default: V)")
    parser.add_argument("--smoothing", type=ms, metavar="MS", help="moving average before, ms (default: by the noise)")
    parser.add_argument(
        "--ead-rise", type=mV, metavar="MV", help="smallest rise that is an EAD, mV (default 2; more in noise)"
    )
    parser.add_argument("--min-amplitude", type=mV, metavar="MV", help="smallest action potential, mV (default 20)")
    output_arguments(parser, "FILE-beats.csv")
