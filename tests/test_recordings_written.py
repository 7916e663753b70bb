"""Traces as tables of text: what is in them, and that the same numbers are read again."""

import os
from pathlib import Path

import numpy as np
import pytest

import jaxcardio as jc
from jaxcardio.__main__ import main

RUN = {"dt": 0.02, "save_every": 1.0, "solver": jc.RushLarsen2()}


@pytest.fixture(scope="module")
def trace():
    return jc.simulate(jc.models.TenTusscher2004(), jc.protocols.PulseTrain(-52.0, 1.0, 1000.0, 10.0), t1=500.0, **RUN)


def table(path):
    header, *rows = Path(path).read_text().splitlines()
    return header.split(","), np.array([[float(x) for x in row.split(",")] for row in rows])


def test_potentials_are_read_again(trace, tmp_path):
    path = tmp_path / "run.csv"
    trace.save(path)
    assert table(path)[0] == ["t_ms", "V_mV"]
    again = jc.read_recording(path)
    assert again.notes == ()
    assert np.allclose(again.ts, trace.ts, rtol=1e-12, atol=0)
    assert np.allclose(again.V, trace.V, rtol=1e-12, atol=0)


def test_states_and_currents_that_are_asked_for(trace, tmp_path):
    path = tmp_path / "run.csv"
    trace.save(path, outputs=["Ca_i", "m", "I_Kr", "V"])
    header, values = table(path)
    assert header == ["t_ms", "Ca_i_mM", "m", "I_Kr_pA_per_pF", "V_mV"]
    assert np.array_equal(values[:, 1], trace.ys.Ca_i)
    assert np.array_equal(values[:, 3], trace.currents().I_Kr)
    again = jc.read_recording(path)
    assert np.array_equal(again.V, trace.V)
    assert "left out: 'Ca_i_mM', 'm', 'I_Kr_pA_per_pF'" in again.notes[0]
    with pytest.raises(ValueError, match=r"'I_Kx'.*did you mean I_K"):
        trace.save(path, outputs=["I_Kx"])
    with pytest.raises(ValueError, match=r"outputs = .*; allowed: only with a path that ends in .csv"):
        trace.save(tmp_path / "run.h5", outputs=["V"])
    assert not (tmp_path / "run.h5").exists()


def test_a_population_has_a_column_for_each_cell(tmp_path):
    ts = np.arange(0.0, 50.0, 0.1)
    V = np.random.default_rng(0).normal(-80.0, 1.0, (3, ts.size)).astype(np.float32)
    V[1, 100:] = np.nan
    path = tmp_path / "cells.csv"
    jc.Trace.from_samples(ts, V).save(path)
    assert table(path)[0] == ["t_ms", "V_mV_0", "V_mV_1", "V_mV_2"]
    assert np.array_equal(jc.read_recording(path).V, V, equal_nan=True)
    assert os.listdir(tmp_path) == ["cells.csv"]


def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", "tentusscher", "--t1", "600", "--dt", "0.05", "--no-plot", "--out", "run.csv"]) == 0
    assert "wrote run.csv" in capsys.readouterr().out
    assert main(["biomarkers", "run.csv", "--no-plot"]) == 0
    assert Path("run-beats.csv").is_file()
    assert main(["simulate", "alievpanfilov1996", "--t1", "60", "--no-plot", "--out", "u.csv"]) == 0
    assert table("u.csv")[0] == ["t_tu", "u"]
    assert main(["biomarkers", "u.csv", "--no-plot"]) == 2
    assert "unit = 'tu', a unit of another quantity; allowed: ms, s" in capsys.readouterr().err
