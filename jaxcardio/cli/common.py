"""What the verbs share: models and their usual runs, values from the command line, output files."""

import argparse
import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from .. import models
from ..arguments import COLDEST, WARMEST, check
from ..cell import AbstractCell, astype, unknown_name
from ..files.writing import check_place, write_figure
from ..json_text import decoded, read_bytes
from ..progress import say
from ..protocols import AbstractProtocol, Constant, PulseTrain, Sampled, Segments, VoltageSteps, from_json


class Usual(NamedTuple):
    """How a model is usually run: stimulus (pA/pF, ms; or dimensionless), and times in its own unit."""

    stimulus: PulseTrain | None
    t1: float
    dt: float
    save_every: float
    time_unit: str = "ms"


USUAL = {
    "KernikClancy2019": Usual(None, 5000.0, 0.01, 0.1),  # beats by itself
    "TenTusscher2004": Usual(PulseTrain(-52.0, 1.0, 1000.0, 10.0), 5000.0, 0.01, 0.1),
    "TenTusscherPanfilov2006": Usual(PulseTrain(-52.0, 1.0, 1000.0, 10.0), 5000.0, 0.01, 0.1),
    "Skibsbye2016": Usual(PulseTrain(-11.5, 2.0, 1000.0, 0.0), 5000.0, 0.01, 0.1),  # -575 pA
    "AlievPanfilov1996": Usual(PulseTrain(-0.5, 1.0, 50.0, 5.0), 250.0, 0.005, 0.05, "t.u."),
    "AlievPanfilovModified": Usual(PulseTrain(-0.5, 1.0, 40.0, 5.0), 200.0, 0.005, 0.05, "t.u."),
}


HIGHEST_VOLTS = 1.0
"""A command that stays within +- this, but for 0, is one in V."""


@contextlib.contextmanager
def argument(said: str) -> Iterator[None]:
    """Says in a ValueError about a value which argument it came from."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{said}: {error}") from None


def find_model(name: str) -> type[AbstractCell]:
    """A model by the name that the command line read."""
    return getattr(models, name)


def make_cell(model: type[AbstractCell], given: argparse.Namespace) -> AbstractCell:
    """The cell that --variant, --set and --float32 describe."""
    cell = described_cell(model, given)
    return astype(cell, jnp.float32) if given.float32 else cell


def described_cell(model: type[AbstractCell], given: argparse.Namespace) -> AbstractCell:
    """The cell that --variant and --set describe, in double precision."""
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
        if known[name].unit == "K":
            check_temperature(f"--set {name}", value)
        cell = cell.replace(**{name: value})
    return cell


def check_temperature(option: str, kelvin: float) -> None:
    check(option, kelvin, "K", f"{COLDEST:g} to {WARMEST:g} K", lambda x: COLDEST <= x <= WARMEST)


def output_names(text: str, cell: AbstractCell) -> tuple[str, ...]:
    """NAME,NAME,... of states and currents of this cell."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise ValueError(f"--outputs = {text!r}; allowed: NAME,NAME,..., each once")
    for name in names:
        if name not in cell.units:
            raise ValueError(f"--outputs: {unknown_name('state or current', name, cell.units, type(cell).__name__)}")
    return names


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


def make_protocol(model: type[AbstractCell], given: argparse.Namespace) -> AbstractProtocol | None:
    """The stimulus or clamp that the arguments describe; pulses take what is not given from the published stimulus."""
    ways = protocol_ways(given)
    if len(ways) > 1:
        raise ValueError(f"{' and '.join(ways)}: give one of them")
    if given.no_stimulus:
        return None
    if given.protocol is not None:
        return _in_millivolts(model, _of_file(given.protocol), f"--protocol = {given.protocol}")
    if given.steps is not None:
        return _in_millivolts(model, _steps(given.steps), f"--steps = {given.steps!r}")
    usual, pulses = USUAL[model.__name__].stimulus, _pulses(given)
    if not pulses:
        return usual
    if usual is not None:
        return _train({k: getattr(usual, k) for k in ("amplitude", "duration", "period", "start")} | pulses)
    missing = {"amplitude": "--pulse-amplitude", "duration": "--duration", "period": "--period"}.items()
    if absent := [option for key, option in missing if key not in pulses]:
        raise ValueError(f"{', '.join(absent)}: missing; {model.__name__} beats by itself and has no published pulse")
    return _train(pulses)


def _train(pulses: dict[str, Any]) -> PulseTrain:
    try:
        return PulseTrain(**pulses)
    except ValueError as error:
        name, _, rest = str(error).partition(" ")
        raise ValueError(f"{'--pulse-amplitude' if name == 'amplitude' else f'--{name}'} {rest}") from None


def _of_file(path: str) -> AbstractProtocol | None:
    said = f"--protocol = {path}"
    text = decoded(read_bytes(path, "--protocol"), said)
    with argument(said):
        return from_json(text)


def _in_millivolts(model: type[AbstractCell], protocol: Any, said: str) -> Any:
    """The protocol, unless it holds a cell of mV at levels that can only be in V."""
    levels = {Segments: ("begin", "end"), Sampled: ("samples",), Constant: ("level",)}.get(type(protocol), ())
    highest = max((np.abs(getattr(protocol, name)).max() for name in levels), default=np.inf)
    if USUAL[model.__name__].time_unit == "ms" and protocol.kind == "voltage" and 0 < highest <= HIGHEST_VOLTS:
        raise ValueError(f"{said}: no level beyond +-{highest:g} mV; allowed: levels in mV (are these in V?)")
    return protocol


def protocol_ways(given: argparse.Namespace) -> list[str]:
    """The options that describe a protocol, of those that are given."""
    ways = {
        "--protocol": given.protocol is not None,
        "--steps": given.steps is not None,
        "--no-stimulus": given.no_stimulus,
        "pulses (--pulse-amplitude ...)": bool(_pulses(given)),
    }
    return [option for option, is_given in ways.items() if is_given]


def _pulses(given: argparse.Namespace) -> dict[str, Any]:
    pulses = {
        "amplitude": given.pulse_amplitude,
        "duration": given.duration,
        "period": given.period,
        "start": given.start,
    }
    return {k: v for k, v in pulses.items() if v is not None}


def _steps(text: str) -> Segments:
    pairs = [part.split(":") for part in text.split(",")]
    try:
        voltages, durations = zip(*((float(mv), float(ms)) for mv, ms in pairs), strict=True)
    except ValueError:
        raise ValueError(f"--steps = {text!r}; allowed: MV:MS,MV:MS,..., e.g. -100:250,-40:250") from None
    with argument(f"--steps = {text!r}"):
        return VoltageSteps(list(voltages), list(durations))


def check_longest_step(given: argparse.Namespace, save_every: float) -> None:
    """Refuses a --dt that the samples would shorten without a word."""
    if given.dt is not None and given.dt > save_every:
        raise ValueError(
            f"--dt = {given.dt} ms: a step ends at every sample; allowed: at most --save-every = {save_every:g} ms"
        )


def length_of(model: type[AbstractCell], protocol: AbstractProtocol | None, t1: float | None) -> float:
    """--t1, or else all of the steps or ramps, or else what is usual for the model."""
    if t1 is not None:
        return t1
    if isinstance(protocol, Segments):
        return float(protocol.start + np.sum(protocol.durations))
    if protocol is not None and protocol.kind == "voltage":
        raise ValueError(f"--t1: missing; a {type(protocol).__name__} does not say how long to record")
    return USUAL[model.__name__].t1


def checked_output(
    path: str | Path, suffixes: Sequence[str] = (), argument: str = "--out", inputs: Sequence[str | Path | None] = ()
) -> Path:
    """The path, if a file can be written there: found out before the work, not after it.

    It ends in one of the suffixes, if there are any, and is none of the inputs.
    """
    path = Path(path)
    if suffixes and path.suffix not in suffixes:
        raise ValueError(f"{argument} = {path}; allowed: a name that ends in {' or '.join(suffixes)}")
    try:
        check_place(path)
    except ValueError as error:
        raise ValueError(f"{argument}{str(error).removeprefix('path')}") from None
    if any(x is not None and _is_same(path, Path(x)) for x in inputs):
        raise ValueError(f"{argument} = {path}: is what is to be read; allowed: another file")
    return path


def _is_same(one: Path, other: Path) -> bool:
    """Whether two names are of one file: through links, hard ones too, and before it is made."""
    both = one.exists() and other.exists()
    return one.samefile(other) if both else os.path.realpath(one) == os.path.realpath(other)


def _beginning(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(4096)


def checked_figure(given: argparse.Namespace, out: Path, inputs: Sequence[str | Path | None] = ()) -> None:
    """Refuses, before the work, a figure that could not be written next to `out`, or not without the loss of another
    picture: nobody has named that file."""
    if not given.no_plot:
        figure = checked_output(out.with_suffix(".png"), (), "the figure (--no-plot: none)", inputs)
        if figure.exists() and b"Matplotlib" not in _beginning(figure):
            raise ValueError(f"the figure (--no-plot: none) = {figure}: is there, and was not drawn by Matplotlib")


def save_figure(given: argparse.Namespace, out: Path, draw: Callable[[], Any]) -> None:
    """Draws and writes the PNG next to `out`, unless it is not wanted or matplotlib is missing, which is said."""
    if given.no_plot:
        return
    try:
        figure = draw()
    except ImportError as error:
        say(f"no figure: {error}\n")
        return
    write_figure(out.with_suffix(".png"), figure)
    print(f"wrote {out.with_suffix('.png')}")
