"""Measure the action potentials of a saved trace or a recording: a table of beats (CSV or HDF5) and a figure.

FILE is one of
  - a trace that `simulate` (or Trace.save) wrote;
  - a table of text (CSV and its kin, ATF): one row a sample, times, then a column of potentials for each cell or sweep.
    Any separator, decimal point or comma, lines before the numbers. Best is a header t_ms,V_mV[,...];
  - HDF5 with datasets `t` (time,) and `V` (time,) or (cells, time), each with an attribute unit;
  - HDF5 with a dataset `V` only, and the attribute sampling_rate_Hz on it, on its group or on the file;
  - ABF, or WFDB (its .hea), with pip install 'jaxcardio[recordings]'.
Units are read where they are written: s, ms, us, min; V, mV, uV. Where none is, it is inferred from the values, which
is said, or asked for. With --group the datasets are looked for in that group of an HDF5 recording, and --dataset names
another than V.
"""

from .shared import Parser, ms, mV, output_arguments, plain


def add_arguments(parser: Parser) -> None:
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--group", default="", help="group of an HDF5 recording that holds the datasets")
    parser.add_argument("--dataset", default="V", metavar="NAME", help="the potential's dataset there (default: V)")
    parser.add_argument("--channel", metavar="NAME", help="column or channel to read, by name or number from 0")
    parser.add_argument(
        "--time-unit", metavar="UNIT", help="of a file that does not say it (or says it wrongly): ms, s, us"
    )
    parser.add_argument("--potential-unit", metavar="UNIT", help="of a file that does not say it: mV, V, uV")
    parser.add_argument(
        "--sampling-rate", type=plain, metavar="HZ", help="of a file without times, or with times that are rounded, Hz"
    )
    parser.add_argument("--smoothing", type=ms, metavar="MS", help="moving average before, ms (default: by the noise)")
    parser.add_argument(
        "--ead-rise", type=mV, metavar="MV", help="smallest rise that is an EAD, mV (default 2; more in noise)"
    )
    parser.add_argument("--min-amplitude", type=mV, metavar="MV", help="smallest action potential, mV (default 20)")
    output_arguments(parser, "FILE-beats.csv")
