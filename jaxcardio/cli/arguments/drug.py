"""A dose series of a drug on a population: biomarkers and how many cells show EADs or fail to repolarise.

The population is sampled around the model's baseline: each varied parameter times an independent uniform factor in
1 +- spread. Cells that do not beat or do not repolarise without the drug are dropped, and the table says how many.
An EAD is a rise of V by 2 mV or more while a beat repolarises (past APD30, before APD90), in at least one beat after
the discarded time that then does repolarise; a cell whose V never comes back below -60 mV counts as "no repolarisation"
instead ("either" counts both). Incidences are among all cells viable without the drug, with Wilson intervals.

Example:
  jaxcardio drug E-4031 --cells 300 --doses 0 10 30 50 70 100 --out e4031.h5
"""

from .shared import Parser, model_arguments, model_name, ms, nM, output_arguments, plain, stimulus_arguments, whole


def add_arguments(parser: Parser) -> None:
    parser.add_argument("drug", metavar="DRUG", help="a drug of jaxcardio.pharmacology.DRUGS, e.g. E-4031")
    doses = parser.add_argument_group("doses and population")
    doses.add_argument(
        "--doses", type=nM, nargs="+", metavar="NM",
        help="nM, ascending (default: 0 10 30 50 70 100 for E-4031, else 0, 0.3, 1, 3, 10 and 30 free plasma peaks)",
    )  # fmt: skip
    doses.add_argument("--model", type=model_name, default="KernikClancy2019", help="default: KernikClancy2019")
    doses.add_argument("--cells", type=whole, default=300, help="how many to sample (default 300)")
    doses.add_argument("--seed", type=whole, default=0, help="cell i of a seed is always the same cell (default 0)")
    doses.add_argument("--spread", type=plain, default=0.2, help="relative, 0 <= spread < 1 (default 0.2)")
    doses.add_argument(
        "--vary", nargs="+", metavar="PARAMETER",
        help="parameters to vary (default: the published 52 of KernikClancy2019, else every conductance)",
    )  # fmt: skip
    model_arguments(parser)
    stimulus_arguments(parser)
    steps = parser.add_argument_group("numerics")
    steps.add_argument("--dt", type=ms, default=0.1, metavar="MS", help="step of rush-larsen-2, ms (default 0.1)")
    steps.add_argument("--t1", type=ms, default=10_000.0, metavar="MS", help="length of each run, ms (default 10000)")
    steps.add_argument("--discard", type=ms, metavar="MS", help="not looked at, ms (default: half of t1)")
    steps.add_argument("--save-every", type=ms, default=1.0, metavar="MS", help="ms (default 1)")
    output_arguments(parser, "DRUG.h5")
