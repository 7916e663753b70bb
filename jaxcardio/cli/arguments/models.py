"""List the models, or the parameters, states and currents of one, with units."""

from .shared import Parser, model_name


def add_arguments(parser: Parser) -> None:
    parser.add_argument(
        "model", type=model_name, nargs="?", metavar="MODEL", help="e.g. KernikClancy2019, or the beginning of a name"
    )
