"""The benchmark scripts run, and say what they are relied on to say."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
ERRORS = ("rmse_mV", "rmse_all_mV", "max_error_mV", "apd90_error_ms", "dvdt_max_error_V_s")
COST = ("steps", "steps_per_s", "compile_s", "run_s", "run_s_per_s", "cost")


@pytest.mark.slow
def test_work_and_precision_of_the_solvers(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    script = importlib.import_module("solvers")

    script.main(["--quick", "--models", "aliev_panfilov", "--out", str(tmp_path)])

    found = json.loads((tmp_path / "solvers_quick.json").read_text())
    assert {"date", "device", "cpu", "versions"} <= set(found["machine"])
    rows = found["rows"]
    assert len(rows) == len(list(script.settings(script.CASES["aliev_panfilov"], quick=True)))
    for row in rows:
        assert row["status"] == "ok", row
        assert all(np.isfinite(row[name]) for name in (*ERRORS, *COST)), row
    by_dt = sorted((row["dt"], row["rmse_mV"]) for row in rows if row["solver"] == "RushLarsen2")
    steps, errors = np.array(by_dt).T
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert slope > 1.5, f"second order expected, found {slope:.2f}"
    reference_error = found["models"]["aliev_panfilov"]["self_convergence"]["rmse_mV"]
    assert reference_error < 0.01 * errors.min()
    assert (tmp_path / "solvers_quick.png").stat().st_size > 10_000
