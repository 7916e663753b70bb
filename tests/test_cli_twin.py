"""The verb `twin`: an example to begin with, errors that say what to do, and a twin from a recording to its figure."""

import h5py
import numpy as np
import pytest

import jaxcardio as jc
from jaxcardio.__main__ import main
from jaxcardio.protocols import VoltageSteps
from jaxcardio.twin import Recording, Twin, protocols

STEPS = VoltageSteps([-100.0, -20.0, 30.0, -60.0], [60.0, 60.0, 60.0, 60.0])


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write_recording(path="recording.h5", scale=1.0) -> None:
    ts = 0.1 * np.arange(2400)
    run = jc.simulate(jc.models.KernikClancy2019(), STEPS, t1=240.0, save_at=ts, outputs=["I_ion_total"])
    noise = 0.05 * np.random.default_rng(0).standard_normal(len(ts))
    Recording(STEPS, scale * np.asarray(run.ys.I_ion_total) + noise, 0.1).save(path)


def test_the_example_is_a_recording_with_a_check_and_the_truth(capsys):
    assert main(["twin", "--example", "example.h5"]) == 0
    first, check = Recording.load("example.h5"), Recording.load("example.h5", "check")
    assert first.t1 == check.t1 == 7000.0
    assert not np.array_equal(first.command.value(first.ts), check.command.value(check.ts))
    with h5py.File("example.h5") as file:
        truth = np.asarray(file["truth"])
    assert truth.shape == (52,)
    assert np.abs(truth).max() <= 0.2


def test_the_designed_command_is_a_table_for_the_operator(tmp_path):
    assert main(["twin", "--protocol", "clamp.json"]) == 0
    read = protocols.from_operator_json((tmp_path / "clamp.json").read_text())
    assert np.array_equal(read.begin, protocols.designed().begin)
    assert main(["twin", "--protocol", "clamp.txt"]) == 2


@pytest.mark.parametrize(
    ("change", "arguments", "said"),
    [
        (None, [], "no such file"),
        (lambda f: f.__delitem__("current"), [], "current"),
        (lambda f: f["command"].attrs.__setitem__("unit", "volts"), [], "unit 'volts'"),
        (lambda f: f["current"].attrs.__setitem__("unit", "pA"), [], "needs capacitance_pF"),
        (lambda f: f["current"].__setitem__(7, np.nan), [], "nan pA/pF at 0.7 ms"),
        (lambda f: f.attrs.__delitem__("temperature_K"), [], "temperature"),
        (lambda f: None, ["--temperature", "37"], "37.0 K; allowed: 273"),
        (lambda f: None, ["--spread", "2"], "spread = 2.0"),
        (lambda f: None, ["--group", "nowhere"], "no group 'nowhere'"),
        (lambda f: None, ["--train"], "--train: needs --network"),
        (lambda f: None, ["--draws", "0"], "--draws = 0"),
        (lambda f: None, ["--network", "recording.h5"], "path = recording.h5: not a whole"),
    ],
)
def test_wrong_input_is_named_and_nothing_is_written(change, arguments, said, capsys, tmp_path):
    if change is not None:
        write_recording()
        with h5py.File("recording.h5", "a") as file:
            change(file)
    assert main(["twin", "recording.h5", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert {p.name for p in tmp_path.iterdir()} <= {"recording.h5"}


@pytest.mark.slow  # compiles and trains for a minute and a half
def test_a_twin_from_recording_to_figure_and_an_impossible_one_is_doubted(capsys, tmp_path):
    small = ["--cells", "300", "--epochs", "3", "--starts", "1", "--draws", "4", "--doses", "0", "50"]
    write_recording()
    assert main(["twin", "recording.h5", "--network", "steps.net", "--out", "twin.h5", *small]) == 0
    said = capsys.readouterr().out
    for words in ("network: median error", "Kr_g", "no doubts", "apd90", "E-4031, 4 cells drawn"):
        assert words in said
    assert {p.name for p in tmp_path.iterdir()} == {"recording.h5", "steps.net", "twin.h5", "twin.png"}
    made = Twin.load("twin.h5")
    assert not made.doubts
    write_recording("outside.h5", scale=3.0)
    assert main(["twin", "outside.h5", "--network", "steps.net", "--out", "outside_twin.h5", *small]) == 1
    said = capsys.readouterr()
    assert "doubt: " in said.out
    assert "not to be believed" in said.err
    again = ["twin", "recording.h5", "--network", "steps.net", "--out", "again.h5", *small]
    assert main(again) == 0
    assert np.array_equal(Twin.load("again.h5").mean, made.mean)
