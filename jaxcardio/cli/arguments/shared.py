"""What the verbs' arguments share: the parser, numbers, names of models, groups of options."""

import argparse
import difflib
import inspect
import math
import re
from collections.abc import Callable
from typing import Any, NoReturn

MODELS = {
    "KernikClancy2019": "Human iPSC-derived cardiomyocyte, beating spontaneously, 37 C. ms, mV, mM, pA/pF.",
    "TenTusscher2004": (
        "Human ventricular myocyte, 37 C: M cell (default), epicardial or endocardial. ms, mV, mM, pA/pF."
    ),
    "TenTusscherPanfilov2006": (
        "Human ventricular myocyte with a subspace, 37 C: epicardial (default), M or endocardial. ms, mV, mM, pA/pF."
    ),
    "Skibsbye2016": (
        "Human atrial myocyte, sinus rhythm, 37 C, no acetylcholine. ms, mV, mM, pA/pF, fluxes J in mM nL/ms."
    ),
    "AlievPanfilov1996": (
        "Potential u, recovery v; everything dimensionless: 1 time unit (t.u.) is 12.9 ms and E = 100 u - 80 mV."
    ),
    "AlievPanfilovModified": (
        "Potential v, recovery w, whose rate depends on v alone and falls from x to 1 - x above the threshold a."
    ),
}
"""The models and the first lines of their docstrings (a test compares them)."""
SIX_CURRENTS, CONDUCTANCES, ALL = "six-currents", "conductances", "all"
"""Names for lists of parameters."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and takes --no-cache before and after the verb."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # argparse takes "-100:250,..." for an option unless it looks like a negative number.
        self._negative_number_matcher = re.compile(r"-\.?\d")
        self.add_argument(
            "--no-cache", action="store_true", default=argparse.SUPPRESS,
            help="compile everything anew: neither read nor write compiled programs in the user's cache folder",
        )  # fmt: skip

    def error(self, message: str) -> NoReturn:
        said = " ".join(message.removeprefix("argument ").split()).replace(": = ", " = ", 1)
        self.exit(2, f"{self.prog}: error: {said} (see {self.prog} --help)\n")


def add_documented(several: Any, name: str, doc: str | None) -> Parser:
    """A verb or job whose help is `doc`: its first line in the list of them, all of it in its own."""
    doc = (doc or "").strip()
    line = doc.partition("\n")[0].replace("%", "%%")  # argparse formats the one, and not the other
    raw = argparse.RawDescriptionHelpFormatter
    return several.add_parser(name, help=line, description=doc, formatter_class=raw)


def add_jobs(parser: Parser, **jobs: Callable[[Parser], None]) -> None:
    """The jobs of a verb: the function that adds a job's arguments, whose docstring is its help."""
    several = parser.add_subparsers(title="jobs", dest="job", required=True, metavar="JOB")
    for name, arguments_of in jobs.items():
        arguments_of(add_documented(several, name, inspect.getdoc(arguments_of)))


def number(unit: str = "") -> Callable[[str], float]:
    """A type of option: a number, in a unit; text and nan are refused. Which numbers make sense is told by the work."""

    def read(text: str) -> float:
        try:
            found = float(text)
        except ValueError:
            found = math.nan
        if math.isnan(found):
            raise argparse.ArgumentTypeError(f"= {text!r}{unit and f' {unit}'}; allowed: a number")
        return found

    return read


ms, mV, nM, kelvin, plain = number("ms"), number("mV"), number("nM"), number("K"), number()


def whole(text: str) -> int:
    """A type of option: a whole number."""
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"= {text!r}; allowed: a whole number") from None


def model_name(text: str) -> str:
    """A type of option: case, hyphens and underscores are ignored; a name without its year or its beginning will do."""
    folded = {_fold(name): name for name in MODELS}
    wanted = _fold(text)
    hits = (
        [name for key, name in folded.items() if key == wanted]
        or [name for key, name in folded.items() if key.rstrip("0123456789") == wanted]
        or [name for key, name in folded.items() if key.startswith(wanted)]
    )
    if len(hits) == 1:
        return hits[0]
    if hits:
        raise argparse.ArgumentTypeError(f"= {text!r} is the beginning of several: {', '.join(hits)}")
    near = difflib.get_close_matches(text, MODELS, n=3, cutoff=0.4)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    raise argparse.ArgumentTypeError(f"= {text!r}: no MODEL of that name{hint} (all: {', '.join(MODELS)})")


def _fold(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "").replace(" ", "")


def model_arguments(parser: Any) -> None:
    _cell_arguments(parser)
    parser.add_argument("--float32", action="store_true", help="compute in single precision (default: double)")


def _cell_arguments(parser: Any) -> None:
    parser.add_argument(
        "--variant", help="published variant, e.g. epi (TenTusscher2004, TenTusscherPanfilov2006: M, epi, endo)"
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="set a parameter (`models MODEL` lists them)"
    )


def population_arguments(parser: Parser) -> None:
    """What cells to sample: the model, how many, which design, of which parameters."""
    group = parser.add_argument_group("population")
    group.add_argument(
        "--model", type=model_name, default="KernikClancy2019", help="see `jaxcardio models` (default KernikClancy2019)"
    )
    _cell_arguments(group)
    group.add_argument("--temperature", type=kelvin, metavar="K", help="of the kinetics (KernikClancy2019: 310, Q10 3)")
    group.add_argument("--cells", type=whole, default=1000, help="how many to sample (default 1000)")
    group.add_argument("--seed", type=whole, default=0, help="cell i of a seed is always the same cell (default 0)")
    group.add_argument(
        "--parameters", metavar="NAMES",
        help=f"what varies: {SIX_CURRENTS} (the published 52 of KernikClancy2019, its default), {CONDUCTANCES} "
        f"(default of the others), {ALL} (physical constants too), or NAME,NAME,...",
    )  # fmt: skip
    design = group.add_mutually_exclusive_group()
    design.add_argument("--spread", type=plain, metavar="S", help="independent uniform in 1 +- S (default: 0.2)")
    design.add_argument("--log-normal", type=plain, metavar="SIGMA", help="log-normal, SIGMA of the natural logarithm")
    design.add_argument("--latin-hypercube", type=plain, metavar="S", help="a Latin hypercube of all cells in 1 +- S")
    design.add_argument("--sobol", type=plain, metavar="S", help="a scrambled Sobol sequence in 1 +- S")
    group.add_argument("--dtype", default="float32", choices=("float32", "float64"), help="of the runs (float32)")


def chunk_argument(parser: Any) -> None:
    parser.add_argument("--chunk", type=whole, metavar="N", help="cells at once on each device (default: what fits)")


def rules_arguments(parser: Parser) -> Any:
    """Which cells are viable. Returns the group, for what else decides it."""
    group = parser.add_argument_group("screening (a run of its own: which cells beat and come back to rest)")
    group.add_argument(
        "--min-beats", type=whole, default=1, metavar="N", help="complete beats it must have (default 1)"
    )
    group.add_argument(
        "--range", action="append", default=[], metavar="NAME=LOW:HIGH",
        help="allowed range of apd90, apd50, cycle_length (ms), mdp, peak (mV) or dvdt_max (mV/ms), e.g. "
        "apd90=100:800; an end may be left out",
    )  # fmt: skip
    return group


def stimulus_arguments(parser: Parser, default: str = "the model's published stimulus") -> None:
    group = parser.add_argument_group(f"stimulus or clamp (default: {default})")
    group.add_argument(
        "--protocol", "--clamp", metavar="FILE.json", help="a protocol as `jaxcardio.protocols.to_json` writes it"
    )
    group.add_argument("--steps", metavar="MV:MS,...", help="voltage steps, e.g. -100:250,-40:250; the last one holds")
    group.add_argument("--no-stimulus", action="store_true", help="no stimulus")
    group.add_argument("--pulse-amplitude", type=plain, metavar="A", help="pA/pF, depolarising negative")
    group.add_argument("--duration", type=ms, metavar="MS", help="of each pulse, ms")
    group.add_argument("--period", type=ms, metavar="MS", help="from pulse to pulse, ms")
    group.add_argument("--start", type=ms, metavar="MS", help="of the first pulse, ms")


def output_arguments(parser: Parser, default: str, figure: bool = True) -> None:
    parser.add_argument("--out", metavar="FILE", default=None, help=f"where to write (default: {default})")
    if figure:
        parser.add_argument("--no-plot", action="store_true", help="no PNG beside it")
