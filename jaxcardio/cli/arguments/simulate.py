"""Run one cell: HDF5 with every state (or, with --out NAME.csv, times and potentials), a table of its beats, a figure.

Times are in ms (in the model's time unit, t.u., for the Aliev-Panfilov models), potentials in mV, currents in pA/pF,
outward positive, so a depolarising pulse is negative.

Examples:
  jaxcardio simulate TenTusscher2004 --variant epi --t1 10000 --set g_Kr=0.05
  jaxcardio simulate kernik --drug E-4031 --dose 7 --t1 12000 --out blocked.h5
  jaxcardio simulate kernik --out beats.csv
  jaxcardio simulate skibsbye --solver rush-larsen-2 --paced-grid --period 500
"""

from .shared import Parser, model_arguments, model_name, ms, nM, output_arguments, plain, stimulus_arguments

SOLVERS = ("rush-larsen", "rush-larsen-2", "rush-larsen-midpoint", "kvaerno3", "kvaerno5", "tsit5", "euler")


def add_arguments(parser: Parser) -> None:
    parser.add_argument("model", type=model_name, metavar="MODEL", help="see `jaxcardio models`")
    model_arguments(parser)
    parser.add_argument("--init", action="append", default=[], metavar="STATE=VALUE", help="change the initial state")
    stimulus_arguments(parser)
    block = parser.add_argument_group("drug")
    block.add_argument("--drug", metavar="NAME", help="a drug of jaxcardio.pharmacology.DRUGS")
    block.add_argument("--dose", type=nM, metavar="NM", help="its concentration, nM")
    steps = parser.add_argument_group("numerics")
    steps.add_argument("--solver", default="rush-larsen-2", choices=SOLVERS, help="default: rush-larsen-2")
    steps.add_argument("--dt", type=ms, metavar="MS", help="fixed step, ms (default 0.01 ms; 0.005 t.u.)")
    steps.add_argument(
        "--rtol", type=plain, help="relative tolerance: adaptive steps (kvaerno3, kvaerno5 and tsit5 adapt by default)"
    )
    steps.add_argument("--paced-grid", action="store_true", help="small steps after each pulse, large ones in diastole")
    steps.add_argument("--t1", type=ms, metavar="MS", help="length of the run, ms (default 5000 ms; 5 beats in t.u.)")
    steps.add_argument("--save-every", type=ms, metavar="MS", help="sampling interval, ms (default 0.1 ms; 0.05 t.u.)")
    output_arguments(parser, "MODEL.h5")
