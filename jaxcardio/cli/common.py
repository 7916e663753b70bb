"""What the verbs share: models and their usual runs, values from the command line, output files."""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from .. import models
from ..cell import AbstractCell, astype, unknown_name
from ..protocols import AbstractProtocol, PulseTrain, from_json


class Usual(NamedTuple):
    """How a model is usually run: stimulus (pA/pF, ms; or dimensionless), and times in its own unit."""

    stimulus: PulseTrain | None
    t1: float
    dt: float
    save_every: float
    time_unit: str = "ms"


MODELS: dict[str, type[AbstractCell]] = {
    "KernikClancy2019": models.KernikClancy2019,
    "TenTusscher2004": models.TenTusscher2004,
    "Skibsbye2016": models.Skibsbye2016,
    "AlievPanfilov1996": models.AlievPanfilov1996,
    "AlievPanfilovModified": models.AlievPanfilovModified,
}
USUAL = {
    "KernikClancy2019": Usual(None, 5000.0, 0.02, 0.1),  # beats by itself
    "TenTusscher2004": Usual(PulseTrain(-52.0, 1.0, 1000.0, 10.0), 5000.0, 0.02, 0.1),
    "Skibsbye2016": Usual(PulseTrain(-11.5, 2.0, 1000.0, 0.0), 5000.0, 0.02, 0.1),  # -575 pA
    "AlievPanfilov1996": Usual(PulseTrain(-0.5, 1.0, 50.0, 5.0), 250.0, 0.005, 0.05, "t.u."),
    "AlievPanfilovModified": Usual(PulseTrain(-0.5, 1.0, 40.0, 5.0), 200.0, 0.005, 0.05, "t.u."),
}


def find_model(name: str) -> type[AbstractCell]:
    """A model by name; case, hyphens and underscores are ignored, and the beginning of one name is enough."""
    folded = {_fold(n): n for n in MODELS}
    wanted = _fold(name)
    hits = [n for key, n in folded.items() if key == wanted] or [n for k, n in folded.items() if k.startswith(wanted)]
    if len(hits) > 1:
        raise ValueError(f"MODEL = {name!r} is the beginning of several: {', '.join(hits)}")
    if not hits:
        raise ValueError(f"MODEL: {unknown_name('model', name, MODELS, 'jaxcardio')} (all: {', '.join(MODELS)})")
    return MODELS[hits[0]]


def _fold(name: str) -> str:
    return name.casefold().replace("-", "").replace("_", "").replace(" ", "")


def model_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--variant", help="published variant, e.g. epi (TenTusscher2004: M, epi, endo)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="set a parameter (`models MODEL` lists them)"
    )
    parser.add_argument("--float32", action="store_true", help="compute in single precision (default: double)")


def make_cell(model: type[AbstractCell], given: argparse.Namespace) -> AbstractCell:
    """The cell that --variant, --set and --float32 describe."""
    if given.variant is not None and not hasattr(model, "variant"):
        raise ValueError(f"--variant = {given.variant!r}: {model.__name__} has no variants")
    variant = {} if given.variant is None else {"variant": given.variant}
    cell = model(**variant)
    known = cell.parameters()
    for name, value in assignments("--set", given.set).items():
        if name not in known:
            raise ValueError(f"--set: {unknown_name('parameter', name, known, model.__name__)}")
        if not np.isfinite(value):
            raise ValueError(f"--set {name} = {value} {known[name].unit}; allowed: finite")
        cell = cell.replace(**{name: value})
    return astype(cell, jnp.float32) if given.float32 else cell


def assignments(option: str, texts: Iterable[str]) -> dict[str, float]:
    """NAME=VALUE texts as a dictionary."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            found[name.strip()] = float(value)
        except ValueError:
            equals = ""
        if not equals or not name.strip():
            raise ValueError(f"{option} = {text!r}; allowed: NAME=VALUE, e.g. g_Kr=0.05")
    return found


def stimulus_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("stimulus (default: the model's published one)")
    group.add_argument("--protocol", metavar="FILE.json", help="a protocol as `jaxcardio.protocols.to_json` writes it")
    group.add_argument("--no-stimulus", action="store_true", help="no stimulus")
    group.add_argument("--pulse-amplitude", type=float, metavar="A", help="pA/pF, depolarising negative")
    group.add_argument("--duration", type=float, metavar="MS", help="of each pulse, ms")
    group.add_argument("--period", type=float, metavar="MS", help="from pulse to pulse, ms")
    group.add_argument("--start", type=float, metavar="MS", help="of the first pulse, ms")


def make_protocol(model: type[AbstractCell], given: argparse.Namespace) -> AbstractProtocol | None:
    """The stimulus or clamp that the arguments describe; pulses take what is not given from the published stimulus."""
    pulses = {
        "amplitude": given.pulse_amplitude,
        "duration": given.duration,
        "period": given.period,
        "start": given.start,
    }
    pulses = {k: v for k, v in pulses.items() if v is not None}
    if (given.protocol is not None) + given.no_stimulus + bool(pulses) > 1:
        raise ValueError("--protocol, --no-stimulus and pulses (--pulse-amplitude ...): give one of them")
    if given.no_stimulus:
        return None
    if given.protocol is not None:
        return from_json(Path(given.protocol).read_text())
    usual = USUAL[model.__name__].stimulus
    if not pulses or usual is not None:
        start_from = (
            {} if usual is None else {k: getattr(usual, k) for k in ("amplitude", "duration", "period", "start")}
        )
        return PulseTrain(**start_from | pulses) if pulses else usual
    missing = {"amplitude": "--pulse-amplitude", "duration": "--duration", "period": "--period"}.items()
    if absent := [option for key, option in missing if key not in pulses]:
        raise ValueError(f"{', '.join(absent)}: missing; {model.__name__} beats by itself and has no published pulse")
    return PulseTrain(**pulses)


def output_arguments(parser: argparse.ArgumentParser, default: str, figure: bool = True) -> None:
    parser.add_argument("--out", metavar="FILE", default=None, help=f"where to write (default: {default})")
    if figure:
        parser.add_argument("--no-plot", action="store_true", help="no PNG beside it")


def checked_output(path: str | Path, suffixes: Sequence[str]) -> Path:
    """The path, if a file can be written there: found out before the work, not after it."""
    path = Path(path)
    if path.suffix not in suffixes:
        raise ValueError(f"--out = {path}; allowed: a name that ends in {' or '.join(suffixes)}")
    if not path.parent.is_dir():
        raise ValueError(f"--out = {path}: there is no folder {path.parent}")
    return path


def save_figure(given: argparse.Namespace, out: Path, draw: Callable[[], Any]) -> None:
    """Draws and writes the PNG next to `out`, unless it is not wanted or matplotlib is missing, which is said."""
    if given.no_plot:
        return
    try:
        figure = draw()
    except ImportError as error:
        print(f"no figure: {error}", file=sys.stderr)
        return
    figure.savefig(out.with_suffix(".png"), dpi=160)
    print(f"wrote {out.with_suffix('.png')}")


def text_table(rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """Rows of text as aligned columns, the first `left` of them to the left."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]

    def line(row):
        cells = (f"{x:<{w}}" if i < left else f"{x:>{w}}" for i, (x, w) in enumerate(zip(row, widths, strict=True)))
        return "  ".join(cells).rstrip()

    return "\n".join(line(row) for row in rows)
