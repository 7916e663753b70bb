"""The command line: every verb does its job, and wrong input ends in one line that says what is allowed."""

import csv
import subprocess
import sys
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest

from jaxcardio import verification
from jaxcardio.__main__ import main
from jaxcardio.population import DoseResponse
from jaxcardio.protocols import PulseTrain, VoltageSteps, to_json
from jaxcardio.simulation.trace import Trace

BRIEF = ["simulate", "alievpanfilov1996", "--t1", "5", "--no-plot"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def fails(capsys):
    def check(arguments, *words):
        assert main(arguments) == 2
        said = capsys.readouterr()
        assert said.err.count("\n") <= 1 or "usage:" in said.err
        assert "Traceback" not in said.err
        for word in words:
            assert word in said.err, f"{word!r} not in {said.err!r}"

    return check


def beating(ts, period=1000.0):
    """Something like action potentials, mV."""
    since = np.mod(ts, period) - 300.0
    return np.where((since > 0) & (since < 300), 30.0 - since / 10, -80.0)


def test_it_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "jaxcardio", "models"], capture_output=True, text=True, check=True)
    assert "KernikClancy2019" in done.stdout
    assert len(done.stdout.splitlines()) == 6


def test_models(capsys):
    assert main(["models", "ten-tusscher"]) == 0
    out = capsys.readouterr().out
    for words in (["g_Kr", "0.096", "nS/pF"], ["V", "-86.2", "mV"], ["I_Kr", "pA/pF", "g_Kr"]):
        assert any(line.split()[:1] == words[:1] and all(w in line for w in words) for line in out.splitlines()), words
    assert main(["--help"]) == 0
    assert "simulate" in capsys.readouterr().out
    assert main(["biomarkers", "--help"]) == 0
    assert "t_ms,V_mV" in capsys.readouterr().out


def test_simulate(capsys):
    arguments = ["simulate", "TenTusscher2004", "--variant", "epi", "--set", "g_Kr=0.05", "--t1", "400"]
    assert main([*arguments, "--init", "V=-85", "--save-every", "1", "--drug", "E-4031", "--dose", "7"]) == 0
    said = capsys.readouterr()
    assert "100 %" in said.err
    assert "apd90" in said.out
    trace = Trace.load("TenTusscher2004.h5")
    assert trace.cell is not None
    assert float(trace.cell.parameters()["g_Kr"].value) == pytest.approx(0.025)
    assert float(trace.cell.parameters()["g_Ks"].value) == 0.245
    assert trace.ys.V[0] == -85
    assert trace.ys.V.dtype == np.float64
    assert Path("TenTusscher2004.png").read_bytes()[:4] == b"\x89PNG"
    assert main(["biomarkers", "TenTusscher2004.h5", "--no-plot"]) == 0
    (row,) = csv.DictReader(Path("TenTusscher2004-beats.csv").read_text().splitlines())
    assert 250 < float(row["apd90_ms"]) < 380
    assert row["repolarised"] == "1"


@pytest.mark.parametrize(
    ("options", "solver"),
    [
        (["--solver", "rush-larsen", "--dt", "0.1", "--float32"], "RushLarsen, t0=0.0, t1=5.0, dt=0.1"),
        (["--solver", "kvaerno3", "--rtol", "1e-4"], "Kvaerno3, t0=0.0, t1=5.0, rtol=0.0001"),
        (["--paced-grid", "--pulse-amplitude", "-0.3", "--duration", "2"], "grid="),
        (["--solver", "euler"], "Euler, t0=0.0, t1=5.0, dt=0.005"),
    ],
)
def test_solvers(options, solver):
    assert main([*BRIEF, "--save-every", "1", "--out", "a.h5", *options]) == 0
    trace = Trace.load("a.h5")
    assert solver in trace.solver
    assert trace.V.dtype == (np.float32 if "--float32" in options else np.float64)


def test_a_protocol_from_a_file():
    Path("p.json").write_text(to_json(VoltageSteps(np.array([0.0, 0.5]), np.array([2.0, 3.0]))))
    assert main([*BRIEF, "--protocol", "p.json"]) == 0
    assert Trace.load("AlievPanfilov1996.h5").ys.u[-1] == 0.5


def test_a_run_that_fails_says_so(capsys):
    unstable = ["--solver", "euler", "--dt", "5", "--save-every", "5", "--t1", "500"]
    assert main([*BRIEF, *unstable, "--init", "u=0.5", "--no-stimulus"]) == 1
    assert "infinite or NaN" in capsys.readouterr().out


def test_drug(capsys):
    small = ["--cells", "6", "--t1", "4000", "--discard", "1000", "--spread", "0.05", "--dt", "0.1"]
    assert main(["drug", "e-4031", "--doses", "0", "3", *small, "--out", "d.h5"]) == 0
    said = capsys.readouterr()
    assert "viable at control" in said.out
    assert "100 %" in said.err
    study = DoseResponse.load("d.h5")
    assert study.doses.tolist() == [0.0, 3.0]
    assert '"seed": 0' in study.settings
    assert study.table() in said.out
    assert Path("d.png").read_bytes()[:4] == b"\x89PNG"


def write_csv(V):
    with open("r.csv", "w") as f:
        f.write("t_ms," + ",".join(f"V_mV_{i}" for i in range(len(V))) + "\n")
        for row in zip(np.arange(V.shape[1]), *V, strict=True):
            f.write(",".join(str(x) for x in row) + "\n")
    return "r.csv", []


def write_seconds_and_volts(V):
    with h5py.File("r.h5", "w") as f:
        f.create_dataset("t", data=np.arange(V.shape[1]) / 1000).attrs["unit"] = "s"
        f.create_dataset("V", data=V / 1000).attrs["unit"] = "V"
    return "r.h5", []


def write_sampling_rate(V):
    with h5py.File("r.h5", "w") as f:
        f.create_dataset("a/potential", data=V).attrs["sampling_rate_Hz"] = 1000
    return "r.h5", ["--group", "a", "--dataset", "potential"]


@pytest.mark.parametrize("write", [write_csv, write_seconds_and_volts, write_sampling_rate])
def test_biomarkers_of_recordings(write, capsys):
    ts = np.arange(3000.0)
    file, options = write(np.stack([beating(ts), beating(ts, 1500.0)]))
    assert main(["biomarkers", file, *options, "--out", "b.h5"]) == 0
    with h5py.File("b.h5") as f:
        cell = np.asarray(f["cell"])
        cycle = np.asarray(f["cycle_length"])
        unit = f["apd90"].attrs["unit"]
    assert np.bincount(cell).tolist() == [3, 2]
    assert np.nanmax(cycle[cell == 0]) == pytest.approx(1000.0)
    assert np.nanmax(cycle[cell == 1]) == pytest.approx(1500.0)
    assert unit == "ms"
    assert "apd90" in capsys.readouterr().out


def test_check(capsys, monkeypatch):
    few = {k: verification.CASES[k] for k in ("aliev_panfilov", "modified")}
    monkeypatch.setattr(verification, "CASES", few)
    assert main(["check"]) == 0
    out = capsys.readouterr().out
    assert "8 of 8 within their bars" in out
    assert jax.devices()[0].platform in out
    monkeypatch.setitem(few, "modified", few["modified"]._replace(trace_bar=1e-9))
    assert main(["check", "--float64-only"]) == 1
    assert "MISSED" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["simulate", "kernick"], ["MODEL", "kernick", "did you mean KernikClancy2019"]),
        (["simulate", "aliev"], ["MODEL = 'aliev'", "AlievPanfilov1996, AlievPanfilovModified"]),
        (["simulate", "kernik", "--set", "scale_g_kr=0.5"], ["--set", "scale_g_kr", "did you mean scale_g_Kr"]),
        (["simulate", "kernik", "--set", "Kr_g=nan"], ["--set Kr_g = nan nS/pF", "allowed: finite"]),
        (["simulate", "kernik", "--set", "Kr_g:2"], ["--set = 'Kr_g:2'", "allowed: NAME=VALUE"]),
        (["simulate", "kernik", "--init", "V=nan"], ["y0.V = nan mV", "allowed: finite"]),
        (["simulate", "kernik", "--init", "W=1"], ["--init", "no state named 'W'"]),
        (["simulate", "kernik", "--variant", "epi"], ["--variant = 'epi'", "has no variants"]),
        (["simulate", "tentusscher", "--variant", "apex"], ["variant = 'apex'", "allowed: M, epi, endo"]),
        (["simulate", "kernik", "--dt", "-0.1"], ["dt = -0.1 ms", "allowed", "> 0"]),
        (["simulate", "tentusscher", "--dt", "1.5"], ["dt = 1.5 ms", "allowed: 0 < dt <= 1.0 ms"]),
        (["simulate", "kernik", "--dt", "small"], ["--dt", "small"]),
        (["simulate", "kernik", "--t1", "0"], ["t1 = 0.0 ms", "allowed: > t0 = 0.0 ms"]),
        (["simulate", "kernik", "--t1", "-5"], ["t1 = -5.0 ms", "allowed: > t0"]),
        (["simulate", "kernik", "--save-every", "0"], ["save_every = 0.0 ms", "allowed: 0 < save_every"]),
        (["simulate", "kernik", "--solver", "kvaerno5", "--rtol", "0"], ["rtol = 0.0", "allowed: > 0"]),
        (["simulate", "kernik", "--float32", "--rtol", "1e-9"], ["rtol = 1e-09", "allowed in float32: >= 1e-05"]),
        (["simulate", "kernik", "--solver", "heun"], ["--solver", "heun", "rush-larsen-2"]),
        (["simulate", "kernik", "--paced-grid"], ["--paced-grid: pacing", "no stimulus onsets"]),
        (["simulate", "kernik", "--duration", "1"], ["--pulse-amplitude, --period: missing"]),
        (["simulate", "tentusscher", "--period", "0.5"], ["period = 0.5 ms", "allowed: > duration = 1.0 ms"]),
        (["simulate", "tentusscher", "--duration", "-1"], ["duration = -1.0 ms", "allowed: > 0"]),
        (["simulate", "tentusscher", "--no-stimulus", "--period", "500"], ["--no-stimulus", "give one of them"]),
        (["simulate", "kernik", "--drug", "E-4032", "--dose", "5"], ["--drug", "'E-4032'", "did you mean E-4031"]),
        (["simulate", "kernik", "--drug", "E-4031"], ["--dose = None nM", "give both or neither"]),
        (
            ["simulate", "kernik", "--drug", "E-4031", "--dose", "-1"],
            ["--dose = -1.0 nM", "concentration = -1.0 nM", "finite and >= 0 nM"],
        ),
        (["simulate", "alievpanfilov1996", "--drug", "E-4031", "--dose", "1"], ["E-4031 blocks I_Kr", "has only"]),
        (["simulate", "kernik", "--out", "x.txt"], ["--out = x.txt", ".h5"]),
        (["simulate", "kernik", "--out", "nowhere/x.h5"], ["--out = nowhere/x.h5", "no folder"]),
        (["simulate", "kernik", "--protocol", "no.json"], ["no.json"]),
        (["drug", "E-4032"], ["'E-4032'", "did you mean E-4031"]),
        (["drug", "E-4031", "--doses", "10", "5"], ["doses = [10.0, 5.0] nM", "allowed: ascending"]),
        (["drug", "E-4031", "--doses", "-1"], ["doses = [-1.0] nM", ">= 0 nM"]),
        (["drug", "E-4031", "--cells", "0"], ["n = 0 cells", "allowed: a whole number >= 1"]),
        (["drug", "E-4031", "--spread", "1.5"], ["spread = 1.5", "allowed: 0 <= spread < 1"]),
        (["drug", "E-4031", "--vary", "g_Kr"], ["--vary", "'g_Kr'", "did you mean"]),
        (["drug", "E-4031", "--cells", "2", "--dt", "-1"], ["dt = -1.0 ms", "allowed"]),
        (["drug", "E-4031", "--cells", "2", "--t1", "-1"], ["t1 = -1.0 ms", "allowed: > 0"]),
        (["drug", "E-4031", "--cells", "2", "--discard", "9000"], ["discard = 9000.0 ms", "allowed: 0 to t1"]),
        (["drug", "E-4031", "--model", "alievpanfilov1996"], ["--model = AlievPanfilov1996"]),
        (["population", "simulate", "p.h5", "--outputs", "I_X"], ["--outputs", "'I_X'", "did you mean"]),
        (["dataset", "make", "d", "--outputs", "I_X"], ["--outputs", "'I_X'", "did you mean"]),
        (["hidden-state", "example", "o.h5", "--scale", "g_X=1"], ["--scale", "'g_X'", "did you mean"]),
        (["biomarkers", "none.h5"], ["FILE = none.h5", "no such file"]),
        (["models", "heart"], ["MODEL", "'heart'", "KernikClancy2019"]),
        (["dance"], ["dance", "simulate"]),
    ],
)
def test_wrong_input(arguments, words, fails):
    fails(arguments, *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"type": "Pulses", "amplitude": -3, "duration": 1, "times": [10, 5]}', ["times = ", "ms", "ascending"]),
        ('{"type": "Pulse"}', ["type 'Pulse'", "allowed: Constant, PulseTrain"]),
        ('{"type": "PulseTrain", "amplitude": -3}', ["protocol", "duration"]),
        ("not json", ["protocol: not JSON"]),
        (
            '{"type": "Segments", "begin": [-80, 0], "end": [-80, 0], "durations": [5]}',
            ["begin, end and durations", "shapes (2,), (2,), (1,)"],
        ),
    ],
)
def test_wrong_protocols(text, words, fails):
    Path("p.json").write_text(text)
    fails(["simulate", "kernik", "--protocol", "p.json"], *words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time,V\nx,y\n", ["header 'time,V'", "allowed: t_ms,V_mV"]),
        ("t_ms,V_mV\n0,1\n1\n", ["row 3", "1 values; allowed: 2"]),
        ("t_ms,V_mV\n0,1\n1,x\n2,1\n", ["'x'", "allowed: numbers"]),
        ("t_ms,V_mV\n0,1\n2,1\n1,1\n", ["strictly ascending", "ms"]),
        ("t_ms,V_mV\n0,1\n", ["1 samples; allowed: >= 3"]),
        ("", ["allowed: t_ms,V_mV"]),
    ],
)
def test_wrong_csv(text, words, fails):
    Path("r.csv").write_text(text)
    fails(["biomarkers", "r.csv"], "FILE = r.csv", *words)


def test_wrong_hdf5(fails):
    def write(**datasets):
        with h5py.File("r.h5", "w") as f:
            for name, (values, attributes) in datasets.items():
                f.create_dataset(name, data=values).attrs.update(attributes)

    file = ["biomarkers", "r.h5"]
    write(V=(np.zeros(9), {}))
    fails(file, "FILE = r.h5", "sampling_rate_Hz = nan Hz; allowed: > 0")
    write(V=(np.zeros(9), {"unit": "kelvin"}), t=(np.arange(9.0), {}))
    fails(file, "V has unit = 'kelvin'; allowed: mV, V, uV")
    write(V=(np.zeros(9), {}), t=(np.arange(8.0), {}))
    fails(file, "FILE = r.h5", "(8,) and (9,)")
    write(W=(np.zeros(9), {}))
    fails(file, "neither a jaxcardio trace nor a recording")
    fails([*file, "--group", "x"], "--group = 'x'", "it has: W")
    Path("r.h5").write_bytes(b"foreign" * 100)
    fails(file, "not a whole HDF5 file")
    Trace.from_samples(np.arange(2000.0), np.zeros(2000)).save("r.h5")
    whole = Path("r.h5").read_bytes()
    Path("r.h5").write_bytes(whole[:5000])
    fails(file, "FILE = r.h5", "not a whole HDF5 file")
    fails(["biomarkers", "r.h5", "--out", "x.txt"], "--out = x.txt", ".csv or .h5")


def test_arguments_of_biomarkers_are_checked(fails):
    write_csv(beating(np.arange(2000.0))[None])
    fails(["biomarkers", "r.csv", "--smoothing", "-1"], "smoothing = -1.0 ms; allowed: > 0")


def test_no_beats_is_no_error(capsys):
    Trace.from_samples(np.arange(2000.0), np.full(2000, -70.0)).save("r.h5")
    assert main(["biomarkers", "r.h5", "--out", "b.csv"]) == 0
    assert "no complete action potential" in capsys.readouterr().out


def test_a_missing_matplotlib_is_said(monkeypatch, capsys):
    from jaxcardio import plot

    plot._matplotlib.cache_clear()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main([a for a in BRIEF if a != "--no-plot"]) == 0
    assert "pip install jaxcardio[plot]" in capsys.readouterr().err
    plot._matplotlib.cache_clear()


def test_the_published_stimulus_is_the_default():
    from jaxcardio.cli.common import USUAL

    assert main(["simulate", "tentusscher", "--t1", "5", "--no-plot", "--period", "700"]) == 0
    protocol = Trace.load("TenTusscher2004.h5").protocol
    assert isinstance(protocol, PulseTrain)
    assert (protocol.amplitude, protocol.duration, protocol.period, protocol.start) == (-52.0, 1.0, 700.0, 10.0)
    assert USUAL["KernikClancy2019"].stimulus is None
