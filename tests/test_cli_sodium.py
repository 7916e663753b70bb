"""`jaxcardio sodium`: the table is printed and kept, and its exit status says whether every bar is met."""

import json
from types import SimpleNamespace

import pytest

from jaxcardio import sodium
from jaxcardio.__main__ import main
from jaxcardio.cli import sodium as cli
from jaxcardio.cli.arguments import sodium as arguments


def test_the_names_of_the_experiments_are_those_of_the_library():
    assert arguments.EXPERIMENTS == sodium.EXPERIMENTS


def test_the_exact_gating_is_evaluated_and_its_table_written(tmp_path, capsys):
    out = tmp_path / "table.json"
    given = ["--beats", "1", "--experiments", "clamps", "--out", str(out), "--no-cache"]
    assert main(["sodium", "evaluate", "exact", *given]) == 0
    said = capsys.readouterr()
    assert "SkibsbyeSodiumGating, RushLarsenMidpoint, dt = 0.1 ms" in said.out and f"wrote {out}" in said.out
    assert "100 %" in said.err
    written = json.loads(out.read_text())
    assert written["met"] is True and written["dt_ms"] == 0.1
    assert {row["experiment"] for row in written["rows"]} == {"clamps"}


def test_a_trained_network_is_written_and_read_again(tmp_path, monkeypatch, capsys):
    asked = []

    def trained(**how):
        asked.append(how)
        return SimpleNamespace(gating=sodium.load("published"))  # what training takes minutes for

    monkeypatch.setitem(cli.TRAINERS, "published", trained)
    out = tmp_path / "mine.h5"
    assert main(["sodium", "train", "published", "--seed", "3", "--out", str(out), "--no-cache"]) == 0
    assert asked == [{"seed": 3, "progress": True}]
    assert f"wrote {out} ({out.stat().st_size} bytes)" in capsys.readouterr().out
    given = ["--beats", "1", "--experiments", "clamps", "--no-cache"]
    assert main(["sodium", "evaluate", str(out), *given]) == 1, "a map without memory meets no bar"
    assert "PublishedPINN" in capsys.readouterr().out


def test_its_figure(tmp_path):
    out = tmp_path / "page.png"
    given = ["--float32", "--experiments", "clamps", "--out", str(out), "--no-cache"]
    assert main(["sodium", "evaluate", "exact", *given]) == 0
    assert out.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["evaluate", "nofile.h5"], "nofile.h5"),
        (["evaluate", "exact", "--dt", "3"], "--dt = 3.0 ms; allowed: 0.005 to 0.5 ms"),
        (["evaluate", "exact", "--experiments", "beats,tissue"], "tissue"),
        (["train", "nothing"], "invalid choice: 'nothing'"),
        (["train"], "the following arguments are required: network"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(given, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["sodium", *given, "--no-cache"]) == 2
    err = capsys.readouterr().err.strip()
    assert said in err and "\n" not in err
    assert not list(tmp_path.iterdir())
