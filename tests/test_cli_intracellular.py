"""`jaxcardio intracellular`: what is asked for reaches the library, results are files that it reads."""

import csv
import inspect
import json
import re
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcardio as jc
from jaxcardio.__main__ import main
from jaxcardio.cli import intracellular as cli
from jaxcardio.cli.arguments import intracellular as arguments
from jaxcardio.cli.arguments import parser
from jaxcardio.files.writing import check_place
from jaxcardio.intracellular import library
from jaxcardio.intracellular.beats import LEVELS, ReconstructedBeats
from jaxcardio.intracellular.electrode import DEVICES
from jaxcardio.intracellular.evaluate import Evaluation, Score
from jaxcardio.intracellular.monitor import monitor
from jaxcardio.intracellular.monitoring import Monitoring
from jaxcardio.intracellular.pairs import Pairs, synthesize_pairs
from jaxcardio.intracellular.recording import Event, Recording
from jaxcardio.intracellular.synthesis import Truth, synthesize_recording
from jaxcardio.intracellular.train import train
from jaxcardio.intracellular.unet import PIAUNet

RATE, SECONDS, EVERY = 1000.0, 24.0, 1100.0
"""Of the recording: Hz, s, and ms from beat to beat."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A recording of two beating channels and a dead one, an untrained network, and pairs of 60 cells."""
    place = tmp_path_factory.mktemp("intracellular")
    rng = np.random.default_rng(0)
    ts = np.arange(SECONDS * RATE)
    beats = np.arange(600.0, 1000 * SECONDS, EVERY)
    since = ts[None] - beats[:, None]
    spikes = (np.exp(-((since / 3) ** 2)) - 0.4 * np.exp(-(((since - 8) / 5) ** 2))).sum(0)
    wave = (0.1 * np.exp(-(((since - 400) / 60) ** 2))).sum(0)
    values = np.stack([spikes + wave, 0.7 * spikes + wave, 0 * spikes]) + rng.normal(0, 0.01, (3, len(ts)))
    values[2] = 0.0
    events = [Event(12_000.0, "drug", "dofetilide", 10.0)]
    positions = np.array([[0, 0], [200, 0], [0, 200]])
    recording = Recording.from_samples(
        values.astype(np.float32), RATE, channels=["A", "B", "C"], positions=positions, events=events
    )
    recording.save(place / "recording.h5")
    library.save_network(place / "net.h5", library.Network(tiny_network(), RATE))
    some_pairs(60).save(place / "pairs.h5")
    some_pairs(40).save(place / "few.h5")
    return place


def tiny_network() -> PIAUNet:
    """With random numbers for weights, which nobody has to compile."""
    size: dict[str, Any] = {"channels": 4, "depth": 1, "kernel": 5, "levels": 2, "samples": 1600, "physics_width": 4}
    like = eqx.filter_eval_shape(lambda: PIAUNet(**size, key=jax.random.key(0)))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda x: jnp.asarray(np.abs(rng.normal(0, 0.1, x.shape)), x.dtype), like)


def some_pairs(cells: int, seed: int = 0) -> Pairs:
    rng = np.random.default_rng(seed)
    ts = np.arange(1600) - 200.0
    lengths = rng.uniform(200, 600, cells)
    iap = 0.1 + 0.9 / (1 + np.exp(-ts / 2)) / (1 + np.exp((ts - lengths[:, None]) / 40))
    eap = (
        np.exp(-((ts / 4) ** 2)) + 0.1 * np.exp(-(((ts - lengths[:, None]) / 60) ** 2)) + rng.normal(0, 0.01, iap.shape)
    )
    n = np.ones(cells)
    apd = lengths[:, None] * np.linspace(0.2, 1, len(LEVELS))
    names = np.array(["none"] * cells)
    return Pairs(
        eap.astype(np.float32), iap.astype(np.float32), apd, RATE, np.arange(cells), names, 0 * n,
        np.array(["nea"] * cells), 40 * n, 0.01 * n, n,
    )  # fmt: skip


DEFAULTS = [
    ("synthesize", "--channels", synthesize_recording, "channels", 1),
    ("synthesize", "--minutes", synthesize_recording, "duration", 60_000),
    ("synthesize", "--nM", synthesize_recording, "concentration", 1),
    ("synthesize", "--drug", synthesize_recording, "drug", None),
    ("synthesize", "--added-at", synthesize_recording, "added_at", 1000),
    ("synthesize", "--cycle-length", synthesize_recording, "cycle_length", 1),
    ("synthesize", "--electroporated-at", synthesize_recording, "electroporated_at", 1000),
    ("train", "--epochs", train, "epochs", 1),
    ("train", "--beta", train, "beta", 1),
    ("train", "--solver-weight", train, "solver_weight", 1),
    ("monitor", "--every", monitor, "every", 1),
    ("monitor", "--wash-in", monitor, "wash_in", 1),
    ("monitor", "--span", monitor, "span", 1),
]


@pytest.mark.parametrize(("job", "option", "function", "name", "factor"), DEFAULTS)
def test_the_default_that_help_names_is_the_librarys(job, option, function, name, factor):
    several: Any = parser()
    for word in ("intracellular", job):
        several = several._subparsers._group_actions[0].choices[word]
    (action,) = (a for a in several._actions if option in a.option_strings)
    (said,) = re.findall(r"default (\S+?)\)", action.help)
    default = inspect.signature(function).parameters[name].default
    assert action.default is None, "the library's own is used"
    assert said == default if factor is None else float(said) * factor == default


def test_names_are_those_of_the_library():
    assert tuple(DEVICES) == arguments.DEVICES
    assert arguments.SMALL in library.SHIPPED
    for function in (synthesize_recording, synthesize_pairs):
        assert inspect.signature(function).parameters["device"].default == arguments.DEVICES[0]


def test_what_is_asked_of_a_recording_reaches_the_library(folder, monkeypatch, tmp_path, capsys):
    asked = {}

    def made(path, **how):
        asked.update(how)
        recording = Recording.load(folder / "recording.h5")
        recording.save(path)
        return recording, Truth(np.ones((3, 10)), np.ones((3, 10)), np.zeros(3), 1.0, np.zeros(2))

    monkeypatch.setattr(cli, "synthesize_recording", made)
    out = tmp_path / "made.h5"
    given = ["--channels", "8", "--minutes", "2", "--nM", "5", "--added-at", "60", "--device", "mea", "--unpaired"]
    assert main(["intracellular", "synthesize", str(out), *given, "--no-cache"]) == 0
    progress = {"progress": True, "seed": 0}
    assert asked == progress | {
        "channels": 8, "duration": 120_000.0, "concentration": 5.0, "added_at": 60_000.0, "device": "mea",
        "paired": False,
    }  # fmt: skip
    said = capsys.readouterr().out
    assert "3 channels, 24 s at 1000 Hz" in said and "12 s: dofetilide 10 nM" in said and f"wrote {out}" in said
    asked.clear()
    assert main(["intracellular", "synthesize", str(out), "--no-cache"]) == 0
    assert asked == progress | {"paired": True}


def test_pairs_are_made_up_and_written(monkeypatch, tmp_path, capsys):
    asked = []

    def made(*number, **how):
        asked.append((number, how))
        return some_pairs(4)

    monkeypatch.setattr(cli, "synthesize_pairs", made)
    out = tmp_path / "pairs.h5"
    given = ["--pairs", "4", "--drugs", "none,dofetilide", "--seed", "3"]
    assert main(["intracellular", "synthesize", str(out), *given, "--no-cache"]) == 0
    assert asked == [((4,), {"seed": 3, "progress": True, "drugs": ("none", "dofetilide")})]
    assert "4 pairs of 4 cells at 1000 Hz; drugs: none; devices: nea" in capsys.readouterr().out
    assert len(Pairs.load(out)) == 4


@pytest.mark.slow
def test_training_keeps_a_tenth_of_the_cells_apart(folder, monkeypatch, tmp_path, capsys):
    asked = {}

    def fitted(pairs, **how):
        asked.update(how, pairs=pairs)
        network = library.load_network(folder / "net.h5")
        return jc.intracellular.Fit(network, pairs, pairs[:3], pairs[:3], None)

    monkeypatch.setattr(cli, "fit", fitted)
    out = tmp_path / "mine.h5"
    given = ["--epochs", "3", "--beta", "0", "--seed", "2", "--checkpoint", str(tmp_path / "kept")]
    assert main(["intracellular", "train", str(folder / "pairs.h5"), "--out", str(out), *given, "--no-cache"]) == 0
    pairs = asked.pop("pairs")
    assert asked == {"epochs": 3, "beta": 0.0, "seed": 2, "checkpoint": tmp_path / "kept", "progress": True}
    assert len(np.unique(pairs.cell)) == 54, "the other six judge"
    assert library.load_network(out).samples == 1600
    said = capsys.readouterr().out
    assert "unseen cells  6" in said and "MAE of a ridge" in said and f"wrote {out}" in said


@pytest.mark.slow
def test_a_network_is_trained_on_pairs_and_evaluated(folder, tmp_path, capsys):
    out, pairs = str(tmp_path / "mine.h5"), str(folder / "pairs.h5")
    given = ["--epochs", "2", "--beta", "0", "--no-cache"]
    assert main(["intracellular", "train", pairs, "--out", out, *given]) == 0
    assert library.load_network(out).corrections.is_calibrated
    assert main(["intracellular", "evaluate", pairs, "--network", out, "--training", pairs, "--no-cache"]) == 1
    assert "missed by pairs: " in capsys.readouterr().out


@pytest.mark.parametrize("ending", [".json", ".csv"])
def test_an_untrained_network_misses_its_bars_and_its_table_is_written(folder, tmp_path, capsys, ending):
    out = tmp_path / f"table{ending}"
    given = [str(folder / "pairs.h5"), "--network", str(folder / "net.h5"), "--out", str(out), "--no-cache"]
    assert main(["intracellular", "evaluate", *given]) == 1
    said = capsys.readouterr().out
    pairs = Pairs.load(folder / "pairs.h5")
    network = library.load_network(folder / "net.h5")
    error = float(np.abs(np.asarray(network(pairs.eap).median, float) - pairs.iap).mean())
    assert f"missed by pairs: mae = {error:.4g}; bar: at most 0.035" in said
    if ending == ".json":
        found = json.loads(out.read_text())["pairs"]
    else:
        (found,) = csv.DictReader(out.read_text().splitlines())
        assert float(found["mae of the eAP"]) == pytest.approx(np.abs(pairs.eap - pairs.iap).mean(), rel=1e-5)
    assert float(found["mae"]) == pytest.approx(error, rel=1e-6)


def test_intervals_are_corrected_on_pairs_that_are_named(folder, capsys):
    pairs, given = str(folder / "pairs.h5"), ["--network", str(folder / "net.h5"), "--no-cache"]
    main(["intracellular", "evaluate", pairs, *given])
    assert "missed by pairs: coverage" in capsys.readouterr().out
    main(["intracellular", "evaluate", pairs, "--calibration", pairs, *given])
    assert "missed by pairs: coverage" not in capsys.readouterr().out


def test_the_bar_is_that_of_another_device_where_the_training_had_none_of_it(folder, monkeypatch, tmp_path, capsys):
    good = Score("", 9, 3, 0.037, 5.0, 0.995, 3.0, 4.0, 0.0, 0.9, 0.9, 0.0, {})
    monkeypatch.setattr(cli, "evaluate", lambda net, sets, **_: Evaluation(tuple(good._replace(name=x) for x in sets)))
    other = some_pairs(5)
    other.device[:] = "mea"
    other.save(tmp_path / "mea.h5")
    given = ["--network", str(folder / "net.h5"), "--training", str(folder / "pairs.h5"), "--no-cache"]
    assert main(["intracellular", "evaluate", str(tmp_path / "mea.h5"), *given]) == 0
    assert "every bar is met" in capsys.readouterr().out
    assert main(["intracellular", "evaluate", str(folder / "pairs.h5"), *given]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "missed by pairs: mae = 0.037; bar: at most 0.035"


def test_channels_of_two_recordings_are_different_cells(folder, monkeypatch):
    def found(recording, *, sampling_rate):
        assert sampling_rate == RATE
        return some_pairs(len(recording.channels))

    monkeypatch.setattr(cli, "pairs_of", found)
    recording = str(folder / "recording.h5")
    pairs = cli._read_pairs([recording, str(folder / "pairs.h5"), recording], RATE)
    assert len(pairs) == 66 and len(np.unique(pairs.cell)) == 66


def test_a_recording_is_reconstructed_into_a_file_and_a_table(folder, tmp_path, capsys):
    out, figure = tmp_path / "beats.h5", tmp_path / "beats.png"
    given = ["--network", str(folder / "net.h5"), "--begin", "5000", "--end", "15000", "--out", str(out)]
    given += ["--plot", str(figure), "--no-cache"]
    assert main(["intracellular", "reconstruct", str(folder / "recording.h5"), *given]) == 0
    found = ReconstructedBeats.load(out)
    assert found.channels == ("A", "B", "C")
    assert np.nanmin(found.times) >= 5000 and np.nanmax(found.times) < 15_000
    assert found.counts[2] == 0 and 8 <= found.counts[0] == found.counts[1]
    said = capsys.readouterr()
    table = said.out.splitlines()
    assert table[0].split()[:3] == ["channel", "beats", "left"]
    assert table[1].split()[:2] == ["A", str(found.counts[0])] and table[3].split()[:2] == ["C", "0"]
    assert "channel C: " in said.out and f"wrote {out}" in said.out and f"wrote {figure}" in said.out
    assert "100 %" in said.err and figure.stat().st_size > 10_000


def test_only_the_channels_that_are_named(folder, tmp_path):
    out = tmp_path / "beats.h5"
    given = ["--network", str(folder / "net.h5"), "--channels", "B", "--end", "6000", "--out", str(out), "--no-cache"]
    assert main(["intracellular", "reconstruct", str(folder / "recording.h5"), *given]) == 0
    assert ReconstructedBeats.load(out).channels == ("B",)


def test_beats_unlike_the_trainings_are_marked(folder):
    found = jc.intracellular.reconstruct(
        Recording.load(folder / "recording.h5"), library.load_network(folder / "net.h5"), channels=["A"], end=6000.0
    )
    assert "~" not in cli.channel_table(found)
    found.unfamiliar[0, 0] = True
    value = np.full(found.durations.value.shape, 300.0)
    found.durations.value[:], found.durations.lower[:], found.durations.upper[:] = value, value - 20, value + 30
    table = cli.channel_table(found).splitlines()
    assert "~300 (280 to 330)" in table[1] and f"{100 / found.counts[0]:.0f} %" in table[1]
    assert "~ beats are unlike those of the training" in "\n".join(table)


def test_a_recording_without_a_beat_ends_with_status_1(folder, tmp_path, capsys):
    given = ["--network", str(folder / "net.h5"), "--channels", "C", "--out", str(tmp_path / "b.h5"), "--no-cache"]
    assert main(["intracellular", "reconstruct", str(folder / "recording.h5"), *given]) == 1
    assert "channel C: " in capsys.readouterr().out


@pytest.mark.slow
def test_a_recording_is_monitored(folder, tmp_path, capsys):
    out, table, figure = (tmp_path / name for name in ("m.h5", "beats.csv", "page.png"))
    given = ["--network", str(folder / "net.h5"), "--wash-in", "2000", "--span", "8000", "--out", str(out)]
    given += ["--table", str(table), "--plot", str(figure), "--every", "2", "--no-cache"]
    assert main(["intracellular", "monitor", str(folder / "recording.h5"), *given]) == 0
    found = Monitoring.load(out)
    (effect,) = found.effects
    assert effect.period.before == (4000.0, 12_000.0) and effect.period.after[0] == pytest.approx(16_000, abs=2)
    said = capsys.readouterr().out
    assert str(found).splitlines()[0] in said
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert len(rows) == np.isfinite(found.times).sum() and {row["channel"] for row in rows} == {"A", "B"}
    assert np.diff(found.times[0][np.isfinite(found.times[0])]) == pytest.approx(2 * EVERY, abs=2)
    assert figure.stat().st_size > 20_000


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["synthesize", "made.exe"], "OUT.h5 = made.exe; allowed: a name that ends in .h5 or .hdf5"),
        (["synthesize", "made.h5", "--minutes", "0"], "--minutes = 0.0 minutes; allowed: 0.034 to 10080 minutes"),
        (["synthesize", "made.h5", "--nM", "-1"], "--nM = -1.0 nM; allowed: >= 0, finite"),
        (["synthesize", "made.h5", "--drug", "tea"], "--drug = 'tea'; allowed: 'none'"),
        (["synthesize", "made.h5", "--pairs", "4", "--minutes", "3"], "--minutes: is of a recording"),
        (["synthesize", "made.h5", "--pairs", "4", "--unpaired"], "--unpaired: is of a recording"),
        (["synthesize", "made.h5", "--drugs", "none"], "--drugs = 'none': for --pairs N"),
        (["synthesize", "made.h5", "--pairs", "4", "--drugs", "none,tea"], "--drugs = 'none,tea': drug = 'tea'"),
        (["train", "nofile.h5"], "nofile.h5"),
        (["train", "{few}"], "SOURCE: 40 cells; allowed: at least 55"),
        (["train", "--pairs", "20"], "--pairs = 20 preparations; allowed: a whole number >= 55"),
        (["train", "{pairs}", "--pairs", "5"], "--pairs = 5: for training without SOURCE"),
        (["train", "{pairs}", "--out", "{pairs}"], "is what is to be read"),
        (["train", "{pairs}", "--beta", "-1"], "--beta = -1.0; allowed: >= 0, finite"),
        (["train", "{recording}"], "no extracellular channel has an electroporated partner"),
        (
            ["reconstruct", "{recording}", "--network", "smal"],
            "--network: no network named 'smal'; did you mean",
        ),
        (["reconstruct", "{recording}", "--channels", "A,X", "--network", "{net}"], "--channels = 'X'; allowed: "),
        (["reconstruct", "{recording}", "--channels", "A,A", "--network", "{net}"], "--channels = 'A,A'; allowed: "),
        (
            ["reconstruct", "{recording}", "--begin", "9", "--end", "5"],
            "--end = 5.0 ms; allowed: finite, above --beg",
        ),
        (["reconstruct", "{recording}", "--out", "{recording}"], "is what is to be read"),
        (["reconstruct", "{recording}", "--plot", "a.exe"], "--plot = a.exe; allowed: a name that ends in .png"),
        (["reconstruct", "nofile.h5", "--network", "{net}"], "nofile.h5"),
        (["monitor", "{recording}", "--out", "{net}", "--network", "{net}"], "is what is to be read"),
        (["monitor", "{recording}", "--every", "0"], "--every = 0 beats; allowed: a whole number >= 1"),
        (["monitor", "{recording}", "--span", "-1"], "--span = -1.0 ms; allowed: > 0, finite"),
        (["monitor", "{recording}", "--table", "beats.xls"], "--table = beats.xls; allowed: a name that ends in .csv"),
        (["evaluate"], "the following arguments are required: SOURCE"),
        (["evaluate", "{pairs}", "--network", "{net}", "--training", "{recording}"], "--training: recording: no "),
        (
            ["evaluate", "{pairs}", "--out", "table.txt"],
            "--out = table.txt; allowed: a name that ends in .json",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folder, given, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    places = {name: folder / f"{name}.h5" for name in ("pairs", "few", "net", "recording")}
    before = {name: path.read_bytes() for name, path in places.items()}
    assert main(["intracellular", *(x.format(**places) for x in given), "--no-cache"]) == 2
    err = capsys.readouterr().err.strip()
    assert said in err and "\n" not in err
    assert not list(tmp_path.iterdir())
    assert before == {name: path.read_bytes() for name, path in places.items()}


def test_a_place_that_cannot_be_written_is_refused_before_the_work(folder, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)

    def worked(*_, **__):
        pytest.fail("the work began")

    for name in ("synthesize_recording", "synthesize_pairs", "fit", "reconstruct", "monitor", "evaluate"):
        monkeypatch.setattr(cli, name, worked)
    recording, pairs = str(folder / "recording.h5"), str(folder / "pairs.h5")
    for words in (
        ["synthesize", "no/x.h5"],
        ["synthesize", "no/x.h5", "--pairs", "3"],
        ["train", pairs, "--out", "no/x.h5"],
        ["train", pairs, "--checkpoint", "no/x"],
        ["reconstruct", recording, "--out", "no/x.h5"],
        ["reconstruct", recording, "--plot", "no/x.png"],
        ["evaluate", pairs, "--out", "no/x.json"],
        ["monitor", recording, "--out", "no/x.h5"],
        ["monitor", recording, "--table", "no/x.csv"],
    ):
        assert main(["intracellular", *words]) == 2
        assert f"{words[-1] if '--pairs' not in words else 'no/x.h5'}: there is no folder" in capsys.readouterr().err
    assert check_place(tmp_path / "x.h5") and not list(tmp_path.iterdir())
