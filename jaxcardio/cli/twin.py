"""The digital twin of a recorded cell: its parameters, their uncertainty, its beats and its drug response.

RECORDING.h5 holds a voltage clamp: datasets `command` (attribute unit: mV) and `current` (unit: pA/pF, or pA with
capacitance_pF), attributes sampling_rate_Hz and temperature_K. A group `check` in it, laid out alike, is a second
recording of the same cell that is not fitted, but predicted. A network that reads parameters off this very command is
trained on simulated cells (a minute or two; --network keeps it), and its guess is refined by Levenberg-Marquardt
through the simulator. Parameters are relative to the Kernik-Clancy cell, and the prior is +- spread about it: where no
such cell gives the recorded current the twin says so, and is not to be believed.

Examples:
  jaxcardio twin --protocol clamp.json
  jaxcardio twin --example recording.h5
  jaxcardio twin recording.h5 --out twin.h5
  jaxcardio twin lab.h5 --group cell_3 --temperature 298 --spread 0.4 --network steps.net --out cell_3.h5
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from .. import plot
from ..arguments import check_whole
from ..twin import (
    STARTS,
    Experiment,
    Recording,
    Twin,
    build,
    has_check,
    load_network,
    measured_noise,
    posterior_cells,
    posterior_response,
    protocols,
    save_network,
    simulated_twin,
    train,
    windows_of,
    write_example,
)
from ..twin.beats import BEATS_EVERY
from .common import checked_output, output_arguments, save_figure, text_table

DOSES = (0.0, 10.0, 25.0, 50.0, 100.0)
SHOWN = {"apd90": "ms", "apd50": "ms", "cycle_length": "ms", "mdp": "mV", "peak": "mV", "dvdt_max": "V/s"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recording", nargs="?", metavar="RECORDING.h5", help="what to make a twin of")
    parser.add_argument("--example", metavar="FILE.h5", help="write an example recording there, and do nothing else")
    parser.add_argument(
        "--protocol", metavar="FILE.json", help="write the designed command, for an amplifier's operator"
    )
    parser.add_argument("--group", default="/", metavar="NAME", help="of the recording in its file (default: its root)")
    parser.add_argument("--check", metavar="FILE.h5", help="a second recording (default: the group `check`, if any)")
    parser.add_argument("--temperature", type=float, metavar="K", help="of the bath, if the file does not say")
    parser.add_argument("--capacitance", type=float, metavar="PF", help="of the cell, if the file does not say")
    fit = parser.add_argument_group("prior, network and fit")
    fit.add_argument("--spread", type=float, default=0.2, help="the prior: parameters within 1 +- spread (default 0.2)")
    fit.add_argument("--cells", type=int, default=10_000, help="simulated to train the network (default 10000)")
    fit.add_argument("--epochs", type=int, default=40, help="times that the network sees each (default 40)")
    fit.add_argument("--network", metavar="FILE", help="use the network in FILE, or train it and write it there")
    fit.add_argument("--train", action="store_true", help="train the network of --network anew")
    fit.add_argument("--starts", type=int, default=STARTS, help=f"fits at most, if none fits (default {STARTS})")
    fit.add_argument("--seed", type=int, default=0, help="of training, starts and draws (default 0)")
    drug = parser.add_argument_group("beats and drug")
    drug.add_argument("--drug", default="E-4031", help="default E-4031")
    drug.add_argument("--doses", type=float, nargs="+", default=list(DOSES), metavar="NM", help="nM, ascending")
    drug.add_argument("--draws", type=int, default=200, help="cells drawn from the posterior (default 200)")
    output_arguments(parser, "twin.h5")


def run(given: argparse.Namespace) -> int:
    if given.example is not None:
        write_example(checked_output(given.example, (".h5", ".hdf5"), "--example"))
        print(f"wrote {given.example}")
    if given.protocol is not None:
        checked_output(given.protocol, (".json",), "--protocol").write_text(
            protocols.to_operator_json(protocols.designed()) + "\n"
        )
        print(f"wrote {given.protocol}")
    if given.example is not None or given.protocol is not None:
        return 0
    if given.recording is None:
        raise ValueError("RECORDING.h5: missing (or --example FILE.h5, to have one)")
    out = checked_output(given.out or "twin.h5", (".h5", ".hdf5"))
    check_whole("--draws", given.draws, "cells")
    known = {"temperature": given.temperature, "capacitance": given.capacitance}
    recording = Recording.load(given.recording, given.group, **known)
    twin = build(
        recording,
        check_recording=_check_recording(given, known),
        spread=given.spread,
        trained=_network(given, recording),
        starts=given.starts,
        seed=given.seed,
        progress=True,
    )
    twin.save(out)
    print(twin.table())
    print(f"wrote {out}\n")
    beats = simulated_twin(twin.cell)
    draws = posterior_cells(twin.base, twin.names, twin.mean, twin.covariance, given.draws, given.seed)
    # Sampled as the twin itself is: the steepest slope depends on it.
    response = posterior_response(draws, given.drug, given.doses, save_every=BEATS_EVERY, progress=True)
    print(_beats_table(beats, response))
    print(f"\n{given.drug}, {given.draws} cells drawn from the posterior:\n{response.table()}")
    save_figure(given, out, lambda: _figure(recording, twin, beats, response))
    if twin.doubts:
        print("this twin is not to be believed: see the doubts above", file=sys.stderr)
    return 1 if twin.doubts else 0


def _check_recording(given: argparse.Namespace, known: dict) -> Recording | None:
    if given.check is not None:
        return Recording.load(given.check, **known)
    if has_check(given.recording, given.group):
        return Recording.load(given.recording, f"{given.group.rstrip('/')}/check", **known)
    return None


def _network(given: argparse.Namespace, recording: Recording):
    """The network in --network if it is there, else a new one, kept there if that is named."""
    if given.network is not None and Path(given.network).exists() and not given.train:
        return load_network(given.network)
    if given.train and given.network is None:
        raise ValueError("--train: needs --network FILE, where the network goes")
    experiment = Experiment.of(recording)
    sigma = float(measured_noise(recording.current, experiment.windows))
    trained = train(
        experiment, cells=given.cells, spread=given.spread, sigma=sigma, seed=given.seed, epochs=given.epochs,
        progress=True,
    )  # fmt: skip
    error, noisy = np.median(trained.test_error), f"with noise of {sigma:.3g} pA/pF"
    print(f"network: median error {error:.4f} of p/p0 on {round(0.2 * given.cells)} cells not trained on, {noisy}")
    if given.network is not None:
        save_network(given.network, trained)
        print(f"wrote {given.network}")
    return trained


def _beats_table(beats, response) -> str:
    """Biomarkers of the most probable cell, and their 90 % intervals over the posterior."""
    rows = [("beats", "unit", "twin", "90 % interval")]
    for name, unit in SHOWN.items():
        low, _, high = response.quantiles(name)[0]
        rows.append((name, unit, f"{beats.biomarkers[name]:.1f}", f"{low:.1f} to {high:.1f}"))
    said = "" if beats.beats else "\n(this cell does not beat by itself)"
    return text_table(rows, left=2) + said


def _figure(recording: Recording, twin: Twin, beats, response):
    command = recording.command.value(twin.times)
    noise = twin.sigma / np.sqrt(windows_of(recording.command, recording.t1, recording.dt).counts)
    return plot.twins.twin_report(
        f"Twin of {recording.name}", ts=twin.times, command=command, recorded=twin.observed, fitted=twin.fitted,
        noise=noise, names=twin.names, mean=twin.mean, sd=twin.sd, twin=beats, response=response,
        null=twin.sd > 0.9 * twin.prior_sd, spread=twin.settings["spread"],
    )  # fmt: skip
