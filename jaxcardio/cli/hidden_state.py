"""The verb `hidden-state`."""

import argparse
import json
from pathlib import Path

import h5py
import numpy as np

from .. import plot
from ..arguments import check
from ..cell import AbstractCell
from ..files.writing import check_replaceable, write_hdf5, write_text
from ..hidden_state import (
    Explanation,
    Observations,
    Retrained,
    as_cell,
    explain,
    first_pass,
    gate_curves,
    load_network,
    retrain,
    save_network,
    simulated_observations,
)
from ..text_tables import text_table
from .arguments.hidden_state import SCENARIOS
from .common import argument, assignments, checked_figure, checked_output, find_model, save_figure

EXAMPLE = "jaxcardio example observations"
"""Attribute `format` of the files of `example`."""


def _train(given: argparse.Namespace) -> int:
    out = checked_output(given.out or "gates.net", (".net",))
    cell = find_model(given.model)()
    trained = first_pass(cell, steps=given.steps, seed=given.seed, progress=True)
    save_network(out, trained.network)
    curves = gate_curves(trained.network, cell)
    rows = [("gate", "largest error of h_inf", "median |log tau| error")]
    for name in trained.network.gates:
        learned, true = curves.learned[name], curves.true[name]
        off = np.abs(np.asarray(learned.steady - true.steady)).max()
        rows.append((name, f"{off:.4f}", f"{np.median(np.abs(np.log(np.asarray(learned.tau / true.tau)))):.4f}"))
    print(f"{text_table(rows)}\nwrote {out}")
    return 0


def _example(given: argparse.Namespace) -> int:
    out = check_replaceable(checked_output(given.file, (".h5", ".hdf5"), "OBSERVATIONS.h5"), EXAMPLE)
    cell = find_model(given.model)()
    ratios = assignments("--scale", given.scale) if given.scale else SCENARIOS[given.scenario]
    for name, ratio in ratios.items():
        check(f"--scale {name}", ratio, "", "a ratio >= 0, finite", lambda x: 0 <= x < np.inf)
    check("--noise", given.noise, "mV", "0 or more", lambda x: x >= 0)
    values = cell.parameters()
    with argument("--scale"):
        changed = cell.replace(**{n: x * values[n].value if n in values else x for n, x in ratios.items()})
    noise = (given.noise, 1e-6 * given.noise)
    observed = {
        group: simulated_observations(one, dt=given.interval, noise=noise, seed=seed, name=group)
        for seed, (group, one) in enumerate({"control": cell, "treatment": changed}.items())
    }

    def write(file: h5py.File) -> None:
        file.attrs["format"] = EXAMPLE
        for group, one in observed.items():
            one.put(file, group)

    write_hdf5(out, write)
    print(f"wrote {out}")
    return 0


def _observed_cell(given: argparse.Namespace) -> AbstractCell:
    cell = find_model(given.model)()
    return cell if given.network is None else as_cell(load_network(given.network), cell)


def _retrain(given: argparse.Namespace) -> int:
    out = checked_output(given.out or "retrained.json", (".json",), inputs=[given.observations, given.network])
    found = retrain(_observed_cell(given), Observations.load(given.observations, given.group), progress=True)
    rows = [("parameter", "gain", "sd")]
    rows += [(n, f"{g:.3f}", f"{g * s:.3f}" if s else "not moved") for (n, g), s in _with_sd(found)]
    print(f"{text_table(rows)}\n{_left(found)}")
    _write(out, {"gain": found.gain, "log_sd": dict(zip(found.names, found.sd.tolist(), strict=True))})
    return 0


def _explain(given: argparse.Namespace) -> int:
    inputs = [given.observations, given.network]
    out = checked_output(given.out or "explanation.json", (".json",), inputs=inputs)
    checked_figure(given, out, inputs)
    cell = _observed_cell(given)
    control, treatment = (Observations.load(given.observations, g) for g in (given.control, given.treatment))
    found = explain(cell, control, treatment, progress=True)
    print(_table(found))
    _write(
        out,
        {
            "main": found.main,
            "ratio": found.ratio,
            "sd": found.sd,
            "rms_V_mV": found.treatment.rms_V,
            "rms_Ca_mM": found.treatment.rms_Ca,
            "alone": [a._asdict() for a in found.alternatives],
        },
    )
    save_figure(given, out, lambda: plot.hidden_states.explanation(found))
    return 0


def _table(found: Explanation) -> str:
    rows = [("parameter", "treatment/control", "sd")]
    for name, ratio in sorted(found.ratio.items(), key=lambda item: -abs(np.log(item[1]))):
        if ratio != 1:
            rows.append((name, f"{ratio:.3f}", f"{found.sd[name]:.3f}"))
    unmoved = [name for name, ratio in found.ratio.items() if ratio == 1]
    text = text_table(rows) if len(rows) > 1 else "no current changed"
    alone = [("one current alone", "ratio", "V left, mV", "Ca_i left, mM")]
    alone += [(a.name, f"{a.ratio:.3f}", f"{a.rms_V:.3f}", f"{a.rms_Ca:.2e}") for a in found.alternatives]
    return f"{text}\nunchanged: {', '.join(unmoved) or 'none'}\n{_left(found.treatment)}\n\n{text_table(alone)}"


def _with_sd(found: Retrained):
    return zip(found.gain.items(), found.sd, strict=True)


def _left(found: Retrained) -> str:
    return f"left unexplained: {found.rms_V:.3f} mV of V, {found.rms_Ca:.2e} mM of Ca_i (root mean square)"


def _write(out: Path, about: dict) -> None:
    write_text(out, json.dumps(about, indent=2) + "\n")
    print(f"wrote {out}")


_JOBS = {"train": _train, "example": _example, "retrain": _retrain, "explain": _explain}


def run(given: argparse.Namespace) -> int:
    return _JOBS[given.job](given)
