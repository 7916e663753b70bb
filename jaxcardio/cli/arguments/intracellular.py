"""Action potentials inside the cells from recordings made outside of them: make up, train, reconstruct, monitor.

RECORDING is an HDF5 file of this library, of Multi Channel Systems or of MaxWell, or a table of text with a column of
times and one column a channel; its content tells which. PAIRS.h5 holds windows of the same beats from outside and from
inside (`synthesize --pairs`). NETWORK is one that ships (small), or a file of `train`. Times are in ms, potentials in
mV; reconstructed traces are normalised, rest 0.1 and peak 1. Intervals hold 90 %. ~ marks what is not to be trusted.

Examples:
  jaxcardio intracellular synthesize recording.h5 --channels 8 --minutes 6 --added-at 180
  jaxcardio intracellular reconstruct recording.h5 --out beats.h5 --plot beats.png
  jaxcardio intracellular monitor recording.h5 --out monitored.h5 --table beats.csv --plot figure.png
  jaxcardio intracellular synthesize pairs.h5 --pairs 400 --seed 1
  jaxcardio intracellular train pairs.h5 --out mine.h5
  jaxcardio intracellular evaluate unseen.h5 --network mine.h5 --training pairs.h5 --out table.json
"""

from typing import Any

from .shared import Parser, add_jobs, ms, nM, number, plain, whole

DEVICES = ("nea", "mea")
"""Kinds of arrays that can be made up."""
UNITS = ("mV", "uV", "V")
SMALL = "small"
"""The network that ships."""
PREPARATIONS = 720
"""Made up to train on where no file is given."""
seconds, minutes, hertz = number("s"), number("minutes"), number("Hz")


def add_arguments(parser: Parser) -> None:
    add_jobs(
        parser, synthesize=_synthesize, train=_train, reconstruct=_reconstruct, evaluate=_evaluate, monitor=_monitor
    )


def _synthesize(parser: Parser) -> None:
    """Make up a recording of simulated cells under simulated electrodes, or pairs to train on.

    Electrodes of a recording lie over a paced culture, and every second one is electroporated, so that it records the
    neighbour of the one before it from inside; --unpaired: none. The same seed gives the same file.

    Examples:
      jaxcardio intracellular synthesize recording.h5 --minutes 10 --drug dofetilide --nM 10 --added-at 300
      jaxcardio intracellular synthesize pairs.h5 --pairs 400 --drugs none,dofetilide,nifedipine --device mea
    """
    parser.add_argument("file", metavar="OUT.h5")
    parser.add_argument("--device", choices=DEVICES, help="nanoelectrodes at 5 kHz or planar ones at 10 kHz (nea)")
    parser.add_argument("--seed", type=whole, default=0, help="of cells, electrodes and noise (default 0)")
    made = parser.add_argument_group("a recording")
    made.add_argument("--channels", type=whole, metavar="N", help="electrodes (default 16)")
    made.add_argument("--minutes", type=minutes, metavar="MIN", help="length, minutes (default 10)")
    made.add_argument("--drug", help="that is added, none for the vehicle alone (default dofetilide)")
    made.add_argument("--nM", type=nM, metavar="NM", help="its concentration, nM (default 10)")
    made.add_argument("--added-at", type=seconds, metavar="S", help="when, seconds (default 300)")
    made.add_argument("--cycle-length", type=ms, metavar="MS", help="of the stimulus, ms (default 1500)")
    made.add_argument("--electroporated-at", type=seconds, metavar="S", help="when, seconds (default 60)")
    made.add_argument("--unpaired", action="store_true", help="all electrodes record from outside")
    pairs = parser.add_argument_group("instead: pairs")
    pairs.add_argument("--pairs", type=whole, metavar="N", help="of so many simulated preparations")
    pairs.add_argument("--drugs", metavar="NAME,NAME,...", help="of which each has one (default: those of the study)")


def _train(parser: Parser) -> None:
    """Train a network on pairs, correct its intervals, and say how good it is on cells that it has not seen.

    SOURCE is a file of pairs, or a recording with electroporated neighbours; several are joined. Without any, pairs
    are made up on the spot. Cells are divided: a tenth judges the result; of the others 60 % train, 8 % say when it
    was best, and 32 % correct the intervals. The same seed gives the same network on one machine.

    Examples:
      jaxcardio intracellular train --out mine.h5
      jaxcardio intracellular train nea.h5 lab.h5 --epochs 60 --checkpoint mine.checkpoint
    """
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help="pairs or paired recordings (default: made up)")
    parser.add_argument(
        "--pairs", type=whole, metavar="N", help=f"without SOURCE: of so many preparations (default {PREPARATIONS})"
    )
    parser.add_argument("--out", metavar="FILE.h5", help="where to write (default: intracellular.h5)")
    parser.add_argument("--epochs", type=whole, help="times that each pair is seen (default 30)")
    parser.add_argument("--seed", type=whole, default=0, help="of weights, division and made-up pairs (default 0)")
    parser.add_argument("--beta", type=plain, help="weight of the Aliev-Panfilov residual, 0 for none (default 0.01)")
    parser.add_argument("--solver-weight", type=plain, metavar="W", help="of the simulated model's error (default 0)")
    parser.add_argument("--full", action="store_true", help="the published size, at 5 kHz: for a GPU")
    parser.add_argument("--bfloat16", action="store_true", help="compute in bfloat16 (default float32): for a GPU")
    parser.add_argument("--checkpoint", metavar="FILE", help="kept while it trains; goes on from there if it exists")


def _reading_arguments(parser: Parser) -> None:
    parser.add_argument("file", metavar="RECORDING")
    _network_argument(parser)
    group = parser.add_argument_group("what is read")
    group.add_argument("--channels", metavar="NAME,NAME,...", help="default: all")
    group.add_argument("--stream", metavar="NAME", help="of several in the file: label, type or number")
    group.add_argument("--recording", metavar="NAME", help="of several in the file: label or number (the first)")
    group.add_argument("--unit", choices=UNITS, help="of the potentials, where the file names none")
    group.add_argument(
        "--sampling-rate", type=hertz, metavar="HZ", help="of a table of text without times, samples a second"
    )


def _network_argument(parser: Any) -> None:
    parser.add_argument("--network", default=SMALL, help=f"name or file (default {SMALL}, which ships)")


def _figure_argument(parser: Any, what: str) -> None:
    parser.add_argument("--plot", metavar="FILE", help=f"also draw {what} (.png, .svg, .pdf)")


def _reconstruct(parser: Parser) -> None:
    """Reconstruct every beat: traces and durations with intervals, and why a beat or channel was left out.

    Examples:
      jaxcardio intracellular reconstruct recording.h5 --out beats.h5 --plot beats.png
      jaxcardio intracellular reconstruct lab.h5 --network mine.h5 --channels 47,48 --begin 60000 --end 120000
    """
    _reading_arguments(parser)
    parser.add_argument("--begin", type=ms, metavar="MS", help="first time, ms (default: of the recording)")
    parser.add_argument("--end", type=ms, metavar="MS", help="last time, ms (default: of the recording)")
    parser.add_argument("--out", metavar="FILE.h5", help="where to write (default: RECORDING-intracellular.h5)")
    _figure_argument(parser, "a beat of each channel")


def _evaluate(parser: Parser) -> None:
    """Print how well a network does on pairs of cells, drugs or devices that it has not seen, beside simpler ways.

    Each file is a row. Exit status 1 where a bar is missed: normalised MAE 0.035 (0.039 on another device), 4 times
    better than the mean action potential, r 0.99, APD30 to 90 within 5 % (median) and 6.2 % (mean), 87 to 93 % within
    the 90 % intervals, no crossing.

    Examples:
      jaxcardio intracellular evaluate unseen.h5 --network mine.h5 --training pairs.h5
      jaxcardio intracellular evaluate cells.h5 drug.h5 mea.h5 --training pairs.h5 --out table.csv
    """
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="pairs or paired recordings")
    _network_argument(parser)
    parser.add_argument(
        "--training", metavar="PAIRS.h5", help="what it was trained on: for the mean action potential and a ridge"
    )
    parser.add_argument(
        "--calibration", metavar="PAIRS.h5", help="correct the intervals on these first: other cells, of that device"
    )
    parser.add_argument("--out", metavar="FILE", help="also write the table (.json, .csv)")


def _monitor(parser: Parser) -> None:
    """Monitor a long recording: durations of every beat, and what each addition that it names changed.

    Memory does not grow with the length of the recording but for some 200 bytes a beat.

    Examples:
      jaxcardio intracellular monitor recording.h5 --out monitored.h5 --table beats.csv --plot figure.png
      jaxcardio intracellular monitor lab.h5 --every 5 --wash-in 300000 --span 60000
    """
    _reading_arguments(parser)
    parser.add_argument("--every", type=whole, metavar="N", help="only each N-th beat is reconstructed (default 1)")
    parser.add_argument("--wash-in", type=ms, metavar="MS", help="from an addition to its effect, ms (default 120000)")
    parser.add_argument("--span", type=ms, metavar="MS", help="length of the periods compared, ms (default 120000)")
    parser.add_argument("--out", metavar="FILE.h5", help="where to write (default: RECORDING-monitored.h5)")
    parser.add_argument("--table", metavar="FILE.csv", help="also write one row a beat")
    _figure_argument(parser, "durations, examples and effects")
