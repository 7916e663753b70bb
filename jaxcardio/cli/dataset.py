"""The verb `dataset`."""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments import check_whole
from ..files.records import standard_cell
from ..population import Dataset, Recipe, make_dataset, problems
from ..population.manifest import NAME as MANIFEST
from ..population.shards import holds_something_else
from ..population.viability import check_window
from ..progress import say
from ..protocols import AbstractProtocol, Segments, VoltageSteps
from ..text_tables import text_table
from .common import (
    USUAL,
    check_longest_step,
    find_model,
    length_of,
    make_protocol,
    output_names,
    protocol_ways,
)
from .sampled import make_population, make_rules

STEP = 250.0
LEVELS = (
    *(-100, -40, 0, -60, 20, -80, -20, 40, -110, -50, 10, -30, 50, -90, -10, 30, -70, -120, -40, -100, 0, -60, 20, -80),
    *(-120, -30, 30, -50),
)
PUBLISHED_STYLE = VoltageSteps(list(LEVELS), [STEP] * len(LEVELS))
"""A clamp in the style of the published one (doi 10.7554/eLife.110013, Methods): 7 s of steps of 250 ms between -120
and 50 mV by 10 mV, first -100 mV, and -120 mV at 6000 ms. There a search chose the others, and did not print them; here
every level comes once, low after high, and eight come again."""


def _make(given: argparse.Namespace) -> int:
    folder = _checked_folder(given.folder)
    check_whole("--shard", given.shard, "cells")
    return _run(folder, _recipe(given), given.shard, given.chunk)


def _resume(given: argparse.Namespace) -> int:
    _check_chunk(given.chunk)
    data = Dataset(given.folder)
    return _run(data.folder, data.recipe, data.shard, given.chunk)


def _run(folder: Path, recipe: Recipe, shard: int, chunk: int | None) -> int:
    _check_chunk(chunk)
    try:
        data = make_dataset(folder, recipe, shard=shard, chunk=chunk, progress=True)
    except KeyboardInterrupt:
        if not (folder / MANIFEST).exists():
            raise
        data = Dataset(folder)
        say(
            f"\njaxcardio: interrupted with {data.info()['shards']} shards finished; "
            f"go on with: jaxcardio dataset resume {folder}\n"
        )
        return 130
    print(_table(data))
    return 0


def _check_chunk(chunk: int | None) -> None:
    if chunk is not None:
        check_whole("--chunk", chunk, "cells")


def _verify(given: argparse.Namespace) -> int:
    bad = problems(given.folder, progress=True)
    for problem in bad:
        print(problem)
    print(f"{len(bad)} of its files are not as they were written" if bad else "every shard is as it was written")
    return 1 if bad else 0


def _info(given: argparse.Namespace) -> int:
    print(_table(Dataset(given.folder)))
    return 0


def _recipe(given: argparse.Namespace) -> Recipe:
    model = find_model(given.model)
    check_longest_step(given, given.save_every)
    population = make_population(model, given)
    if USUAL[model.__name__].time_unit != "ms" and not protocol_ways(given):
        raise ValueError(f"--model = {model.__name__}: is dimensionless, the default clamp is in mV; give a --protocol")
    protocol = make_protocol(model, given) if protocol_ways(given) else PUBLISHED_STYLE
    stimulus = USUAL[model.__name__].stimulus if protocol is None or protocol.kind == "voltage" else protocol
    check_window(given.screen_t1, given.screen_discard, None, "--screen-")
    return Recipe(
        **population,
        protocol=protocol,
        t1=length_of(model, protocol, given.t1),
        save_every=given.save_every,
        outputs=output_names(given.outputs, population["cell"]),
        dt=given.dt,
        dtype=given.dtype,
        rules=make_rules(given) if given.screen else None,
        screening_protocol=stimulus if protocol_ways(given) != ["--no-stimulus"] else None,
        screening_t1=given.screen_t1,
        screening_discard=given.screen_discard,
    )


def _checked_folder(path: str) -> Path:
    """The folder, if a dataset can be in it: found out before the work, not after it."""
    folder = Path(path)
    if not folder.parent.is_dir():
        raise ValueError(f"FOLDER = {folder}: there is no folder {folder.parent}")
    begun = (folder / MANIFEST).exists()
    if folder.exists() and not begun and (folder.is_file() or holds_something_else(folder)):
        raise ValueError(f"FOLDER = {folder}: is something else; allowed: a new or empty folder, or a dataset")
    nearest = folder if folder.exists() else folder.parent
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ValueError(f"FOLDER = {folder}: {nearest} cannot be written to")
    return folder


def _table(data: Dataset) -> str:
    info, recipe = data.info(), data.recipe
    said = recipe.to_json()
    dropped = [(f"  {why}", str(count)) for why, count in info["dropped"].items() if count]
    design = ", ".join(f"{k} {x}" for k, x in said["distribution"].items() if k != "type")
    rows = [
        ("cells", f"{info['made']} of {info['cells']} made"),
        ("kept", str(info["kept"])),
        ("dropped", str(info["made"] - info["kept"])),
        *dropped,
        (
            "samples",
            f"{info['samples']} every {recipe.save_every:g} ms of {', '.join(recipe.outputs)} ({recipe.dtype})",
        ),
        ("shards", info["shards"] + f", {info['lost']} lost: resume makes them again" * bool(info["lost"])),
        ("bytes", f"{info['bytes']:,}"),
        ("bytes a kept cell", f"{info['bytes_per_kept_cell']:,.0f}" if info["kept"] else "-"),
        ("model", f"{said['cell']['model']}{_changes(said['cell'])}"),
        ("parameters", f"{len(recipe.parameters)}: {_shortened(recipe.parameters)}"),
        ("design", f"{said['distribution']['type']}, {design}; seed {recipe.seed}"),
        ("protocol", _said_protocol(recipe.protocol, recipe.t1)),
        ("rules", json.dumps(said["rules"]) if recipe.rules else "none: every cell whose run ended well is kept"),
    ]
    return text_table(rows, left=2)


def _changes(cell: dict[str, Any]) -> str:
    """The variant, and what differs from it as published."""
    standard = standard_cell(cell["model"], cell["static"]).parameters()
    changed = {k: v for k, v in cell["parameters"].items() if not np.isclose(v, float(standard[k].value), rtol=1e-6)}
    variant = [f"{k} {x}" for k, x in cell["static"].items() if x]
    return "".join(f", {x}" for x in [*variant, *(f"{k} = {v:g} {standard[k].unit}" for k, v in changed.items())])


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 8 else f"{', '.join(names[:7])}, ..."


def _said_protocol(protocol: AbstractProtocol | None, t1: float) -> str:
    if protocol is None:
        return f"none, {t1:g} ms"
    kind = "clamp" if protocol.kind == "voltage" else "stimulus"
    parts = f" of {len(protocol.durations)} pieces" if isinstance(protocol, Segments) else ""
    return f"{kind}, {type(protocol).__name__}{parts}, {t1:g} ms"


_JOBS = {"make": _make, "resume": _resume, "verify": _verify, "info": _info}


def run(given: argparse.Namespace) -> int:
    return _JOBS[given.job](given)
