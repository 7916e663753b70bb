"""What each verb of the command line accepts, and its help. Without JAX: what is wrong is said at once."""

import argparse

from . import (
    biomarkers,
    check,
    dataset,
    drug,
    hidden_state,
    intracellular,
    models,
    population,
    simulate,
    sodium,
    tissue,
    twin,
)
from .shared import Parser, add_documented

VERBS = {
    "models": models,
    "simulate": simulate,
    "drug": drug,
    "biomarkers": biomarkers,
    "population": population,
    "dataset": dataset,
    "tissue": tissue,
    "twin": twin,
    "hidden-state": hidden_state,
    "sodium": sodium,
    "intracellular": intracellular,
    "check": check,
}
"""The verbs: each module's docstring is its help, and its `add_arguments` what it accepts."""


def parser() -> Parser:
    """The whole command line, verbs included."""
    top = Parser("jaxcardio", description="Cardiac cell models in JAX.")
    top.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    top.set_defaults(no_cache=False)
    verbs = top.add_subparsers(title="verbs", dest="verb", required=True, metavar="VERB")
    for name, verb in VERBS.items():
        verb.add_arguments(add_documented(verbs, name, verb.__doc__))
    return top


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version  # slow to import

        print(f"jaxcardio {version('jaxcardio')}")
        parser.exit()
