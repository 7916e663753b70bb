"""What the verbs of populations share: which cells to sample, and which of them are viable."""

import argparse
from typing import Any

import numpy as np

from ..cell import AbstractCell, unknown_name
from ..population import AbstractDistribution, LatinHypercube, LogNormal, Rules, Sobol, Uniform
from .arguments.shared import ALL, CONDUCTANCES, SIX_CURRENTS
from .common import check_temperature, described_cell


def make_population(model: type[AbstractCell], given: argparse.Namespace) -> dict[str, Any]:
    """cell, n, seed, distribution and parameters, as `population.sample` and `Recipe` take them."""
    cell = described_cell(model, given)
    if given.temperature is not None:
        if "temperature" not in cell.parameters():
            raise ValueError(
                f"--temperature = {given.temperature} K: {model.__name__} has none; its kinetics are fixed"
            )
        check_temperature("--temperature", given.temperature)
        cell = cell.replace(temperature=given.temperature)
    names, distribution = _parameters(cell, given.parameters), _distribution(given)
    return {"cell": cell, "n": given.cells, "seed": given.seed, "distribution": distribution, "parameters": names}


def _distribution(given: argparse.Namespace) -> AbstractDistribution:
    if given.log_normal is not None:
        return LogNormal(given.log_normal)
    if given.latin_hypercube is not None:
        return LatinHypercube(given.latin_hypercube, given.cells)
    if given.sobol is not None:
        return Sobol(given.sobol)
    return Uniform(0.2 if given.spread is None else given.spread)


def _parameters(cell: AbstractCell, text: str | None) -> tuple[str, ...]:
    model, known = type(cell).__name__, cell.parameters()
    published: tuple[str, ...] | None = getattr(cell, "SIX_CURRENTS", None)
    conductances = tuple(np.unique(list(cell.conductances.values())).tolist())
    if text is None:
        text = SIX_CURRENTS if published else CONDUCTANCES
    lists = {SIX_CURRENTS: published, CONDUCTANCES: conductances, ALL: tuple(known)}
    if text in lists:
        if not lists[text]:
            raise ValueError(f"--parameters = {text}: {model} has none; allowed: {ALL}, or NAME,NAME,...")
        return lists[text]
    names = tuple(name.strip() for name in text.split(","))
    for name in names:
        if name not in known:
            raise ValueError(f"--parameters: {unknown_name('parameter', name, known, model)}")
    return names


def make_rules(given: argparse.Namespace) -> Rules:
    return Rules(min_beats=given.min_beats, ranges=dict(_range(text) for text in given.range))


def _range(text: str) -> tuple[str, tuple[float, float]]:
    try:
        name, ends = text.split("=")
        low, high = ends.split(":")
        return name.strip(), (float(low) if low.strip() else -np.inf, float(high) if high.strip() else np.inf)
    except ValueError:
        raise ValueError(f"--range = {text!r}; allowed: NAME=LOW:HIGH, e.g. apd90=100:800") from None
