"""The verbs of the command line, one a module: `add_arguments(parser)` and `run(arguments) -> exit status`."""

from . import beats, check, dataset, drug, hidden_state, models, population, run, twin

VERBS = {
    "models": models,
    "simulate": run,
    "drug": drug,
    "biomarkers": beats,
    "population": population,
    "dataset": dataset,
    "twin": twin,
    "hidden-state": hidden_state,
    "check": check,
}
