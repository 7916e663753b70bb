"""Where a result cannot be written is told before the work; where nobody listens the work is done all the same."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from jaxcardio.__main__ import main
from jaxcardio.cli import beats, drug, population, run, twin

LONG = "x" * 300
BRIEF = ["simulate", "alievpanfilov1996", "--t1", "2", "--save-every", "1"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def no_work(monkeypatch):
    def worked(*_, **__):
        pytest.fail("the work began")

    for module, name in (
        (run, "simulate"),
        (drug, "sample"),
        (beats, "read"),
        (population, "simulate"),
        (population, "screen"),
        (twin, "build"),
    ):
        monkeypatch.setattr(module, name, worked)


WRITERS = [
    ["simulate", "kernik", "--no-plot", "--out"],
    ["drug", "E-4031", "--no-plot", "--out"],
    ["biomarkers", "in.h5", "--no-plot", "--out"],
    ["population", "simulate"],
    ["population", "screen", "--out"],
    ["twin", "in.h5", "--no-plot", "--out"],
]


@pytest.mark.parametrize("arguments", WRITERS)
@pytest.mark.parametrize(
    ("place", "said"), [("folder.h5", "folder"), (LONG + ".h5", "too long"), ("no/x.h5", "no folder")]
)
def test_a_place_that_cannot_be_written_is_refused_before_the_work(arguments, place, said, no_work, capsys, tmp_path):
    Path("folder.h5").mkdir()
    assert main([*arguments, place]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.h5"]


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("arguments", WRITERS)
def test_permissions_are_looked_at_before_the_work(arguments, no_work, capsys):
    Path("closed").mkdir(mode=0o500)
    Path("mine.h5").touch(mode=0o400)
    for place in ("closed/x.h5", "mine.h5"):
        assert main([*arguments, place]) == 2
        assert "cannot be written" in capsys.readouterr().err


def test_a_figure_that_cannot_be_written_is_refused_before_the_work(no_work, capsys):
    Path("a.png").mkdir()
    assert main(["simulate", "kernik", "--out", "a.h5"]) == 2
    assert "a.png" in capsys.readouterr().err


@pytest.mark.parametrize("link", [False, True])
def test_what_is_read_is_not_written_over(link, capsys):
    with h5py.File("in.h5", "w") as file:
        file["V"] = np.zeros(9)
    Path("in.csv").write_text("t_ms,V_mV\n0,1\n1,2\n2,3\n")
    for file in ("in.h5", "in.csv"):
        before, out = Path(file).read_bytes(), file
        if link:
            out = "link" + Path(file).suffix
            Path(out).symlink_to(file)
        for verb in ("biomarkers", "twin") if file == "in.h5" else ("biomarkers",):
            assert main([verb, file, "--out", out]) == 2
            assert "is what is to be read" in capsys.readouterr().err
        assert Path(file).read_bytes() == before


def test_a_check_leaves_nothing_and_changes_nothing():
    from jaxcardio.cli.common import checked_output

    Path("there.h5").write_bytes(b"mine")
    Path("dangling.h5").symlink_to("target.h5")
    for name in ("there.h5", "new.h5", "dangling.h5"):
        checked_output(name, (".h5",))
    assert sorted(p.name for p in Path().iterdir()) == ["dangling.h5", "there.h5"]
    assert Path("there.h5").read_bytes() == b"mine"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux only")
@pytest.mark.parametrize("redirect", ["2>&-", "2>/dev/full", "<&- >&- 2>&-"])
def test_nobody_listening_ends_no_run(redirect):
    words = " ".join([sys.executable, "-m", "jaxcardio", *BRIEF, "--no-plot", "--out", "a.h5"])
    assert subprocess.run(["sh", "-c", f"{words} {redirect}"], capture_output=True, check=False).returncode == 0
    with h5py.File("a.h5") as file:
        assert len(np.asarray(file["t"])) == 3


def test_a_temperature_in_celsius_is_refused(capsys):
    assert main(["simulate", "tentusscher", "--set", "T=37"]) == 2
    assert "--set T = 37.0 K; allowed: 273 to 323 K" in capsys.readouterr().err


def test_a_population_of_failures_is_status_1(capsys):
    few = ["--cells", "2", "--t1", "2", "--model", "aliev-panfilov-1996", "--parameters", "k"]
    assert main(["population", "simulate", "p.h5", *few, "--pulse-amplitude", "-1e38", "--start", "0"]) == 1
    assert "2 cells: " in capsys.readouterr().out
