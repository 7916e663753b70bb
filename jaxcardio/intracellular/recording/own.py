"""Reading the own layout; `writer` describes it."""

from pathlib import Path
from typing import Any

import numpy as np

from ...files.reading import FLOATS, WHOLE, Group, open_hdf5
from .parts import Block, Choice, Event, check_not_chosen, joined_blocks
from .recording import Recording, described
from .samples import Encoding, InFile
from .writer import FORMAT, VERSION


def read_own(path: Path, choice: Choice) -> Recording:
    """The recording of a file of the own layout. ValueError: not whole, or damaged."""
    check_not_chosen(choice, ("stream", "recording", "unit", "sampling_rate"), f"a {FORMAT}, which says it all")
    with open_hdf5(path, FORMAT, VERSION) as file:
        return _read(path, file)


def _read(path: Path, file: Group) -> Recording:
    about, rate = file.json("about"), file.number("sampling_rate_Hz")
    if not rate > 0:
        raise ValueError(f"attribute sampling_rate_Hz = {rate} Hz; allowed: > 0")
    channels = _list(about, "channels", str)
    samples = file.dataset("samples")
    if len(samples.shape) != 2 or samples.shape[0] != len(channels) or samples.dtype not in (np.int16, np.float32):
        raise ValueError(
            f"samples: {samples.dtype} of shape {samples.shape}; allowed: int16 or float32, ({len(channels)}, samples)"
        )
    firsts, lasts, starts = (file.numbers(f"blocks/{x}", (None,)) for x in ("first", "last", "start"))
    if not len(firsts) == len(lasts) == len(starts) > 0 or not np.isfinite(starts).all():
        raise ValueError("blocks: first, last and start differ in length, or are none; allowed: one each, a block")
    blocks = joined_blocks(
        [Block(int(a), int(b), float(t)) for a, b, t in zip(firsts, lasts, starts, strict=True)], 1000.0 / rate
    )
    if blocks[-1].last != samples.shape[1]:
        raise ValueError(f"blocks end at sample {blocks[-1].last}; allowed: {samples.shape[1]}, as there are samples")
    return described(
        rate, channels,
        kinds=_list(about, "kinds", str), partners=_list(about, "partners", int),
        positions=file.numbers("positions", unit="um") if "positions" in file else None,
        limits=file.numbers("limits", unit="mV") if "limits" in file else None,
        blocks=blocks, events=[_event(x) for x in _list(about, "events", dict)],
        notes=tuple(_list(about, "notes", str)),
        samples=InFile(path, samples, range(len(channels)), _encoding(file, samples.dtype, len(channels))),
    )  # fmt: skip


def _encoding(file: Group, dtype: np.dtype, count: int) -> Encoding | None:
    if dtype == np.float32:
        return None
    gain, offset = (file.numbers(x, (count,), FLOATS + WHOLE, unit="mV") for x in ("gain", "offset"))
    for name, values in (("gain", gain), ("offset", offset)):
        if not np.isfinite(values).all() or (name == "gain" and (values == 0).any()):
            raise ValueError(f"{name}: {values.tolist()[:8]}; allowed: finite, and a gain that is not 0, mV")
    return Encoding(gain.astype(np.float64), offset.astype(np.float64))


def _list(about: dict[str, Any], name: str, kind: type) -> list[Any]:
    found = about.get(name)
    if not isinstance(found, list) or not all(isinstance(x, kind) for x in found):
        raise ValueError(f"attribute about: {name} = {str(found)[:60]!r}; allowed: a list, each a {kind.__name__}")
    return found


def _event(said: dict[str, Any]) -> Event:
    try:
        channels = said["channels"]
        return Event(
            said["time_ms"], said["kind"], said["label"], said["concentration_nM"],
            None if channels is None else tuple(channels),
        )  # fmt: skip
    except (KeyError, TypeError):
        raise ValueError(f"attribute about: event {str(said)[:60]!r}; allowed: time_ms, kind, label, ...") from None
