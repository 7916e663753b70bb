"""The verb `intracellular`."""

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import plot
from ..arguments import check, check_known, check_seed, check_whole, refusal
from ..files.reading import open_hdf5
from ..files.writing import write_csv, write_figure
from ..intracellular.baseline import component_ridge, eap_as_prediction, mean_predictor
from ..intracellular.beats import LEVELS, ReconstructedBeats
from ..intracellular.conformal import calibrate
from ..intracellular.evaluate import BARS, Evaluation, Score, evaluate, missed
from ..intracellular.fitting import fit
from ..intracellular.library import Network, load_network, save_network
from ..intracellular.monitor import monitor
from ..intracellular.monitoring import named
from ..intracellular.pairs import FORMAT as PAIRS
from ..intracellular.pairs import Pairs, joined, split, synthesize_pairs
from ..intracellular.preparations import drug_named
from ..intracellular.reconstruct import reconstruct
from ..intracellular.recorded_pairs import pairs_of
from ..intracellular.recording import Recording
from ..intracellular.recording.parts import INTRACELLULAR, MOST_CHANNELS
from ..intracellular.synthesis import synthesize_recording
from ..intracellular.unet import Estimate
from ..text_tables import text_table
from .arguments.intracellular import PREPARATIONS
from .common import argument, checked_output

HDF5 = (".h5", ".hdf5")
PICTURES = (".png", ".svg", ".pdf")
UNSEEN = 0.1
"""Share of the cells that judge a trained network, and are used for nothing else."""
FEWEST_CELLS = 55
"""To train on: a fifth of nine tenths of them correct the intervals, for which 9 cells are needed."""
RATES = {False: 1000.0, True: 5000.0}
"""Hz of the pairs that the small and the full network are trained on: their windows say which of both is made."""
MAE_HERE, MAE_ELSEWHERE = 0.035, BARS["mae"][1]
"""Highest normalised error on a device of the training, and on another."""
STRANGE = 0.1
"""A channel of which more than this share of beats is unlike the training's is marked."""
SHOWN = (50, 90)
"""Levels of the table of channels, %."""
OF_RECORDINGS = ("channels", "minutes", "drug", "nM", "added_at", "cycle_length", "electroporated_at")
"""Options of `synthesize` that say something of a recording only."""
LEAST_MINUTES, MOST_MINUTES = 0.034, 7 * 24 * 60.0


def run(given: argparse.Namespace) -> int:
    jobs = {
        "synthesize": _synthesize,
        "train": _train,
        "reconstruct": _reconstruct,
        "evaluate": _evaluate,
        "monitor": _monitor,
    }
    return jobs[given.job](given)


# --- making up -------------------------------------------------------------------------------------------------------


def _synthesize(given: argparse.Namespace) -> int:
    out = checked_output(given.file, HDF5, "OUT.h5")
    check_seed(given.seed, "--seed")
    if given.pairs is None:
        if given.drugs is not None:
            raise ValueError(f"--drugs = {given.drugs!r}: for --pairs N; a recording has one --drug")
        _synthesize_recording(given, out)
    else:
        _check_of_pairs(given)
        found = _made_up(given.pairs, given.seed, device=given.device, drugs=_drugs(given))
        found.save(out)
        print(_about(found))
    print(f"wrote {out} ({out.stat().st_size / 1e6:.1f} MB)")
    return 0


def _synthesize_recording(given: argparse.Namespace, out: Path) -> None:
    allowed = f"{LEAST_MINUTES:g} to {MOST_MINUTES:g} minutes"
    check("--minutes", given.minutes, "minutes", allowed, lambda x: LEAST_MINUTES <= x <= MOST_MINUTES)
    check("--nM", given.nM, "nM", ">= 0, finite", lambda x: 0 <= x < np.inf)
    for option, value in (("--added-at", given.added_at), ("--electroporated-at", given.electroporated_at)):
        check(option, value, "s", ">= 0, finite", lambda x: 0 <= x < np.inf)
    asked = {
        "channels": given.channels,
        "duration": _times(60_000.0, given.minutes),
        "device": given.device,
        "drug": given.drug,
        "concentration": given.nM,
        "added_at": _times(1000.0, given.added_at),
        "cycle_length": given.cycle_length,
        "electroporated_at": _times(1000.0, given.electroporated_at),
    }
    made, truth = synthesize_recording(out, seed=given.seed, paired=not given.unpaired, progress=True, **_given(asked))
    print(f"{len(made.channels)} channels, {made.duration / 1000:.0f} s at {made.sampling_rate:g} Hz")
    for event in made.events:
        print(f"{event.time / 1000:.0f} s: {named(event) if event.label else event.kind}")
    before, after = (float(np.mean(x[:, LEVELS.index(90)])) for x in (truth.before, truth.after))
    print(f"mean APD90 of the cells under the electrodes: {before:.1f} ms, and {after:.1f} ms under the drug")


def _made_up(number: int, seed: int, **how: Any) -> Pairs:
    """Pairs of simulated preparations; `how` without what is None."""
    check_whole("--pairs", number, "preparations")
    return synthesize_pairs(number, seed=seed, progress=True, **_given(how))


def _check_of_pairs(given: argparse.Namespace) -> None:
    """Refuses beside --pairs what says something of a recording."""
    wrong = [name for name in OF_RECORDINGS if getattr(given, name) is not None] + ["unpaired"] * given.unpaired
    if wrong:
        raise ValueError(f"--{wrong[0].replace('_', '-')}: is of a recording; allowed with --pairs: --drugs, --device")


def _drugs(given: argparse.Namespace) -> tuple[str, ...] | None:
    if given.drugs is None:
        return None
    names = tuple(name.strip() for name in given.drugs.split(","))
    with argument(f"--drugs = {given.drugs!r}"):
        for name in names:
            drug_named(name)
    return names


def _given(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What was said on the command line: the rest is the library's default."""
    return {name: value for name, value in asked.items() if value is not None}


def _times(factor: float, value: float | None) -> float | None:
    return None if value is None else factor * value


# --- training and judging --------------------------------------------------------------------------------------------


def _train(given: argparse.Namespace) -> int:
    out = checked_output(given.out or "intracellular.h5", HDF5, inputs=given.sources)
    checkpoint = None
    if given.checkpoint is not None:
        checkpoint = checked_output(given.checkpoint, (), "--checkpoint", [*given.sources, out])
    check_seed(given.seed, "--seed")
    if given.epochs is not None:
        check_whole("--epochs", given.epochs, "epochs")
    for option, value in (("--beta", given.beta), ("--solver-weight", given.solver_weight)):
        check(option, value, "", ">= 0, finite", lambda x: 0 <= x < np.inf)
    if given.pairs is not None and given.sources:
        raise ValueError(f"--pairs = {given.pairs}: for training without SOURCE; allowed: one of them")
    rate = RATES[given.full]
    if given.sources:
        every = _read_pairs(given.sources, rate)
    else:
        number = PREPARATIONS if given.pairs is None else given.pairs
        check_whole("--pairs", number, "preparations", FEWEST_CELLS)
        every = _made_up(number, given.seed, sampling_rate=rate)
    print(_about(every))
    cells = len(np.unique(every.cell))
    if cells < FEWEST_CELLS:
        raise ValueError(
            f"{'--pairs' if not given.sources else 'SOURCE'}: {cells} cells; allowed: at least {FEWEST_CELLS}"
        )
    known, unseen = split(every, by="cell", fractions=(1 - UNSEEN, UNSEEN), seed=given.seed)
    asked = {"epochs": given.epochs, "beta": given.beta, "solver_weight": given.solver_weight}
    if given.bfloat16:
        asked["precision"] = "bfloat16"
    fitted = fit(known, seed=given.seed, checkpoint=checkpoint, progress=True, **_given(asked))
    save_network(out, fitted.network)
    print(evaluate(fitted.network, {"unseen cells": unseen}, **_rivals(fitted.training, fitted.validation)))
    print(f"wrote {out} ({out.stat().st_size} bytes)")
    return 0


def _evaluate(given: argparse.Namespace) -> int:
    read = [*given.sources, given.training, given.calibration, given.network]
    out = None if given.out is None else checked_output(given.out, (".json", ".csv"), inputs=read)
    network = _network(given)
    training = _pairs_of_option("--training", given.training, network.sampling_rate)
    calibration = _pairs_of_option("--calibration", given.calibration, network.sampling_rate)
    if calibration is not None:
        with argument("--calibration"):
            network = calibrate(network, calibration)
    sets = {
        name: _one_of_pairs(source, k, network.sampling_rate)
        for k, (name, source) in enumerate(zip(_names(given.sources), given.sources, strict=True))
    }
    if training is None:
        rivals: dict[str, Any] = {"others": {"the eAP": eap_as_prediction(next(iter(sets.values())))}}
    else:
        rivals = _rivals(training, None)
    found = evaluate(network, sets, **rivals)
    print(found)
    problems = _missed(found, {name: _highest_mae(pairs, training) for name, pairs in sets.items()})
    print("\n".join(problems) or "every bar is met")
    if out is not None:
        found.save(out) if out.suffix == ".json" else write_csv(out, _rows(found))
        print(f"wrote {out}")
    return 1 if problems else 0


def _rivals(training: Pairs, validation: Pairs | None) -> dict[str, Any]:
    """Simpler ways, fitted to the same pairs."""
    others = {"the eAP": eap_as_prediction(training), "a ridge": component_ridge(training, validation)}
    return {"mean": mean_predictor(training), "others": others}


def _highest_mae(pairs: Pairs, training: Pairs | None) -> float:
    """Of the bar: higher where a device was not in the training, as far as that is known."""
    is_here = training is None or set(np.unique(pairs.device)) <= set(np.unique(training.device))
    return MAE_HERE if is_here else MAE_ELSEWHERE


def _missed(found: Evaluation, highest_mae: Mapping[str, float]) -> list[str]:
    """A line for each number that is not within its bar."""
    return [
        f"missed by {score.name}: {name} = {getattr(score, name):.4g}; bar: {_bar(name, highest_mae[score.name])}"
        for score in found.scores
        for name in missed(score, highest_mae[score.name])
    ]


def _bar(name: str, highest_mae: float) -> str:
    low, high = (None, highest_mae) if name == "mae" else BARS[name]
    if low is None:
        return f"at most {high:g}"
    return f"at least {low:g}" if high is None else f"{low:g} to {high:g}"


def _rows(found: Evaluation) -> list[list[Any]]:
    """The scores as a table of numbers."""
    numbers = [name for name in Score._fields if name != "others"]
    others = list(found.scores[0].others)
    rows = [[*(getattr(score, name) for name in numbers), *(score.others[o] for o in others)] for score in found.scores]
    return [[*numbers, *(f"mae of {name}" for name in others)], *rows]


def _names(paths: Sequence[str]) -> list[str]:
    """A name for each file: its own without the ending, or all of it where two would be the same."""
    stems = [Path(path).stem for path in paths]
    return [stem if stems.count(stem) == 1 else path for stem, path in zip(stems, paths, strict=True)]


def _pairs_of_option(option: str, path: str | None, rate: float) -> Pairs | None:
    if path is None:
        return None
    with argument(option):
        return _one_of_pairs(path, 0, rate)


def _read_pairs(paths: Sequence[str], rate: float) -> Pairs:
    return joined([_one_of_pairs(path, k, rate) for k, path in enumerate(paths)])


def _one_of_pairs(path: str, place: int, rate: float) -> Pairs:
    """Pairs of a file of pairs, or of a recording with electroporated neighbours.

    Cells of recordings have negative numbers, different ones for each `place` in a list of files: made-up pairs of the
    same cell in two files are of one cell, channels of two recordings are not.
    """
    if _format_of(path) == PAIRS:
        return Pairs.load(path)
    recording = _load(path)
    found = pairs_of(recording, sampling_rate=rate)
    return dataclasses.replace(found, cell=-1 - np.asarray(found.cell) - place * MOST_CHANNELS)


def _format_of(path: str) -> str | None:
    """What an HDF5 file says that it is, if anything."""
    try:
        with open_hdf5(path) as file:
            return file.text("format") if file.has_attribute("format") else None
    except ValueError:
        return None


def _about(pairs: Pairs) -> str:
    drugs, devices = (", ".join(map(str, np.unique(x))) for x in (pairs.drug, pairs.device))
    cells = len(np.unique(pairs.cell))
    return f"{len(pairs)} pairs of {cells} cells at {pairs.sampling_rate:g} Hz; drugs: {drugs}; devices: {devices}"


# --- recordings ------------------------------------------------------------------------------------------------------


def _reconstruct(given: argparse.Namespace) -> int:
    out, figure = _places(given, "intracellular")
    check("--begin", given.begin, "ms", "finite", np.isfinite)
    low = -np.inf if given.begin is None else given.begin
    check("--end", given.end, "ms", f"finite, above --begin = {low:g} ms", lambda x: low < x < np.inf)
    network, recording = _network(given), _recording(given)
    found = reconstruct(recording, network, channels=_channels(given), begin=given.begin, end=given.end, progress=True)
    found.save(out)
    print(channel_table(found))
    print(f"wrote {out}")
    _draw(figure, lambda: plot.intracellular.beats_of_channels(found))
    return 0 if found.counts.any() else 1


def _monitor(given: argparse.Namespace) -> int:
    out, figure = _places(given, "monitored")
    table = None
    if given.table is not None:
        table = checked_output(given.table, (".csv",), "--table", [given.file, given.network, out])
    if given.every is not None:
        check_whole("--every", given.every, "beats")
    asked = {"every": given.every, "wash_in": given.wash_in, "span": given.span}
    for option, value in (("--wash-in", given.wash_in), ("--span", given.span)):
        check(option, value, "ms", "> 0, finite", lambda x: 0 < x < np.inf)
    network, recording = _network(given), _recording(given)
    found = monitor(recording, network, channels=_channels(given), progress=True, **_given(asked))
    found.save(out)
    print(found)
    print(f"wrote {out}")
    if table is not None:
        found.save_table(table)
        print(f"wrote {table}")
    where = _positions(recording, found.channels)
    _draw(figure, lambda: plot.intracellular.overview(found, positions=where))
    return 0 if np.isfinite(found.times).any() else 1


def _places(given: argparse.Namespace, ending: str) -> tuple[Path, Path | None]:
    """Where the result and the figure go, found out before the work."""
    read = [given.file, given.network]
    out = checked_output(given.out or f"{Path(given.file).stem}-{ending}.h5", HDF5, inputs=read)
    if given.sampling_rate is not None:
        check_known("--sampling-rate", given.sampling_rate, "Hz", "> 0, finite", lambda x: 0 < x < np.inf)
    if given.plot is None:
        return out, None
    figure = checked_output(given.plot, PICTURES, "--plot", [*read, out])
    try:
        plot._matplotlib()
    except ImportError as error:
        raise ValueError(f"--plot = {figure}: {error}") from None
    return out, figure


def _network(given: argparse.Namespace) -> Network:
    with argument("--network"):
        return load_network(given.network)


def _recording(given: argparse.Namespace) -> Recording:
    chosen = {"stream": _number_or_name(given.stream), "recording": _number_or_name(given.recording)}
    return _load(given.file, **chosen, unit=given.unit, sampling_rate=given.sampling_rate)


def _load(path: str, **how: Any) -> Recording:
    """A recording; what its reader chose or assumed is said."""
    found = Recording.load(path, **how)
    for note in found.notes:
        print(f"{Path(path).name}: {note}")
    return found


def _number_or_name(text: str | None) -> str | int | None:
    return int(text) if text is not None and text.isdecimal() else text


def _channels(given: argparse.Namespace) -> tuple[str, ...] | None:
    if given.channels is None:
        return None
    names = tuple(name.strip() for name in given.channels.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise refusal("--channels", given.channels, "", "NAME,NAME,..., each once")
    return names


def _positions(recording: Recording, channels: Sequence[str]) -> np.ndarray | None:
    """Of these channels' electrodes, um."""
    if recording.positions is None:
        return None
    return recording.positions[[recording.channels.index(channel) for channel in channels]]


def _draw(place: Path | None, draw: Callable[[], Any]) -> None:
    if place is not None:
        write_figure(place, draw())
        print(f"wrote {place}")


def channel_table(found: ReconstructedBeats) -> str:
    """A line a channel: beats, median durations with their median limits, signal to noise; below it what was left out.

    Durations of electroporated channels ("inside") are measured, not reconstructed, and have no interval.
    """
    heading = ["channel", "beats", "left out", *(f"APD{level}, ms (90 %)" for level in SHOWN), "S/N", "unfamiliar"]
    rows, doubtful = [heading], False
    for k, channel in enumerate(found.channels):
        n = int(found.counts[k])
        name = f"{channel} (inside)" if found.kinds[k] == INTRACELLULAR else channel
        if n == 0:
            rows.append([name, "0", "", *["-"] * (len(heading) - 3)])
            continue
        share = float(found.unfamiliar[k, np.isfinite(found.times[k])].mean())
        doubtful |= share > STRANGE
        dropped = sum(drop.channel == channel and drop.time is not None for drop in found.dropped)
        durations = [_duration(found.apd(level), k, "~" * (share > STRANGE)) for level in SHOWN]
        ratio = _middle(found.signal_to_noise[k])
        rows.append([name, str(n), str(dropped), *durations, f"{ratio:.0f}", f"{100 * share:.0f} %"])
    lines = [text_table(rows)]
    if doubtful:
        lines.append("~ beats are unlike those of the training: do not trust the durations and their intervals")
    if found.dropped:
        lines.append(f"left out:\n{found.explained()}")
    return "\n".join(lines)


def _duration(found: Estimate, channel: int, mark: str) -> str:
    """Median over the beats of a channel, and the medians of the intervals' ends."""
    value, low, high = (_middle(np.asarray(x)[channel]) for x in found)
    if not np.isfinite(value):
        return "-"
    return f"{mark}{value:.0f}" + f" ({low:.0f} to {high:.0f})" * (low < high)


def _middle(values: np.ndarray) -> float:
    there = values[np.isfinite(values)]
    return float(np.median(there)) if there.size else np.nan
