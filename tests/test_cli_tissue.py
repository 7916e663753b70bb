"""The verb `tissue`: what is printed is what the library measures, and what cannot be trusted is said to be."""

import csv
import re
from typing import Any

import numpy as np
import PIL.Image
import pytest

import jaxcardio as jc
from jaxcardio.__main__ import main

T = jc.tissue
AP = ["--model", "alievpanfilov1996", "--no-cache"]


@pytest.fixture(autouse=True)
def somewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def row_of(said: str, name: str) -> list[str]:
    """A row of the table, by its first column."""
    (line,) = (line for line in said.splitlines() if line.startswith(name))
    return re.split(r"\s{2,}", line)


@pytest.mark.parametrize("job", ["cable", "sheet", "slab", "restitution", "spiral"])
def test_help_of_every_job(job, capsys):
    assert main(["tissue", job, "--help"]) == 0
    said = capsys.readouterr().out
    assert "--diffusivity" in said and "mm^2/ms" in said


@pytest.mark.slow
def test_cable_prints_the_velocity_of_the_run_that_it_writes(tmp_path, capsys):
    words = ["--length", "30", "--t1", "60", "--dt", "0.05", "--out", "c.h5", "--animation", "c.gif"]
    assert main(["tissue", "cable", *AP, *words]) == 0
    said = capsys.readouterr().out
    run = T.Run.load(tmp_path / "c.h5")
    value, measured = row_of(said, "CV, mm/t.u.")[1:]
    assert float(value) == pytest.approx(float(T.conduction_velocity(run, (15,), (40,))), rel=1e-3)
    assert measured.startswith(f"x = 9.3 mm at {run.activation_time[15]:.4g} t.u. to 24.3 mm")
    apd, place = row_of(said, "APD90, t.u.")[1:]
    assert float(apd) == pytest.approx(float(run.apd[25]), rel=1e-3) and place == "x = 15.3 mm"
    steep = float(row_of(said, "CV dx / D")[1])
    assert steep == pytest.approx(float(value) * 0.6, rel=1e-2)
    assert "50 cells, 30 mm, dx 0.6 mm, D 1 mm^2/t.u." in said
    made: Any
    with PIL.Image.open("c.png") as figure, PIL.Image.open("c.gif") as made:
        assert figure.width > 500
        assert made.n_frames == len(run.ts)  # at rest only the time above differs: of equal frames PIL keeps one


def test_a_mesh_too_coarse_is_said_and_its_velocity_marked(capsys):
    words = ["--length", "60", "--dx", "2", "--t1", "60", "--dt", "0.05", "--no-plot"]
    assert main(["tissue", "cable", *AP, *words]) == 1
    said = capsys.readouterr().out
    assert row_of(said, "CV, mm/t.u.")[1].startswith("~")
    assert "jaxcardio: spacing = 2 mm along axis 0; allowed for this wave" in said


def test_no_wave_is_no_number(capsys):
    words = ["--length", "30", "--t1", "60", "--dt", "0.05", "--no-plot", "--pulse-amplitude", "-0.01"]
    assert main(["tissue", "cable", *AP, *words]) == 1
    said = capsys.readouterr().out
    assert row_of(said, "CV, mm/t.u.")[1:] == ["none", "no wave from x = 9.3 to 24.3 mm before the end"]
    assert row_of(said, "APD90, t.u.")[1] == "none"
    assert "jaxcardio: no cell was activated" in said


@pytest.mark.slow
def test_sheet_with_fibres_is_faster_along_them(tmp_path, capsys):
    words = [
        "--width",
        "14",
        "--height",
        "12",
        "--dx",
        "0.4",
        "--fibres",
        "0",
        "--across",
        "0.4",
        "--stimulus",
        "corner",
    ]
    assert main(["tissue", "sheet", *AP, *words, "--t1", "40", "--dt", "0.05"]) == 0
    said = capsys.readouterr().out
    run = T.Run.load(tmp_path / "sheet.h5")
    times = run.activation_time
    along, across = times[0, 28] - times[0, 8], times[28, 0] - times[8, 0]
    assert across / along == pytest.approx(2.5**0.5, rel=0.05)
    assert row_of(said, "activated")[1] == f"{30 * 35} of {30 * 35}"
    last = row_of(said, "last activation")
    assert float(last[1]) == pytest.approx(float(np.max(times)), rel=1e-3) and last[2] == "cell (29, 34)"
    low, high = map(float, re.findall(r"[\d.]+", row_of(said, "local velocity")[2].partition("%:")[2]))
    assert low < 0.8 * high
    assert (tmp_path / "sheet.png").exists()


@pytest.mark.slow
def test_slab_is_crossed_from_a_corner(tmp_path, capsys):
    words = ["--width", "9", "--height", "6", "--depth", "3", "--t1", "25", "--dt", "0.05", "--no-plot"]
    assert main(["tissue", "slab", *AP, *words]) == 0
    said = capsys.readouterr().out
    run = T.Run.load(tmp_path / "slab.h5")
    assert run.tissue.shape == (5, 10, 15) and row_of(said, "last activation")[2] == "cell (4, 9, 14)"
    assert not (tmp_path / "slab.png").exists()


@pytest.mark.slow
def test_restitution_table_is_the_librarys(tmp_path, capsys):
    words = ["--length", "18", "--intervals", "10,25,40", "--cycle-length", "50", "--beats", "2", "--prepaced", "0"]
    assert main(["tissue", "restitution", *AP, *words, "--dt", "0.05"]) == 0
    said = capsys.readouterr().out
    with open("restitution.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["S1-S2 interval, t.u."] for row in rows] == ["10", "25", "40"]
    assert [row["conducted"] for row in rows] == ["0", "1", "1"]
    assert "shortest interval that conducts: 25 t.u." in said
    assert "no capture" in said or "blocked" in said
    pulse = {"cycle_length": 50.0, "amplitude": -0.5, "duration": 2.0, "region": np.s_[:3], "beats": 2}
    cable = T.Tissue(jc.models.AlievPanfilov1996(), 30, 0.6, 1.0)
    found = T.restitution(cable, [10.0, 25.0, 40.0], **pulse, dt=0.05)
    np.testing.assert_allclose([float(row["CV, mm/t.u."]) for row in rows], found.velocity, rtol=1e-6)
    np.testing.assert_allclose([float(row["APD90, t.u."]) for row in rows], found.apd, rtol=1e-6)
    assert (tmp_path / "restitution.png").exists()


@pytest.mark.slow  # half a minute
def test_a_spiral_turns_and_a_line_ends_it(tmp_path, capsys):
    words = ["--t1", "200", "--ablate-at", "130", "--save-every", "2", "--dt", "0.04"]
    assert main(["tissue", "spiral", *AP, *words]) == 0
    said = capsys.readouterr().out
    run = T.Run.load(tmp_path / "spiral.h5")
    assert row_of(said, "singularities at the end")[1] == "1"
    period = float(np.nanmedian(T.period(run, since=67.0)))
    assert float(row_of(said, "period")[1]) == pytest.approx(period, rel=0.02)
    assert row_of(said, "ablation (line) at 130 t.u.")[1] == "ended"
    after = T.Run.load(tmp_path / "spiral-ablated.h5")
    there = np.asarray(after.tissue.mask)  # cells of the line stay as they were
    assert float(after.V[-1][there].max()) < 0.01 < float(run.V[-1].max())
    assert (~np.asarray(after.tissue.mask)).sum() == 200  # a line of two cells


@pytest.mark.slow  # two to three minutes
def test_the_spiral_of_an_ionic_cell_turns_ten_times_and_a_cross_ends_it(tmp_path, capsys):
    words = ["--float32", "--ablate-at", "1000", "--t1", "1250", "--save-every", "4", "--no-plot"]
    assert main(["tissue", "spiral", *words]) == 0
    said = capsys.readouterr().out
    assert "a brief action potential: g_Na x 0.5, g_CaL x 0, g_K1 x 3, g_Kr x 20" in said
    run = T.Run.load(tmp_path / "spiral.h5")
    assert run.problems() == []

    s2: Any = run.stimuli[1].protocol
    start = float(s2.times[0])
    tips = T.phase_singularities(run, second="j", centre=(-50.0, 0.15))
    turning = run.ts[run.ts > start + 10]
    assert [int((tips.ts == t).sum()) for t in turning] == [1] * len(turning)
    (path,) = T.tip_paths(run, second="j", centre=(-50.0, 0.15), shortest=100.0)
    assert path.ts[-1] == 1000.0 and 1 < min(path.x.min(), path.y.min()) < max(path.x.max(), path.y.max()) < 29
    corner = run.activation_times[:, -1, -1]
    assert (corner > start).sum() >= 11  # ten turns between them

    period = float(np.nanmedian(T.period(run, since=start + (1000 - start) / 3)))
    assert float(row_of(said, "period")[1]) == pytest.approx(period, rel=1e-3)
    turns = np.diff(corner[(corner > start + 200) & np.isfinite(corner)])
    print(f"period {period:.2f} ms; at a corner {turns.min():.1f} to {turns.max():.1f} ms, {len(turns)} turns")
    assert 75 < period < 95
    assert turns.mean() == pytest.approx(period, rel=0.02) and turns.std() < 0.1 * period
    assert 1000 / float(np.median(T.dominant_frequency(run, since=300.0))) == pytest.approx(period, rel=0.03)

    assert row_of(said, "ablation (cross) at 1000 ms")[1] == "ended"
    after = T.Run.load(tmp_path / "spiral-ablated.h5")
    assert float(np.max(after.V[-1][after.tissue.mask])) < -80
    uncut = T.simulate(run.tissue, t0=1000.0, t1=1250.0, dt=0.05, save_every=250.0, y0=run.final_state)
    assert float(np.max(uncut.V[-1])) > -20  # without the lines it turns on


def test_a_place_that_cannot_be_written_is_found_out_before(tmp_path, capsys):
    for words in (["--out", "x.txt"], ["--animation", "x.png"], ["--out", "nowhere/x.h5"]):
        assert main(["tissue", "cable", *AP, *words]) == 2
        assert words[0] in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_one_of_diffusivity_and_conductivity(capsys):
    assert main(["tissue", "cable", *AP, "--diffusivity", "0.1", "--conductivity", "0.1"]) == 2
    assert "not allowed with" in capsys.readouterr().err


def test_an_ablation_needs_its_time(capsys):
    assert main(["tissue", "spiral", *AP, "--ablation", "cross"]) == 2
    assert "--ablation = 'cross'; allowed: with --ablate-at" in capsys.readouterr().err
