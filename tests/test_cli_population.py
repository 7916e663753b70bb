"""The verbs `dataset` and `population`: what they write is what the library makes, and wrong input leaves nothing."""

import csv
import json
from pathlib import Path

import h5py
import numpy as np
import pytest

import jaxcardio as jc
from jaxcardio.__main__ import main
from jaxcardio.cli.dataset import PUBLISHED_STYLE
from jaxcardio.protocols import VoltageSteps, to_json

KERNIK = jc.models.KernikClancy2019()
CLAMPED = ["--steps", "-80:4,0:8,-40:4", "--parameters", "Kr_g,CaL_p", "--outputs", "I_ion_total,I_CaL"]
MAKE = ["dataset", "make", "data", "--cells", "20", "--shard", "8", "--no-screen", *CLAMPED]
SHORT_SCREEN = ["--t1", "3000", "--discard", "500"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def contents(folder) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(Path(folder).iterdir()) if p.name != "lock"}


def interrupted(*_, **__):
    raise KeyboardInterrupt


@pytest.mark.parametrize("verb", ["dataset", "population"])
def test_help_of_every_job(verb, capsys):
    assert main([verb, "--help"]) == 0
    jobs = {"dataset": ("make", "resume", "verify", "info"), "population": ("simulate", "screen", "plot")}[verb]
    assert all(job in capsys.readouterr().out for job in jobs[:1])
    for job in jobs[::-1]:
        assert main([verb, job, "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    for words in (
        "1 +- S (default: 0.2)",
        "published 52",
        "model's published stimulus" if verb == "population" else "7 s of 250 ms steps",
    ):
        assert words in said


# --- dataset ---------------------------------------------------------------------------------------------------------


def test_a_dataset_holds_the_cells_that_the_options_describe(capsys):
    assert main([*MAKE, "--temperature", "298", "--sobol", "0.4"]) == 0
    said = capsys.readouterr()
    assert "100 %" in said.err
    assert "cells/s" in said.err
    data = jc.population.Dataset("data")
    assert data.recipe.parameters == ("Kr_g", "CaL_p")
    cells = jc.population.sample(
        jc.astype(KERNIK.replace(temperature=298.0), np.dtype("float32")),
        n=20, seed=0, distribution=jc.population.Sobol(0.4), parameters=["Kr_g", "CaL_p"],
    )  # fmt: skip
    clamp = VoltageSteps([-80.0, 0.0, -40.0], [4.0, 8.0, 4.0])
    run = jc.population.simulate(cells, clamp, t1=16.0, outputs=["I_ion_total", "I_CaL"])
    read = data.read(np.arange(20))
    np.testing.assert_allclose(read.outputs["I_CaL"], run.ys.I_CaL, rtol=1e-4, atol=1e-5)
    assert main(["dataset", "info", "data"]) == 0
    info = capsys.readouterr().out
    assert info == said.out
    for line in (
        ["cells", "20", "of", "20"],
        ["kept", "20"],
        ["shards", "3"],
        ["model", "KernikClancy2019,", "temperature", "=", "298", "K"],
        ["design", "Sobol,", "spread", "0.4;", "seed", "0"],
    ):
        assert any(row.split()[: len(line)] == line for row in info.splitlines()), line


def test_the_default_is_the_published_style_of_clamp_and_screening(monkeypatch, capsys):
    monkeypatch.setattr(jc.population.Recipe, "make", interrupted)
    assert main(["dataset", "make", "data", "--cells", "4"]) == 130
    assert "interrupted with 0 of 1 shards finished" in capsys.readouterr().err
    recipe = jc.population.Dataset("data").recipe
    assert to_json(recipe.protocol) == to_json(PUBLISHED_STYLE)
    assert (recipe.t1, recipe.save_every, recipe.dtype) == (7000.0, 1.0, "float32")
    assert recipe.parameters == KERNIK.SIX_CURRENTS
    assert recipe.rules == jc.population.Rules()
    assert recipe.screening_protocol is None
    assert [PUBLISHED_STYLE.value(t) for t in (0.0, 249.0, 6000.0, 6249.0)] == [-100.0, -100.0, -120.0, -120.0]
    levels = PUBLISHED_STYLE.value(np.arange(125.0, 7000.0, 250.0))
    assert sorted(set(levels)) == list(range(-120, 60, 10))
    assert (np.diff(levels) != 0).all()


@pytest.mark.slow
def test_screening_keeps_viable_cells(capsys):
    screened = ["dataset", "make", "data", "--cells", "16", "--spread", "0.4", "--steps", "-80:4,0:8"]
    assert main([*screened, "--screen-t1", "3000", "--screen-discard", "500", "--range", "apd90=100:800"]) == 0
    data = jc.population.Dataset("data")
    assert data.recipe.rules is not None
    assert data.recipe.rules.ranges == {"apd90": (100.0, 800.0)}
    beats, apd90 = data.table("beats"), data.table("apd90")
    assert np.array_equal(
        data.kept, np.flatnonzero((beats > 0) & ~data.table("failed") & (apd90 >= 100) & (apd90 <= 800))
    )
    assert 0 < len(data.kept) < 16
    assert "does not beat" in capsys.readouterr().out
    assert main(["population", "plot", "data"]) == 0
    assert Path("data.png").read_bytes()[:4] == b"\x89PNG"


def test_an_interrupted_dataset_says_how_to_resume_and_ends_with_the_same_bytes(monkeypatch, capsys):
    make = jc.population.Recipe.make
    with monkeypatch.context() as patched:
        patched.setattr(jc.population.Recipe, "make", lambda *x, **y: interrupted() if 8 in x[1] else make(*x, **y))
        assert main(MAKE) == 130
    said = capsys.readouterr().err
    assert "interrupted with 1 of 3 shards finished; go on with: jaxcardio dataset resume data" in said
    assert main(["dataset", "info", "data"]) == 0
    assert "8 of 20 made" in capsys.readouterr().out
    assert main(["dataset", "resume", "data"]) == 0
    assert main([x if x != "data" else "again" for x in MAKE]) == 0
    assert contents("data") == contents("again")
    assert main(["dataset", "resume", "data"]) == 0  # nothing is left to do, and nothing is done
    assert contents("data") == contents("again")


def test_verify_names_every_bad_file(capsys):
    assert main(MAKE) == 0
    assert main(["dataset", "verify", "data"]) == 0
    assert "every shard is as it was written" in capsys.readouterr().out
    first, second = Path("data/shard-00000.h5"), Path("data/shard-00001.h5")
    first.write_bytes(first.read_bytes()[:-1000])
    bent = bytearray(second.read_bytes())
    bent[-100] ^= 1
    second.write_bytes(bent)
    harmed = contents("data")
    assert main(["dataset", "verify", "data"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 3
    assert "shard-00000.h5: truncated" in out[0]
    assert "shard-00001.h5" in out[1]
    assert out[2].startswith("2 of its files are not as they were written")
    assert main(["dataset", "resume", "data"]) == 2
    assert "shard-00000.h5: truncated" in capsys.readouterr().err
    assert contents("data") == harmed


# --- population ------------------------------------------------------------------------------------------------------


def test_a_population_is_simulated_and_drawn(capsys):
    options = ["--model", "tentusscher", "--cells", "5", "--log-normal", "0.1", "--seed", "4", "--dtype", "float64"]
    assert main(["population", "simulate", "cells.h5", *options, "--t1", "60", "--outputs", "V,I_Kr"]) == 0
    trace = jc.Trace.load("cells.h5")
    assert trace.ys._fields == ("V", "I_Kr")
    assert trace.V.shape == (5, 61)
    assert trace.V.dtype == np.float64
    cell = jc.models.TenTusscher2004()
    assert trace.cell is not None
    theta = jc.population.relative_change(trace.cell, cell, ["g_Kr", "P_NaK"])
    factors = jc.population.LogNormal(0.1).factors(["g_Kr", "P_NaK"], seed=4, indices=np.arange(5))
    np.testing.assert_allclose(theta, factors - 1, atol=1e-12)
    assert trace.V.max() > 20  # paced by the published stimulus
    assert main(["population", "plot", "cells.h5", "--output", "I_Kr", "--out", "a.svg"]) == 0
    assert "<svg" in Path("a.svg").read_text()


def test_screening_writes_a_row_a_cell_with_its_reasons(capsys):
    arguments = ["population", "screen", "--cells", "12", "--spread", "0.4", "--range", "peak=20:", *SHORT_SCREEN]
    assert main([*arguments, "--out", "s.csv"]) == 0
    out = capsys.readouterr().out
    with open("s.csv") as f:
        rows = list(csv.DictReader(f))
    assert len(rows) == 12
    viable = [row["viable"] == "1" for row in rows]
    assert [row["reasons"] == "" for row in rows] == viable
    assert f"{sum(viable)} of 12 cells viable" in out
    assert 0 < sum(viable) < 12
    assert all(float(row["peak_mV"]) >= 20 for row in rows if row["viable"] == "1")
    assert main([*arguments, "--out", "s.h5"]) == 0
    with h5py.File("s.h5") as f:
        reasons = np.asarray(f["reasons"])
        assert f["biomarkers/apd90"].attrs["unit"] == "ms"
        assert json.loads(str(f.attrs["rules"]))["ranges"] == {"peak": [20.0, None]}
        population = json.loads(str(f.attrs["population"]))
    assert (reasons == 0).tolist() == viable
    assert population["distribution"] == {"type": "Uniform", "spread": 0.4}
    assert population["seed"] == 0
    assert main(["population", "plot", "s.h5"]) == 0
    assert Path("s.png").read_bytes()[:4] == b"\x89PNG"


def test_a_dimensionless_population_has_steps_and_samples_of_its_own_size():
    options = ["--model", "alievpanfilov1996", "--parameters", "k,a", "--cells", "3", "--t1", "10"]
    assert main(["population", "simulate", "a.h5", *options]) == 0
    trace = jc.Trace.load("a.h5")
    assert trace.V.shape == (3, 201)
    assert "dt=0.005" in trace.solver
    assert (trace.V.max(axis=1) > 0.8).all()


# --- wrong input -----------------------------------------------------------------------------------------------------

SIMULATE = ["population", "simulate", "o.h5"]
SCREEN = ["population", "screen"]
TEN_TUSSCHER = ["--model", "tentusscher"]
DIMENSIONLESS = ["--model", "alievpanfilov1996", "--parameters", "k"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([*MAKE, "--cells", "0"], ["n = 0 cells", "allowed: a whole number >= 1"]),
        ([*MAKE, "--spread", "1.5"], ["spread = 1.5", "allowed: 0 <= spread < 1"]),
        ([*MAKE, "--spread", "0.1", "--sobol", "0.1"], ["--sobol", "not allowed with argument --spread"]),
        ([*MAKE, "--log-normal", "-1"], ["sigma = -1.0", "allowed: >= 0"]),
        ([*MAKE, "--seed", "-1"], ["seed = -1", "allowed: a whole number from 0"]),
        ([*MAKE, "--parameters", "Kr_g,g_Kr"], ["--parameters", "'g_Kr'", "did you mean"]),
        ([*MAKE, *TEN_TUSSCHER, "--parameters", "six-currents"], ["--parameters = six-currents", "has none"]),
        ([*MAKE, "--temperature", "25"], ["--temperature = 25.0 K", "allowed: 273 to 323 K"]),
        ([*MAKE, *TEN_TUSSCHER, "--temperature", "300"], ["--temperature = 300.0 K", "TenTusscher2004 has none"]),
        ([*MAKE, "--model", "kernick"], ["MODEL", "did you mean KernikClancy2019"]),
        ([*MAKE, "--steps", "-80,0"], ["--steps = '-80,0'", "allowed: MV:MS"]),
        ([*MAKE, "--steps", "-80:0"], ["durations = [0.] ms", "allowed: each > 0"]),
        ([*MAKE, "--clamp", "p.json"], ["--protocol and --steps", "give one of them"]),
        ([*MAKE, "--outputs", "I_x"], ["no state or current named 'I_x'"]),
        ([*MAKE, "--save-every", "0"], ["save_every = 0.0 ms", "allowed: 0 < save_every"]),
        ([*MAKE, "--dt", "-1"], ["dt = -1.0 ms", "allowed: > 0"]),
        ([*MAKE, "--dt", "30"], ["dt = 30.0 ms", "allowed"]),
        ([*MAKE, "--shard", "0"], ["--shard = 0 cells", "allowed: a whole number >= 1"]),
        ([*MAKE, "--chunk", "0"], ["--chunk = 0 cells", "allowed: a whole number >= 1"]),
        ([*MAKE, "--dtype", "float16"], ["--dtype", "float16", "float32"]),
        ([*MAKE, "--screen", "--range", "apd90"], ["--range = 'apd90'", "allowed: NAME=LOW:HIGH"]),
        ([*MAKE, "--screen", "--range", "apd9=1:2"], ["ranges", "'apd9'", "did you mean apd90"]),
        ([*MAKE, "--screen", "--range", "apd90=800:100"], ["apd90 = (800.0, 100.0) ms", "lowest < highest"]),
        ([*MAKE, "--screen", "--screen-t1", "1000"], ["discard = 5000.0 ms", "allowed"]),
        (["dataset", "make", "no/data"], ["FOLDER = no/data", "there is no folder no"]),
        (["dataset", "make", "d", *DIMENSIONLESS], ["dimensionless", "--protocol"]),
        (["dataset", "resume", "data"], ["folder = data", "no dataset there"]),
        (["dataset", "verify", "data"], ["folder = data", "no dataset there"]),
        (["dataset", "info", "data"], ["folder = data", "no dataset there"]),
        (["dataset", "mend", "data"], ["mend", "resume"]),
        ([*SIMULATE, "--t1", "-5"], ["t1 = -5.0 ms", "allowed: > t0"]),
        ([*SIMULATE, "--outputs", "W"], ["W"]),
        ([*SIMULATE, "--cells", "0"], ["n = 0 cells"]),
        ([*SIMULATE, "--cells", "2", "--dt", "0"], ["dt = 0.0 ms", "allowed"]),
        ([*SIMULATE, "--protocol", "no.json"], ["no.json"]),
        (["population", "simulate", "o.csv"], ["OUT.h5 = o.csv", ".h5"]),
        ([*SCREEN, "--min-beats", "-1"], ["min_beats = -1 beats", "allowed"]),
        ([*SCREEN, "--t1", "1000"], ["discard = 500.0 ms", "allowed"]),
        ([*SCREEN, "--steps", "-80:10"], ["protocol: a voltage clamp", "allowed: a stimulus, or None"]),
        ([*SCREEN, *DIMENSIONLESS], ["dimensionless", "in mV and ms"]),
        ([*SCREEN, "--out", "s.txt"], ["--out = s.txt", ".csv or .h5"]),
        (["population", "plot", "none.h5"], ["FILE = none.h5", "no such file"]),
        (["population", "plot", "none.h5", "--out", "f.doc"], ["--out = f.doc", ".png"]),
    ],
)  # fmt: skip
def test_wrong_input_is_refused_in_one_line_and_leaves_nothing(arguments, words, capsys, tmp_path):
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert "usage:" in err or len(err.strip().splitlines()) == 1
    for word in words:
        assert word in err, f"{word!r} not in {err!r}"
    assert list(tmp_path.iterdir()) == []


def test_another_recipe_does_not_touch_a_dataset(capsys):
    assert main(MAKE) == 0
    before = contents("data")
    assert main([*MAKE, "--seed", "1"]) == 2
    assert "seed = 0 there, 1 asked for" in capsys.readouterr().err
    assert contents("data") == before


@pytest.mark.parametrize("left", [["lock"], ["lock", "manifest.json.4194305-0123abcd.part"]])
def test_a_dataset_is_made_where_a_process_was_killed_before_its_manifest(left):
    Path("data").mkdir()
    for name in left:
        Path("data", name).write_bytes(b"")
    assert main(MAKE) == 0
    assert not any(name.endswith(".part") for name in contents("data"))


def test_a_folder_or_file_of_something_else_is_left_alone(capsys):
    Path("data").mkdir()
    Path("data/thesis.txt").write_text("mine")
    assert main(MAKE) == 2
    assert "FOLDER = data: is something else" in capsys.readouterr().err
    assert contents("data") == {"thesis.txt": b"mine"}
    assert main(["population", "plot", "data/thesis.txt"]) == 2
    assert "not a whole HDF5 file" in capsys.readouterr().err
    with h5py.File("other.h5", "w"):
        pass
    assert main(["population", "plot", "other.h5"]) == 2
    assert "neither a jaxcardio trace nor a jaxcardio screening" in capsys.readouterr().err
