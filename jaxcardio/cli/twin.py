"""The verb `twin`."""

import argparse
from pathlib import Path

import numpy as np

from .. import models, pharmacology, plot
from ..arguments import check, check_seed, check_whole
from ..files.writing import write_text
from ..json_text import decoded, read_bytes
from ..progress import say
from ..text_tables import text_table
from ..twin import (
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
from .common import argument, check_temperature, checked_figure, checked_output, save_figure

SHOWN = {"apd90": "ms", "apd50": "ms", "cycle_length": "ms", "mdp": "mV", "peak": "mV", "dvdt_max": "V/s"}


def _is_table(path: Path) -> bool:
    """Whether a file is what --protocol writes: other verbs read such a file, and it may be one of theirs."""
    try:
        protocols.from_operator_json(decoded(read_bytes(path, "--protocol"), "--protocol"))
    except ValueError:
        return False
    return True


def run(given: argparse.Namespace) -> int:
    if given.example is not None:
        write_example(checked_output(given.example, (".h5", ".hdf5"), "--example"))
        print(f"wrote {given.example}")
    if given.protocol is not None:
        out = checked_output(given.protocol, (".json",), "--protocol")
        if out.exists() and not _is_table(out):
            raise ValueError(f"--protocol = {out}: is there, and is no clamp table; allowed: a new file")
        write_text(out, protocols.to_operator_json(protocols.designed()) + "\n")
        print(f"wrote {given.protocol}")
    if given.example is not None or given.protocol is not None:
        return 0
    if given.recording is None:
        raise ValueError("RECORDING.h5: missing (or --example FILE.h5, to have one)")
    inputs = [given.recording, given.check, given.network]
    out = checked_output(given.out or "twin.h5", (".h5", ".hdf5"), inputs=inputs)
    checked_figure(given, out, inputs)
    _check_numbers(given)
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
        say("this twin is not to be believed: see the doubts above\n")
    return 1 if twin.doubts else 0


def _check_numbers(given: argparse.Namespace) -> None:
    """What is used only after the training or the fit is looked at before."""
    for option, unit in (("draws", "cells"), ("cells", "cells"), ("epochs", "epochs"), ("starts", "fits")):
        check_whole(f"--{option}", getattr(given, option), unit)
    check_seed(given.seed, "--seed", bits=31)
    check("--spread", given.spread, "", "0 < spread < 1", lambda x: 0 < x < 1)
    check("--doses", given.doses, "nM", "ascending, finite and >= 0", lambda x: (np.diff(x) > 0).all() and x[0] >= 0)
    check("--cells", given.cells, "cells", "100 to 2^32", lambda x: 100 <= x <= 2**32)
    if given.temperature is not None:
        check_temperature("--temperature", given.temperature)
    check("--capacitance", given.capacitance, "pF", "> 0, finite", lambda x: 0 < x < np.inf)
    with argument(f"--drug = {given.drug}"):
        for dose in given.doses:
            pharmacology.block(models.KernikClancy2019(), given.drug, dose)


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
    if given.network is not None:
        checked_output(given.network, (), "--network", [given.recording, given.check])
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
        about = "~" * (name == "dvdt_max")
        rows.append((name, unit, f"{about}{beats.biomarkers[name]:.1f}", f"{about}{low:.1f} to {high:.1f}"))
    sampled = f"\n~ of samples {BEATS_EVERY:g} ms apart, not the model's own: low by some per cent"
    said = "" if beats.beats else "\n(this cell does not beat by itself)"
    return text_table(rows, left=2) + sampled + said


def _figure(recording: Recording, twin: Twin, beats, response):
    command = recording.command.value(twin.times)
    noise = twin.sigma / np.sqrt(windows_of(recording.command, recording.t1, recording.dt).counts)
    return plot.twins.twin_report(
        f"Twin of {recording.name}", ts=twin.times, command=command, recorded=twin.observed, fitted=twin.fitted,
        noise=noise, names=twin.names, mean=twin.mean, sd=twin.sd, twin=beats, response=response,
        null=twin.sd > 0.9 * twin.prior_sd, spread=twin.settings["spread"],
    )  # fmt: skip
