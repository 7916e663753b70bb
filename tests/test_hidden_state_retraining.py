"""Observations of a cell, what is wrong with bad ones, and which current is found to have changed."""

import json
from typing import Any

import h5py
import numpy as np
import pytest

from jaxcardio import hidden_state as hs
from jaxcardio.__main__ import main
from jaxcardio.hidden_state.retraining import _lasso
from jaxcardio.models import Skibsbye2016, TenTusscher2004

CELL = TenTusscher2004()


def sweep(**changes: Any) -> hs.Sweep:
    """Two cycles of something like an action potential, 400 ms each."""
    ts = np.arange(800) % 400
    V = np.where((ts > 10) & (ts < 250), 20.0, -85.0)
    usual: dict[str, Any] = dict(cycle_length=400.0, V=V, Ca_i=np.full(800, 2e-4))
    return hs.Sweep(**(usual | changes))


V = sweep().V


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (dict(V=np.where(np.arange(800) == 7, np.nan, V)), r"V = nan at 7 ms; allowed: no gaps \(1 samples\)"),
        (dict(V=V / 1000), "allowed: an action potential"),
        (dict(V=1000 * V), r"allowed: -150 to 100 mV \(is its unit"),
        (dict(Ca_i=np.full(800, 0.2)), "allowed: 0 to 0.1 mM"),
        (dict(Ca_i=np.full(700, 2e-4)), "V has 800 samples, Ca_i 700"),
        (dict(V=V[:500], Ca_i=np.full(500, 2e-4)), "allowed: two cycles of 400"),
        (dict(V=np.full(800, -85.0)), "V changes by 0 mV in cycle 2 of 2; allowed: an action potential"),
        (dict(V=np.where(np.arange(800) < 400, -85.0, V)), "in cycle 1 of 2"),
        (dict(dt=5.0), "dt = 5.0 ms; allowed: 0 < dt <= 2"),
        (dict(cycle_length=400.5), "allowed: a multiple of 1.0 ms"),
        (dict(onset=300.0), "onset = 300.0 ms"),
        (dict(V=V.reshape(2, 400)), r"expected shape \(samples,\)"),
    ],
)
def test_bad_observations_are_refused_by_name(changes, said):
    with pytest.raises(ValueError, match=said):
        sweep(**changes)


def test_a_cell_without_the_observed_calcium_is_refused():
    with pytest.raises(ValueError, match="Skibsbye2016 has no state 'Ca_i' to observe"):
        hs.retrain(Skibsbye2016(), hs.Observations((sweep(),)))


def test_sweeps_of_one_condition_are_recorded_alike():
    other = hs.Sweep(400.0, V[::2], np.full(400, 2e-4), dt=2.0)
    with pytest.raises(ValueError, match=r"dt = \[1.0, 2.0\] ms; allowed: one for all"):
        hs.Observations((sweep(), other))
    with pytest.raises(ValueError, match="no sweeps"):
        hs.Observations(())


def test_observations_come_back_from_their_file_in_any_unit(tmp_path):
    path = tmp_path / "observations.h5"
    hs.Observations((sweep(),)).save(path, "control")
    hs.Observations((sweep(),)).save(path, "control")  # replaces it
    with h5py.File(path, "a") as file:
        for key, unit, scale in (("V", "V", 1e-3), ("Ca_i", "nM", 1e6)):
            dataset: Any = file[f"control/400_ms/{key}"]
            dataset[...] = scale * dataset[...]
            dataset.attrs["unit"] = unit
    read = hs.Observations.load(path, "control").sweeps[0]
    np.testing.assert_allclose(read.V, V, rtol=1e-14)
    np.testing.assert_allclose(read.Ca_i, 2e-4, rtol=1e-14)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda g: g["V"].attrs.__setitem__("unit", "volts"), "V: unit = 'volts'; allowed: mV, V"),
        (lambda g: g["Ca_i"].attrs.__delitem__("unit"), "Ca_i: unit = None; allowed: mM, uM, nM"),
        (lambda g: g.__delitem__("Ca_i"), "no dataset Ca_i; there: V"),
        (lambda g: g.attrs.__delitem__("cycle_length_ms"), "no attribute cycle_length_ms"),
        (lambda g: g["V"].__setitem__(9, np.nan), "V = nan at 9 ms"),
    ],
)
def test_a_bad_file_is_a_clear_error_of_the_command_line(change, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    hs.Observations((sweep(),)).save("observations.h5", "treatment")
    with h5py.File("observations.h5", "a") as file:
        change(file["treatment/400_ms"])
    assert main(["hidden-state", "retrain", "observations.h5"]) == 2
    assert said in capsys.readouterr().err
    assert {p.name for p in tmp_path.iterdir()} == {"observations.h5"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["explain", "none.h5"], "none.h5: no such file"),
        (["explain", "none.h5", "--network", "none.net"], "path = none.net: no such file"),
        (["explain", "none.h5", "--out", "x.txt"], "--out = x.txt"),
        (["train", "--steps", "3"], "steps = 3 steps"),
        (["train", "--out", "gates.h5"], "--out = gates.h5"),
        (["example", "e.h5", "--scale", "g_KR=0.5"], "no parameter named 'g_KR'"),
        (["example", "e.h5", "--noise", "-1"], "--noise = -1.0 mV"),
    ],
)
def test_wrong_arguments_are_named_and_nothing_is_written(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["hidden-state", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seed", range(5))
def test_the_step_of_the_fit_is_the_minimum_of_its_lasso(seed):
    draws = np.random.default_rng(seed)
    J = draws.standard_normal((30, 6))
    A, b = J.T @ J + 0.1 * np.eye(6), 10 * draws.standard_normal(6)
    weight, centre = np.array([5.0, 5.0, 5.0, 5.0, 0.0, 0.0]), draws.standard_normal(6)
    movable = np.array([True, True, True, False, True, True])
    z = _lasso(A, b, np.zeros(6), centre, weight, movable)
    slope = A @ z + b
    assert z[3] == 0
    for i in np.flatnonzero(movable):
        if z[i] != centre[i]:
            assert abs(slope[i] + weight[i] * np.sign(z[i] - centre[i])) < 1e-6
        else:
            assert abs(slope[i]) <= weight[i] + 1e-6


@pytest.mark.slow  # two fits through the solver
def test_the_changed_current_is_named_with_learned_gates(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["hidden-state", "train"]) == 0
    assert main(["hidden-state", "example", "observations.h5", "--scenario", "ito"]) == 0
    assert main(["hidden-state", "explain", "observations.h5", "--network", "gates.net"]) == 0
    assert (tmp_path / "explanation.png").stat().st_size > 20_000
    found = json.loads((tmp_path / "explanation.json").read_text())
    assert found["main"] == "g_to"
    assert abs(found["ratio"]["g_to"] / 3 - 1) < 0.1
    assert all(abs(ratio - 1) < 0.1 for name, ratio in found["ratio"].items() if name != "g_to")
    first, *others = found["alone"]
    assert all(other["cost"] > 3 * first["cost"] for other in others)
    assert "g_to" in capsys.readouterr().out
