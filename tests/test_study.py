"""Dose studies on populations: who counts, what counts, and what is kept."""

from typing import Any

import h5py
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcardio import astype, pharmacology
from jaxcardio.models import KernikClancy2019, TenTusscher2004
from jaxcardio.population import DoseResponse, Reason, dose_response, member, sample, screen, simulate
from jaxcardio.population.study import EVENTS
from jaxcardio.population.viability import UNITS
from jaxcardio.protocols import PulseTrain, VoltageSteps
from jaxcardio.simulation.trace import Trace

SHORT: dict[str, Any] = dict(t1=5000.0, discard=2000.0, chunk=6)  # 2 examples at 3 doses are a chunk of 6, too
DOSES = [0.0, 10.0, 100.0]


@pytest.fixture(scope="module")
def cells():
    cell = KernikClancy2019()
    return sample(cell, n=12, seed=0, spread=0.2, parameters=cell.SIX_CURRENTS)


@pytest.fixture(scope="module")
def study(cells):
    return dose_response(cells, "E-4031", DOSES, examples=2, record={"seed": 0, "spread": 0.2}, **SHORT)


def test_shapes_and_who_is_kept(study):
    m = len(study.cells)
    assert 1 <= m < 12
    assert np.array_equal(study.cells, np.flatnonzero(study.reasons == 0))
    assert sum(study.dropped().values()) == 12 - m
    assert all(getattr(study, name).shape == (3, m) for name in UNITS)
    assert study.example_V.shape == (3, len(study.example_cells), len(study.example_ts))
    assert np.isfinite(study.apd90[0]).all()
    assert not study.failed[0].any()
    assert not study.quiescent[0].any()


def test_control_is_a_screening_by_the_default_rules(cells, study):
    found = screen(cells, **SHORT)
    assert np.array_equal(found.reasons, study.reasons)
    for name in UNITS:
        assert np.array_equal(found.biomarkers[name][found.viable], getattr(study, name)[0], equal_nan=True), name


def test_a_dropped_cell_is_counted_once_by_its_gravest_reason(study):
    reasons = np.array([0, Reason.NO_BEAT, Reason.NO_BEAT | Reason.NO_REPOLARISATION, Reason.RUN_FAILED])
    dropped = DoseResponse(**{**vars(study), "reasons": reasons}).dropped()
    assert dropped == {
        "does not beat": 1,
        "does not repolarise": 1,
        "its run failed": 1,
        "a biomarker out of range": 0,
    }


def test_the_drug_prolongs_or_stops_repolarisation(study):
    both = np.isfinite(study.apd90[0]) & np.isfinite(study.apd90[1])
    assert (study.apd90[1] > study.apd90[0])[both].all()
    assert study.shows("abnormal").sum(axis=1)[-1] > 0
    assert (study.oscillating <= study.failed).all()
    assert not (study.quiescent & study.failed).any()


def test_means_are_those_of_the_beats(cells, study):
    """By hand, for one cell at control: the beats after the discarded time that follow another."""
    column = 0
    one = member(cells, study.cells[[column]])
    trace = simulate(one, None, t1=5000.0, dt=0.1, outputs=["V"], save_every=1.0)
    from jaxcardio.biomarkers import action_potentials_from

    late = trace.ts >= 2000.0
    beats = action_potentials_from(trace.ts[late], trace.V[0, late])
    wanted = np.asarray(beats.repolarised & jnp.isfinite(beats.cycle_length))
    assert study.beats[0, column] == wanted.sum()
    # its solver is of first order here, at the same step
    assert study.apd90[0, column] == pytest.approx(np.asarray(beats.apd90)[wanted].mean(), abs=2.0)
    assert study.cycle_length[0, column] == pytest.approx(np.asarray(beats.cycle_length)[wanted].mean(), rel=0.01)


def test_chunks_change_nothing(cells, study):
    given: dict[str, Any] = {**SHORT, "chunk": 4}
    other = dose_response(cells, "E-4031", DOSES, examples=2, **given)
    assert np.array_equal(other.cells, study.cells)
    for name in (*UNITS, "example_V"):
        assert np.allclose(getattr(other, name), getattr(study, name), rtol=1e-7, atol=1e-7, equal_nan=True), name


def test_incidence_counts_viable_cells(study):
    n = len(study.cells)
    for event in EVENTS:
        expected = pharmacology.incidence(study.shows(event).sum(axis=1), n)
        assert np.array_equal(study.incidence(event), expected)
    assert np.array_equal(study.counted(), [n] * 3)
    narrow, wide = study.incidence("failed", 0.5), study.incidence("failed", 0.99)
    assert (wide.high >= narrow.high).all()
    assert (wide.low <= narrow.low).all()
    with pytest.raises(ValueError, match=r"event = 'fibrillation'; allowed: ead, failed"):
        study.incidence("fibrillation")


def test_a_failed_run_counts_nowhere(study):
    status = study.status.copy()
    status[2, 0] = 1
    fewer = DoseResponse(**{**vars(study), "status": status})
    assert np.array_equal(fewer.counted() - study.counted(), [0, 0, -1])


def test_saved_and_loaded_are_equal(study, tmp_path):
    study.save(tmp_path / "study.h5")
    loaded = DoseResponse.load(tmp_path / "study.h5")
    for name, value in vars(study).items():
        assert np.array_equal(getattr(loaded, name), value, equal_nan=not isinstance(value, str)), name
        assert isinstance(value, str) or getattr(loaded, name).dtype == value.dtype
    assert '"seed": 0' in loaded.settings
    assert loaded.table() == study.table()


def test_foreign_and_truncated_files_are_named(study, tmp_path):
    path = tmp_path / "study.h5"
    with pytest.raises(ValueError, match="no such file"):
        DoseResponse.load(path)
    Trace.from_samples(np.arange(5.0), np.zeros(5)).save(path)
    with pytest.raises(ValueError, match="not a jaxcardio dose response"):
        DoseResponse.load(path)
    study.save(path)
    with h5py.File(path, "a") as file:
        file.attrs["format_version"] = 1  # its codes meant something else
    with pytest.raises(ValueError, match="format version 1; allowed: 2"):
        DoseResponse.load(path)
    study.save(path)
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ValueError, match="not a whole HDF5 file of a jaxcardio dose response"):
        DoseResponse.load(path)


def test_the_table_names_columns_and_units(study):
    text = study.table()
    assert f"{len(study.cells)} of 12 cells viable at control" in text
    for word in ("APD90", "no repolarisation", "nM", "ms", "mV", "[95 %]"):
        assert word in text
    assert len(text.splitlines()) == 4 + len(DOSES)


@pytest.mark.slow
def test_paced_cells_and_single_precision():
    cell = TenTusscher2004()
    cells = astype(sample(cell, n=3, seed=1, spread=0.1, parameters=["g_Kr", "g_CaL"]), jnp.float32)
    pacing = PulseTrain(-52.0, 1.0, 1000.0, 10.0)
    done = []
    study = dose_response(
        cells, "dofetilide", [5.0], pacing, t1=3000.0, discard=1000.0, examples=0, dt=0.05, progress=done.append
    )
    assert study.doses.tolist() == [0.0, 5.0]
    assert (study.beats == 2).all()
    assert (study.apd90[1] > study.apd90[0] + 10).all()
    assert np.allclose(study.cycle_length[np.isfinite(study.cycle_length)], 1000.0, atol=2.0)
    assert done[-1] == 1.0
    assert (np.diff(done) >= 0).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (dict(drug="E-4301"), "no drug named 'E-4301'; did you mean E-4031"),
        (dict(doses=[10.0, 5.0]), r"doses = \[10.0, 5.0\] nM; allowed: ascending, finite and >= 0 nM"),
        (dict(doses=[-1.0]), r"doses = \[-1.0\] nM"),
        (dict(doses=[]), r"doses = \[\] nM"),
        (dict(t1=-5.0), r"t1 = -5.0 ms; allowed: > 0"),
        (dict(discard=9000.0), r"discard = 9000.0 ms; allowed: 0 to t1 - 2000 = 3000 ms"),
        (dict(dt=-0.1), r"dt = -0.1 ms; allowed"),
        (
            dict(protocol=VoltageSteps(np.array([-80.0]), np.array([10.0]))),
            "protocol: a voltage clamp; allowed: a stimulus, or None",
        ),
        (dict(y0=None), "y0: not an argument here"),
        (dict(cells=KernikClancy2019()), "cells: expected a population"),
    ],
)
def test_wrong_arguments_are_named(cells, changed, message):
    given: dict[str, Any] = dict(cells=cells, drug="E-4031", doses=[0.0], t1=5000.0, discard=2000.0) | changed
    with pytest.raises(ValueError, match=message):
        dose_response(**given)


def test_a_population_without_a_viable_cell_is_an_error():
    cells = KernikClancy2019().replace(scale_p_CaL=np.zeros(2), scale_g_f=0.0)
    with pytest.raises(ValueError, match=r"none of 2 is viable at control \(\{.*'does not beat': 2.*\}\)"):
        dose_response(cells, "E-4031", [0.0], **SHORT)
