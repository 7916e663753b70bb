"""The peers' side of the tissue benchmark: what it makes of their numbers, and of a peer that fails. Needs no peer."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
VELOCITIES = Path(__file__).parent / "cable_velocities.json"
CELLML = Path(__file__).resolve().parents[2] / "shared/models/cellml"


@pytest.fixture
def script(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    return importlib.import_module("tissue_peers")


@pytest.fixture
def measuring(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER / "peer_processes")
    return importlib.import_module("measuring")


def _row(dt, cv, rate=2.0e6):
    return {
        **{"program": "a peer", "version": "1", "model": "TP06 epi", "precision": "float64", "threads": 1, "dx": 0.1},
        **{"dt": dt, "cv": cv, "status": "ok"},
        **{"node_steps_per_s": rate, "node_steps_per_cpu_s": rate, "speed_shape": [1000]},
    }


def test_the_limit_of_short_steps_is_found_and_its_uncertainty_covers_it(script):
    dts = [0.005, 0.002, 0.001, 0.0005]

    def first_order(dt):
        return 0.75 * (1 - 2.0 * dt + 30.0 * dt**2 + 400.0 * dt**3)

    cv, uncertainty = script.limit(dts, [first_order(dt) for dt in dts])

    assert cv == pytest.approx(0.75, abs=1e-6)
    assert 1e-7 < abs(cv - 0.75) < uncertainty < 1e-4
    with pytest.raises(ValueError, match="three are needed"):
        script.limit(dts[:2], [0.7, 0.71])


def test_equal_error_asks_for_the_step_that_has_it_and_never_for_an_unstable_one(script):
    rows = [_row(dt, 0.75 * (1 - 2.0 * dt)) for dt in (0.005, 0.002, 0.001)]
    rows.append({**_row(0.01, None), "status": "unstable"})

    speed = rows[0] | {"cv_shape": None}
    del speed["cv"]
    rows = [{k: v for k, v in row.items() if k not in ("node_steps_per_s", "speed_shape")} for row in rows]
    rows = script.joined([speed, *rows])
    found = script.limits(rows)
    costs = {cost["error_percent"]: cost for cost in script.equal_error(rows)}

    assert found[0]["cv"] == pytest.approx(0.75)
    assert costs[0.5]["dt"] == pytest.approx(0.0025)  # between two that were measured
    assert costs[0.2]["dt"] == pytest.approx(0.001)
    assert costs[2.0]["dt"] == pytest.approx(0.005)  # it would be 0.01
    assert costs[0.5]["seconds_per_simulated_ms"] == pytest.approx(1000 / 0.0025 / 2.0e6)
    assert "cv_error_percent" not in rows[-1]
    assert len(rows) == 4 and rows[1]["seconds_per_simulated_ms"] == pytest.approx(1000 / 0.002 / 2.0e6)


def test_a_peer_that_fails_or_cannot_be_installed_is_a_row_and_its_other_rows_are_kept(script, tmp_path, monkeypatch):
    (tmp_path / "half.py").write_text(
        "import json, sys\n"
        "dt = json.loads(sys.argv[1])['dts'][0]\n"
        "print('chatter')\n"
        "print(json.dumps({'dt': dt, 'status': 'ok'}))\n"
        "raise ArithmeticError('it diverged')\n"
    )
    task = script.Task("myokit", "half.py", "half a peer", {"model": "TP06 epi", "dx": 0.1, "dts": [0.01]})

    ran = script.run(task, Path(sys.executable), scripts=tmp_path)

    assert ran[0] == {"dt": 0.01, "status": "ok"}
    assert ran[1]["status"] == "failed: ArithmeticError: it diverged"
    assert ran[1]["program"] == "half a peer" and ran[1]["dx"] == 0.1

    def cannot(name, folder):
        raise RuntimeError("not installed: no compiler")

    monkeypatch.setattr(script, "environment", cannot)
    rows = script.everything([task], tmp_path)
    assert rows == [{**ran[1], "status": "not installed: no compiler"}]
    assert "not installed" in script.table([_row(0.01, 0.7), *rows], script.COLUMNS)
    assert script.limits(rows) == [] and script.equal_error(rows) == []


def test_the_velocity_is_that_of_a_wave_between_its_samples_and_nan_for_none(measuring):
    speed, dx = 0.7, 0.2
    ts = np.arange(0.0, 40.0, 0.05)
    first, last = (100 * np.tanh(ts - i * dx / speed) - 20 for i in measuring.ends(dx))

    assert measuring.velocity(ts, first, last, dx) == pytest.approx(speed, rel=1e-5)
    assert np.isnan(measuring.velocity(ts, first, np.full_like(ts, -85.0), dx))
    assert np.isnan(measuring.velocity(ts, first, np.full_like(ts, np.nan), dx))


def test_the_kept_velocities_are_converged(script):
    """Each is the limit of its own rows; together they approach a limit in dx at second order."""
    kept = json.loads(VELOCITIES.read_text())

    assert {found["model"] for found in kept["velocities"]} >= {"TT2004 epi", "TP06 epi"}
    for found in kept["velocities"]:
        rows = [row for row in kept["rows"] if (row["model"], row["dx"]) == (found["model"], found["dx"])]
        again = script.limit([row["dt"] for row in rows], [row["cv"] for row in rows])
        assert again == pytest.approx((found["cv"], found["uncertainty"]), abs=1e-9)
        assert found["uncertainty"] < 1e-4 * found["cv"]
    for model in ("TT2004 epi", "TP06 epi"):
        cv = {found["dx"]: found["cv"] for found in kept["velocities"] if found["model"] == model}
        order = np.log2((cv[0.1] - cv[0.05]) / (cv[0.05] - cv[0.025]))
        assert order == pytest.approx(2.0, abs=0.3)


def test_the_peers_model_files_are_the_published_equations(monkeypatch):
    """Right-hand sides against annotated CellML of another project, at random states."""
    myokit = pytest.importorskip("myokit")
    formats = pytest.importorskip("myokit.formats.cellml")
    if not CELLML.is_dir():
        pytest.skip("the CellML files are not beside the project")
    rng = np.random.default_rng(0)
    for file, cellml, alias in (
        ("ten_tusscher.mmt", "ten_tusscher_model_2004_M.cellml", {}),
        ("ten_tusscher_panfilov.mmt", "ten_tusscher_model_2006_epi.cellml", {"R": "R_prime"}),
    ):
        ours = myokit.load_model(str(FOLDER / file))
        theirs = formats.CellMLImporter().model(str(CELLML / cellml))
        names = [alias.get(state.name(), state.name()) for state in ours.states()]
        order = [[state.name() for state in theirs.states()].index(name) for name in names]
        start = np.array(ours.initial_values(True))
        assert np.allclose(start, np.array(theirs.initial_values(True))[order], rtol=1e-12, atol=0)
        for _ in range(10):
            y = np.where(start < 1.5, rng.uniform(0, 1, start.size), start)  # gates
            amounts = np.array([name in ("Ca_i", "Ca_SR", "Ca_ss", "Na_i", "K_i") for name in names])
            y = np.where(amounts, start * rng.uniform(0.7, 1.4, start.size), y)
            y[0] = rng.uniform(-95, 50)
            of_theirs = np.empty_like(y)
            of_theirs[order] = y
            found = np.array(ours.evaluate_derivatives(y))
            expected = np.array(theirs.evaluate_derivatives(of_theirs))[order]
            assert np.allclose(found, expected, rtol=1e-9, atol=1e-12), file
