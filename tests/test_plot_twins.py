"""Figures of twins: what is drawn is the data, every axis has its unit, and a page holds all of them."""

import json
from typing import Any

import numpy as np
import pytest

from jaxcardio import plot
from jaxcardio.files.records import cell_to_json
from jaxcardio.models import KernikClancy2019
from jaxcardio.plot import twins
from jaxcardio.population import DoseResponse
from jaxcardio.population.viability import UNITS
from jaxcardio.twin.beats import SIX, SimulatedTwin
from jaxcardio.twin.study import TwinStudy, UncertainResponse

NAMES = KernikClancy2019.SIX_CURRENTS
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def study():
    doses, cells = np.array([0.0, 50.0]), 40
    fields = {name: np.zeros((2, cells)) for name in UNITS}
    fields |= {name: np.zeros((2, cells), bool) for name in ("failed", "oscillating", "quiescent")}
    fields |= {"status": np.zeros((2, cells), int), "ead": np.array([[False], [True]]) & (np.arange(cells) % 4 == 0)}
    fields["apd90"] = RNG.normal(400.0, 40.0, (2, cells))
    record = {"twins": [cell_to_json(KernikClancy2019())] * 2, "seed": 0, "spread": 0.2}
    return TwinStudy(
        DoseResponse(
            doses=doses,
            cells=np.arange(cells),
            reasons=np.zeros(cells, int),
            example_cells=np.zeros(0, int),
            example_ts=np.zeros(0),
            example_V=np.zeros((2, 0, 0)),
            drug="E-4031",
            model="KernikClancy2019",
            settings=json.dumps({"record": record}),
            **fields,
        )
    )


@pytest.fixture(scope="module")
def simulated():
    ts = np.arange(0.0, 100.0)
    return SimulatedTwin(ts, RNG.random(100), RNG.random(100), RNG.random(100),
                         {name: RNG.random(100) for name in SIX}, {}, True)  # fmt: skip


@pytest.fixture(scope="module")
def response():
    measured = {name: np.zeros((2, 30), bool) for name in ("ead", "failed", "quiescent", "oscillating")}
    measured |= {"status": np.zeros((2, 30), int), "apd90": np.stack([np.full(30, 400.0), np.full(30, np.nan)])}
    measured["failed"][1] = True
    return UncertainResponse(np.array([0.0, 100.0]), measured, "E-4031")


RECORDING: dict[str, Any] = {
    "ts": np.linspace(0.0, 2000.0, 50),
    "command": np.full(50, -80.0),
    "recorded": np.linspace(0.0, 1.0, 50),
    "fitted": np.linspace(0.0, 1.1, 50),
}
THETA: dict[str, Any] = {"names": NAMES, "mean": np.linspace(-0.2, 0.2, 52), "sd": np.full(52, 0.01)}


def labels(axes):
    return [ax.get_ylabel() for ax in axes]


def test_recording_and_fit():
    axes = twins.recording_and_fit(**RECORDING)
    assert labels(axes) == ["command\n(mV)", "total current\n(pA/pF)", "residual\n(pA/pF)"]
    assert axes[-1].get_xlabel() == "time (s)"
    residual = RECORDING["recorded"] - RECORDING["fitted"]
    assert np.allclose(axes[2].lines[0].get_ydata(), residual)
    axes = twins.recording_and_fit(**RECORDING, noise=0.1)
    assert np.allclose(axes[2].lines[0].get_ydata(), residual / 0.1)
    assert axes[2].get_ylabel() == "residual\n(sd of noise)"
    wrong: dict[str, Any] = RECORDING | {"fitted": np.zeros(3)}
    with pytest.raises(ValueError, match=r"fitted: shape \(3,\); allowed: \(50,\), as ts"):
        twins.recording_and_fit(**wrong)


def test_parameters_are_grouped_by_current_and_have_90_percent_intervals():
    ax = twins.parameters(**THETA, truth=np.zeros(52), null=["Xs_2"], spread=0.2)
    assert ax.get_ylabel() == "change from baseline (%)"
    assert [t.get_text() for t in ax.get_xticklabels()] == list(NAMES)
    shown = [t.get_text() for t in ax.texts]
    assert shown == [plot.style.pretty(name) for name in SIX]
    first = ax.containers[0]
    assert np.allclose(first.lines[0].get_ydata(), -100 * np.linspace(0.2, -0.2, 52)[: len(first.lines[0].get_ydata())])
    low, high = first.lines[2][0].get_segments()[0][:, 1]
    assert (high - low) / 200 == pytest.approx(1.6449 * 0.01, rel=1e-3)
    hollow = [c for c in ax.containers if len(c.lines[0].get_xdata()) and c.lines[0].get_markerfacecolor() == "white"]
    assert [c.lines[0].get_xdata().tolist() for c in hollow] == [[NAMES.index("Xs_2")]]
    mask = np.isin(NAMES, ["Xs_2"])
    assert len(twins.parameters(**THETA, null=mask).containers) == len(ax.containers)
    with pytest.raises(ValueError, match=r"sd: shape \(3,\); allowed: \(52,\), as names"):
        twins.parameters(NAMES, THETA["mean"], np.zeros(3))
    with pytest.raises(ValueError, match=r"null: \['Xs_9'\]; allowed: some of names"):
        twins.parameters(**THETA, null=["Xs_9"])


def test_learning_curves():
    ax = twins.learning_curves(np.array([1.0, 0.5, 0.2]), np.array([1.1, 0.7, 0.9]), floor=0.1, label="1k cells")
    best = next(line for line in ax.lines if line.get_marker() == "o")
    assert (best.get_xdata()[0], best.get_ydata()[0]) == (2, 0.7)
    assert ax.get_xlabel() == "epoch"
    assert "1k cells, validation" in [t.get_text() for t in ax.get_legend().get_texts()]


def test_a_population_and_its_currents():
    ts, V = np.arange(10.0), RNG.random((30, 10))
    axes = twins.population_variability(ts, V, {"I_Kr": 2 * V, "I_Na": 3 * V}, cells=20)
    assert labels(axes) == ["V (mV)", *(f"{plot.style.pretty(k)} (pA/pF)" for k in ("I_Kr", "I_Na"))]
    assert [len(ax.lines) for ax in axes] == [20, 20, 20]
    assert np.array_equal(axes[2].lines[19].get_ydata(), 3 * V[19])
    with pytest.raises(ValueError, match="axes: 2; allowed: 3"):
        twins.population_variability(ts, V, {"I_Kr": V, "I_Na": V}, axes[:2])
    with pytest.raises(ValueError, match="cells = 0 of 30; allowed: >= 1"):
        twins.population_variability(ts, V, {}, cells=0)


def test_incidence_and_apd90_of_a_study(study):
    ax = twins.dose_incidence(study)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("E-4031 (nM)", "EAD, then repolarised (% of viable cells)")
    pooled, first, second = (c.lines[0].get_ydata() for c in ax.containers)
    assert np.allclose((pooled, first, second), [[0, 25], [0, 50], [0, 0]])
    ax = twins.apd_distribution(study)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("APD90 without drug (ms)", "cells")
    assert sum(bar.get_height() for bar in ax.containers[0]) == 20
    mean, sd = study.pooled.apd90[0].mean(), study.pooled.apd90[0].std()
    assert ax.get_title("left") == f"{mean:.0f} ± {sd:.0f} ms, 40 viable cells"


def test_beats_and_currents(simulated):
    axes = twins.beats(simulated, true=simulated)
    assert labels(axes)[:2] == ["V (mV)", r"$\mathrm{Ca}_i$ (µM)"]
    assert np.allclose(axes[1].lines[1].get_ydata(), 1000 * simulated.Ca_i)  # mM -> µM
    axes = twins.six_currents(simulated)
    assert [len(ax.lines) for ax in axes] == [1] * 6
    assert np.array_equal(axes[4].lines[0].get_ydata(), simulated.currents["I_Na"])


def test_an_uncertain_dose_response(response):
    left, right = twins.uncertain_dose_response(response)
    assert left.get_ylabel() == "APD90 (ms), 5 to 95 %"
    assert [t.get_text() for t in left.texts] == ["30", "0"]
    failed = right.containers[1].lines[0].get_ydata()
    assert np.allclose(failed, [0, 100])


def test_a_report_is_one_page(simulated, response, tmp_path):
    some = {"twin": simulated, "true": simulated}
    fig = twins.twin_report("A twin", **RECORDING, **THETA, **some, response=response)
    assert len(fig.axes) == 3 + 1 + 3 + 6 + 2
    assert np.allclose(fig.get_size_inches(), (8.27, 11.69))
    fig.savefig(tmp_path / "report.png")
    shorter = twins.twin_report("A twin", **RECORDING, **THETA, twin=simulated)
    assert len(shorter.axes) == 3 + 1 + 3 + 6
