"""The benchmark scripts run, and say what they are relied on to say."""

import importlib
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcardio as jc
from jaxcardio.simulation.grid import uniform_grid

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


@pytest.mark.slow
def test_populations_against_their_peers(monkeypatch, tmp_path):
    pytest.importorskip("myokit")
    pytest.importorskip("gotranx")
    monkeypatch.syspath_prepend(FOLDER)
    script = importlib.import_module("populations")

    script.main(["--quick", "--groups", "beat", "step", "--out", str(tmp_path)])

    found = json.loads((tmp_path / "populations_quick.json").read_text())
    assert {"date", "device", "cpu", "versions"} <= set(found["machine"])
    assert found["reference"]["self_convergence"]["rmse_mV"] < 1e-3
    rows = {row["key"]: row for row in found["rows"]}
    assert set(rows) == {row.key for name in ("beat", "step") for row in script.rows(quick=True)[name]}
    if rows["cvode"]["status"].startswith("CompilationError"):  # Myokit without a C compiler or without SUNDIALS
        del rows["cvode"]
    for row in rows.values():
        assert row["status"] == "ok", row
        assert row["run_s"] > 0 and row["turns"] >= 1 and row["cells_per_s"] > 0
    for key in {"f64", "f32", "f64 tuned", "f32 tuned", "one cell", "cvode"} & set(rows):
        assert rows[key]["rmse_mV"] < 0.02, key
        assert abs(rows[key]["apd90_error_ms"]) < 0.05, key
    for key in {"cvode", "gotranx"} & set(rows):
        assert rows[key]["rhs_difference"] < 1e-9, key


@pytest.mark.slow
def test_clamps_in_closed_form_against_stepping(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    script = importlib.import_module("clamp")

    script.main(["--quick", "--out", str(tmp_path)])

    found = json.loads((tmp_path / "clamp_quick.json").read_text())
    assert {"date", "device", "cpu", "versions", "held_to_one_core"} <= set(found["machine"])
    cells = [row for row in found["rows"] if row["group"] == "one cell"]
    assert {row["command"] for row in cells} == {"steps", "ramp", "recorded"}
    for row in cells:
        bound = 5e-3 if row["row"] == script.FIRST_ORDER else 1e-3
        assert row["error"] < bound and row["reference_converged"] < 0.1 * bound, row
    for row in cells:
        if row["command"] == "steps" and row["row"] == script.FIRST_ORDER:
            assert row["over_closed_form"] > 2, row
    populations = [row for row in found["rows"] if row["group"] == "population"]
    assert {row["dtype"] for row in populations} == {"float64", "float32"}
    assert all(row["not_ok"] == 0 and row["run_s"] > 0 for row in populations)


@pytest.mark.slow
def test_the_command_for_gpus_runs_on_a_cpu(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    script = importlib.import_module("gpu")

    script.main(["--quick", "--out", str(tmp_path)])

    found = json.loads((tmp_path / "gpu-cpu_quick.json").read_text())
    assert {"date", "device", "versions", "devices", "assumed"} <= set(found["device"])
    rows = {name: [] for name in ("correct", "issue", "fused", "scaling", "operations")}
    for row in found["rows"]:
        assert row["status"] == "ok", row
        rows[row["section"]].append(row)
    assert all(rows.values())
    for row in rows["correct"] + rows["fused"]:
        assert row["relative_difference"] < (1e-10 if "float64" in row["label"] else 1e-5), row
    for row in rows["scaling"]:
        states = 2 * len(getattr(script.jc.models, row["model"])().initial_state()) * np.dtype(row["dtype"]).itemsize
        assert row["kernels"] > 1 and row["bytes_per_cell"] > states, row  # every state is read and written
    assert all(row["not_ok"] == 0 for row in rows["issue"])
    assert len(found["bounds"]) == sum(row["dtype"] == "float32" for row in rows["scaling"])


def test_a_budget_that_is_spent_leaves_rows_that_say_so(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    importlib.import_module("gpu").main(["--quick", "--budget", "0", "--out", str(tmp_path)])

    found = json.loads((tmp_path / "gpu-cpu_quick.json").read_text())
    assert found["rows"] and all(row["status"].startswith("skipped") for row in found["rows"])


@pytest.mark.filterwarnings("ignore:The Pallas Triton backend is deprecated")
@pytest.mark.slow
def test_a_kernel_of_many_steps_is_the_scan_and_can_be_made_for_a_gpu(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    fused = importlib.import_module("fused")
    cell = jc.astype(jc.models.TenTusscher2004(), jnp.float32)
    cells = jc.population.sample(cell, n=32, seed=0, spread=0.2, parameters=["g_Na", "g_CaL"])
    pacing, solver = jc.protocols.PulseTrain(-52.0, 1.0, 1000.0, 1.0), jc.RushLarsen2()
    grid = uniform_grid(0.0, 5.0, 0.05, [pacing.edges(0.0, 5.0)])

    final, V = fused.fused_run(cells, pacing, grid, solver, fused.Launch(16, 40, None))()

    run = jc.simulate(cells, pacing, t1=5.0, grid=grid, solver=solver, save_at=[2.0, 4.0, 5.0])
    assert np.ptp(run.ys.V) > 10
    assert np.allclose(V.T, run.ys.V, rtol=0, atol=1e-4)
    for name, x in final._asdict().items():
        assert np.allclose(x, getattr(run.final_state, name), rtol=1e-5, atol=1e-9), name
    kernel = fused.fused_run(cells, pacing, grid, solver, fused.Launch(32, 40, 1))
    device = jax.sharding.AbstractDevice("NVIDIA H200", None, "gpu")
    mesh = jax.sharding.AbstractMesh((1,), ("cells",), abstract_device=device)
    with jax.sharding.use_abstract_mesh(mesh):
        text = kernel.func.trace(*kernel.args).lower(lowering_platforms=("cuda",)).as_text()
    assert "xla.gpu.triton" in text


@pytest.mark.slow
def test_twins_against_the_truth(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    script = importlib.import_module("twin")

    script.main(["--quick", "--parts", "network", "refined", "--out", str(tmp_path)])
    script.main(["--quick", "--parts", "study", "--out", str(tmp_path)])

    found = json.loads((tmp_path / "twin_quick.json").read_text())["parts"]
    assert set(found) == {"network", "refined", "study"}, "parts measured before are kept"
    few, more, _ = (row["found"]["median_error"] for row in found["network"]["rows"])
    assert more < few < 0.1, "more cells teach more, and any network beats the mean"
    refined, beats = (row["found"] for row in found["refined"]["rows"])
    assert refined["converged"] == 1.0
    assert refined["median_error"] < 0.5 * refined["network_error"]
    assert 0.8 < refined["z_sd"] < 1.2
    assert set(beats["outcomes"]) <= set(jc.twin.beats.OUTCOMES)
    assert 0.0 <= found["study"]["rows"][0]["found"]["ead_at_50nM_percent"] <= 100.0


@pytest.mark.slow
def test_default_numbers_of_the_command_line(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    script = importlib.import_module("defaults")

    script.main(["--models", "TenTusscher2004", "AlievPanfilov1996", "--out", str(tmp_path)])

    rows = json.loads((tmp_path / "defaults.json").read_text())["rows"]
    assert len(rows) == 10
    for row in rows:
        for name, bar in script.BARS.items():
            assert abs(row[name]) <= bar, row


@pytest.mark.slow
def test_first_results_are_measured(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    script = importlib.import_module("first_result")
    monkeypatch.setattr(script, "PROGRAMS", script.PROGRAMS[-1:])  # `jaxcardio models`: the only quick one

    script.main(["--repeats", "1", "--out", str(tmp_path)])

    (file,) = tmp_path.glob("first_result_jax_*.json")
    (row,) = json.loads(file.read_text())["rows"]
    assert 0 < row["cold_s"] < 10


@pytest.mark.slow
def test_noise(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    script = importlib.import_module("noise")

    script.main(["--quick", "--models", "ten_tusscher", "--out", str(tmp_path)])

    found = json.loads((tmp_path / "noise_quick.json").read_text())
    assert {row["noise"] for row in found["rows"]} == set(script.KINDS)
    total = found["summary"]
    assert total["beats"] == total["beats_expected"]
    assert total["within_3_percent"] >= 97  # of some 80 beats
    assert total["false_eads"] == 0 and total["eads_found_percent"] >= 95
    assert total["cycle_length_percent"] < script.BARS["cycle_length_percent"]


@pytest.mark.slow
def test_tissue_convergence(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    script = importlib.import_module("tissue_convergence")

    script.main(["--quick", "--models", "ten_tusscher", "--out", str(tmp_path)])

    (found,) = json.loads((tmp_path / "tissue_convergence_quick.json").read_text())["cells"]
    assert -3.0 < found["at_0.1_mm_percent"] < 0.0  # a coarse grid slows a wave
    assert abs(found["at_default_step_percent"]) < 1.0
    errors = {(w["splitting"], w["diffusion"]): abs(w["error_percent"][-1]) for w in found["steps"]}
    assert errors["strang", "explicit"] < 0.2 * errors["godunov", "explicit"]


@pytest.mark.slow
def test_error_and_cost_of_the_sodium_channel(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    script = importlib.import_module("sodium")

    script.main(["--quick", "--ways", "exact", "rates", "--out", str(tmp_path)])

    found = json.loads((tmp_path / "sodium_quick.json").read_text())
    assert {"date", "device", "cpu", "versions", "held_to_one_core"} <= set(found["machine"])
    rows = {(row["way"], row["dt"], row["cells"]): row for row in found["rows"]}
    assert len(rows) == 4 * 2 * 2
    assert all(row["seconds_a_beat"] > 0 and row["reference_moved_mV"] < 1e-3 for row in rows.values())
    for dt, cells in ((0.05, 1), (0.1, 1)):
        plain, second, step = (rows[f"exact, {s}", dt, cells]["rmse_mV"] for s in script.EXACT_SOLVERS)
        assert step < 0.3 * second < 0.1 * plain
    assert {row["way"] for row in found["many_cells"]} == {way for way, _, _ in rows}
    (ours,) = (row for row in found["headline"] if row["way"] == script.OURS)
    assert ours["met"] in ("yes", "no") and ours["rmse_mV"] < 0.12


def test_the_time_at_an_error_lies_between_the_steps_measured(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    script = importlib.import_module("sodium")
    rows = [{"dt": dt, "rmse_mV": 10 * dt**2, "seconds_a_beat": 1 / dt} for dt in (0.2, 0.1, 0.05)]
    seconds, how = script.seconds_at(rows, "rmse_mV", 10 * 0.07**2)
    assert how == "between" and np.isclose(seconds, 1 / 0.07)
    assert script.seconds_at(rows, "rmse_mV", 1.0) == (5.0, "longest")
    assert script.seconds_at(rows, "rmse_mV", 1e-6) == (None, "never")
    by_accident = [{"dt": 0.4, "rmse_mV": 0.0, "seconds_a_beat": 2.5}, *rows]
    assert script.seconds_at(by_accident, "rmse_mV", 10 * 0.07**2) == (seconds, how)


@pytest.mark.slow
def test_subsystems_and_what_replaces_them(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    script = importlib.import_module("sodium_subsystems")

    script.main(["--quick", "--out", str(tmp_path)])

    found = json.loads((tmp_path / "sodium_subsystems_quick.json").read_text())
    all_of_it, rest = found["where"]
    assert rest["float64_ns"] < 0.9 * all_of_it["float64_ns"]  # calcium is more than a quarter
    rows = {row["name"]: row for row in found["replacements"]}
    tenfold, exact = rows["calcium every 10th step"], rows["exact"]
    assert tenfold["gain"] > 1.1
    assert all(tenfold[f"V_mV_{c:g}"] < 1.2 * exact[f"V_mV_{c:g}"] for c in script.CYCLE_LENGTHS)


@pytest.mark.slow
def test_sodium_networks_of_several_seeds(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    script = importlib.import_module("sodium_seeds")

    script.main(["--quick", "--seeds", "0", "--out", str(tmp_path)])

    found = json.loads((tmp_path / "sodium_seeds_quick.json").read_text())
    assert {row["network"] for row in found["training"]} == {"rates", "flow_map"}
    assert not any(row["ships"] for row in found["training"])  # they are trained for a moment only
    rows = {(row["network"], row["dt"], row["name"]): row for row in found["rows"]}
    assert rows["exact", 0.1, "RMSE of V, whole beat"]["met"]
    assert rows["rates", None, "outside"]["met"] and rows["rates", None, "semigroup"]["met"]


@pytest.mark.slow
def test_the_bar_table_of_intracellular(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    script = importlib.import_module("intracellular")

    script.main(["--quick", "--out", str(tmp_path)])

    found = json.loads((tmp_path / "intracellular_quick.json").read_text())
    assert {"date", "device", "cpu", "versions"} <= set(found["machine"])
    assert {row["loss"] for row in found["rows"]} == set(script.LOSSES)
    assert {row["name"] for row in found["rows"]} == set(script.HIGHEST_MAE)
    assert all(row["crossing"] == 0 for row in found["rows"])
    assert all(np.isfinite(row[name]) for row in found["rows"] for name in ("mae", "ratio", "ridge", "coverage"))


@pytest.mark.slow
def test_monitoring_of_many_channels(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(FOLDER)
    script = importlib.import_module("intracellular_monitor")

    script.main(["--quick", "--out", str(tmp_path)])

    found = json.loads((tmp_path / "intracellular_monitor_quick.json").read_text())
    assert found["same_in_other_slabs"]
    assert found["beats"] > 100
