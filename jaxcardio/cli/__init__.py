"""The verbs of the command line, one a module: `add_arguments(parser)` and `run(arguments) -> exit status`."""

from . import beats, check, drug, models, run

VERBS = {"models": models, "simulate": run, "drug": drug, "biomarkers": beats, "check": check}
