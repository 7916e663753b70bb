"""Runs of tissue in files: what is loaded is what was saved; recordings do not depend on where they are interrupted."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import h5py
import jax
import numpy as np
import pytest

import jaxcardio as jc
from jaxcardio.files.reading import open_hdf5
from jaxcardio.tissue import recording

T = jc.tissue
CELL = jc.models.AlievPanfilov1996()
SHEET = T.Tissue(CELL, (6, 8), 0.3, (0.2, 0.1), fibres=0.3, mask=np.arange(48).reshape(6, 8) != 20)
# One edge, at 5.02, lies on no multiple of the step; 10 is an edge and the end of a part.
TWICE = jc.protocols.Pulses(-1.0, 1.0, [0.5, 5.02, 10.0])
STIMULI = [T.Stimulus(TWICE, np.s_[:, :2])]
HOW: dict[str, Any] = {"t1": 32.0, "part": 5.0, "save_every": 0.5, "dt": 0.05, "beats": 3, "outputs": ("u", "v")}


WITHOUT_PARTS: dict[str, Any] = {k: x for k, x in HOW.items() if k != "part"}


class Interrupted(Exception):
    pass


def after(share: float):
    """A report of progress that interrupts."""

    def report(done: float) -> None:
        if done >= share:
            raise Interrupted

    return report


@pytest.fixture(scope="module")
def run():
    return T.simulate(SHEET, STIMULI, **WITHOUT_PARTS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return T.record(tmp_path_factory.mktemp("whole") / "data", SHEET, STIMULI, **HOW)


@pytest.fixture
def copy(whole, tmp_path):
    shutil.copytree(whole.folder, tmp_path / "copy")
    return tmp_path / "copy"


def data_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.h5"))}


def test_a_run_is_what_was_saved(run, tmp_path):
    run.save(tmp_path / "run.h5")
    found = T.Run.load(tmp_path / "run.h5")
    for name in ("ts", "activation_times", "repolarisation_times", "activations", "status"):
        np.testing.assert_array_equal(getattr(found, name), getattr(run, name))
    assert list(found.ys) == ["u", "v"]
    for a, b in zip(
        jax.tree.leaves((found.ys, found.final_state)), jax.tree.leaves((run.ys, run.final_state)), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    assert (found.threshold, found.settings) == (run.threshold, run.settings)
    assert found.tissue.spacing == SHEET.spacing and eqx.tree_equal(found.tissue, SHEET)
    assert jc.protocols.to_json(found.stimuli[0].protocol) == jc.protocols.to_json(TWICE)
    np.testing.assert_array_equal(found.stimuli[0].cells((6, 8)), STIMULI[0].cells((6, 8)))
    # It goes on from there as the run itself does, and is measured as the run is.
    more: dict[str, Any] = {"t0": 32.0, "t1": 33.0, "dt": 0.05}
    goes_on, loaded = (T.simulate(x.tissue, x.stimuli, y0=x.final_state, **more) for x in (run, found))
    np.testing.assert_array_equal(goes_on.V, loaded.V)
    np.testing.assert_array_equal(T.velocity_map(run), T.velocity_map(found))


@pytest.mark.slow
def test_a_run_keeps_its_precision_and_what_varies_over_the_grid(tmp_path):
    cell: Any = jc.models.TenTusscher2004(variant="epi").replace(g_Kr=np.linspace(0.05, 0.2, 4))
    cable = T.Tissue(jc.astype(cell, np.float32), 4, 0.1, [0.1, 0.2, 0.1, 0.1], coupling=[np.array([0.5, 0.0, 1.0])])
    run = T.simulate(cable, t1=0.2, save_every=0.1)
    run.save(tmp_path / "run.h5")
    found: Any = T.Run.load(tmp_path / "run.h5")
    assert found.tissue.cell.variant == "epi" and found.V.dtype == np.float32 and found.tissue.shape == (4,)
    np.testing.assert_array_equal(found.tissue.cell.g_Kr, np.float32(cell.g_Kr))
    np.testing.assert_array_equal(found.tissue.coupling[0], [0.5, 0.0, 1.0])
    np.testing.assert_array_equal(found.tissue.diffusivity, cable.diffusivity)
    assert found.stimuli == ()


def test_a_traced_run_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="the run is traced; allowed: save what a jitted function returned"):
        jax.eval_shape(
            lambda d: T.simulate(SHEET.replace(diffusivity=(d, 0.1)), t1=0.1, dt=0.05).save(tmp_path / "a.h5"), 0.2
        )
    assert not list(tmp_path.iterdir())


def test_a_recording_is_the_run(run, whole):
    """To rounding: the times of its steps are counted from each part's beginning."""
    assert whole.finished and whole.outputs == ("u", "v")
    np.testing.assert_allclose(whole.ts, run.ts, rtol=0, atol=1e-12)
    for name in ("u", "v"):
        np.testing.assert_allclose(whole.output(name)[:], run.ys[name], rtol=0, atol=1e-12)
    for name in ("activation_times", "repolarisation_times"):
        np.testing.assert_allclose(getattr(whole, name), getattr(run, name), rtol=0, atol=1e-9)
    assert np.isfinite(run.repolarisation_times[0]).sum() == 47  # all but the hole, parts after its activation
    np.testing.assert_array_equal(whole.activations, run.activations)
    np.testing.assert_array_equal(whole.status, run.status)
    for a, b in zip(whole.final_state, run.final_state, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("shares", [(0.1,), (0.1, 0.1), (0.5, 0.1)], ids=str)
def test_an_interrupted_recording_goes_on_to_the_same_bytes(whole, tmp_path, shares):
    for share in shares:
        with pytest.raises(Interrupted):
            T.record(tmp_path, SHEET, STIMULI, progress=after(share), **HOW)
        there = T.open_record(tmp_path)
        assert not there.finished and there.ts[-1] % 5.0 == 0
        np.testing.assert_array_equal(there.V[-1], whole.V[len(there.ts) - 1])
    T.record(tmp_path, SHEET, STIMULI, **HOW)
    assert data_of(tmp_path) == data_of(whole.folder)


def test_a_part_that_was_lost_is_made_again(whole, copy):
    (copy / "part-00001.h5").unlink()
    (copy / "part-00005.h5.123-0123abcd.part").write_bytes(b"left by a kill")
    with pytest.raises(ValueError, match=r"part-00001\.h5: the file is missing; resuming makes it again"):
        T.open_record(copy)
    T.record(copy, SHEET, STIMULI, **HOW)
    assert data_of(copy) == data_of(whole.folder)
    assert not list(copy.glob("*.part"))


def test_a_finished_recording_is_left_as_it_is(whole, copy):
    before = {path: path.stat().st_mtime_ns for path in copy.glob("*.h5")}
    T.record(copy, SHEET, STIMULI, **HOW)
    assert before == {path: path.stat().st_mtime_ns for path in copy.glob("*.h5")}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tissue": SHEET.replace(diffusivity=(0.3, 0.1))}, r"tissue/diffusivity is another"),
        ({"tissue": SHEET.replace(mask=None)}, r"has = \[\"fibres\"\], and there \[\"fibres\", \"mask\"\]"),
        ({"tissue": SHEET.replace(cell=CELL.replace(k=7.0))}, r"parameters/k is another"),
        ({"stimuli": [T.Stimulus(TWICE, np.s_[:, :3])]}, r"regions/0 is another"),
        ({"stimuli": []}, r"protocols"),
        ({"t1": 40.0}, r"t1 = 40\.0, and there 32\.0"),
        ({"part": 1.0}, r"part = 1\.0, and there 5\.0"),
        ({"dt": 0.04}, r"dt = 0\.04, and there 0\.05"),
        ({"beats": 1}, r"beats = 1, and there 3"),
        ({"splitting": "godunov"}, r"splitting = godunov, and there strang"),
        ({"solver": jc.RushLarsen()}, r"solver = RushLarsen\(\), and there RushLarsen2"),
        ({"y0": CELL.initial_state()._replace(v=0.1)}, r"y0\.v is another"),
        ({"outputs": ("u",)}, r"outputs"),
    ],
    ids=lambda x: str(list(x)) if isinstance(x, dict) else "",
)  # fmt: skip
def test_other_arguments_are_refused_by_name_and_nothing_is_touched(copy, change, named):
    before = data_of(copy)
    words = {"tissue": SHEET, "stimuli": STIMULI} | HOW | change
    with pytest.raises(ValueError, match=rf"copy: holds a recording of other arguments \({named}.*allowed: the same"):
        T.record(copy, **words)
    assert data_of(copy) == before


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"part": 0.7}, "part = 0.7 ms; allowed: a multiple of save_every = 0.5 ms"),
        ({"part": -5.0}, "part = -5.0 ms; allowed: > 0"),
        ({"save_every": 0.0}, "save_every = 0.0 ms; allowed: 1e-05 ms to t1 - t0 = 32 ms"),
        ({"save_every": 40.0}, "save_every = 40.0 ms; allowed"),
        ({"t1": 1e7, "part": 1.0, "save_every": 1.0}, "part = 1.0 ms; allowed: at least 100 ms: no more than 100000"),
        ({"dt": 0.6}, "dt = 0.6 ms; allowed with explicit diffusion"),
        ({"stimuli": [T.Stimulus(jc.protocols.Pulses(1.0, 1.0, [12.0]))]}, "negative amplitudes: those depolarise"),
    ],
    ids=lambda x: str(list(x)) if isinstance(x, dict) else "",
)
def test_wrong_arguments_are_refused_before_anything_is_written(tmp_path, change, named):
    with pytest.raises(ValueError, match=re.escape(named)):
        T.record(tmp_path / "new", **({"tissue": SHEET, "stimuli": STIMULI} | HOW | change))
    assert not list(tmp_path.iterdir())


def test_frames_are_read_by_sample(whole):
    V = whole.V
    every = V[:]
    assert V.shape == every.shape == (65, 6, 8) and len(V) == 65 and V.dtype == np.float64
    for key in (
        0,
        -1,
        10,
        11,
        slice(3, 30, 7),
        slice(None, None, -4),
        [20, 2, 20],
        (slice(8, 13), 2),
        (-3, 1, slice(2)),
    ):
        np.testing.assert_array_equal(V[key], every[key])
    for key in (65, "a", 1.5):
        with pytest.raises(ValueError, match="samples 0 to 64: a number, a slice or a list"):
            V[key]
    with pytest.raises(ValueError, match="name = 'w'; allowed: what was saved: u, v"):
        whole.output("w")


def test_only_the_parts_that_are_asked_for_are_read(copy, monkeypatch):
    opened = []
    real = recording._part
    monkeypatch.setattr(recording, "_part", lambda folder, k, digest: opened.append(k) or real(folder, k, digest))
    found = T.open_record(copy)
    found.V[12:15]
    found.V[-1]
    assert opened == [1, 6]


def test_some_of_a_recording_is_a_run_to_measure(whole, run):
    some = whole.run(since=2.0, until=8.0)
    assert (some.ts[0], some.ts[-1]) == (2.0, 8.0)
    np.testing.assert_allclose(some.V, run.V[4:17], rtol=0, atol=1e-12)
    np.testing.assert_allclose(T.velocity_map(some), T.velocity_map(run), rtol=1e-9)
    with pytest.raises(ValueError, match=r"since = 40\.0 ms; allowed"):
        whole.run(since=40.0)


def ends(path: Path) -> np.ndarray:
    with open_hdf5(path) as file:
        return file.numbers("t")[[0, -1]]


def test_samples_and_edges_at_the_end_of_a_part_are_taken_once(whole, run):
    """A part ends at 10 ms, where a stimulus begins."""
    first = [ends(whole.folder / f"part-{k:05d}.h5") for k in (0, 1, 2, 6)]
    np.testing.assert_allclose(first, [[0.0, 5.0], [5.5, 10.0], [10.5, 15.0], [30.5, 32.0]])
    k = int(np.searchsorted(run.ts, 10.5))
    np.testing.assert_allclose(whole.V[k], run.V[k], rtol=0, atol=1e-12)


def damaged(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2 : len(raw) // 2 + 64] = bytes(64)
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("harm", "named"),
    [
        (lambda folder: (folder / "part-00006.h5").write_bytes(b""), r"part-00006\.h5: not a whole HDF5 file"),
        (lambda folder: shutil.copy(folder / "part-00005.h5", folder / "part-00006.h5"), "part 5 of another recording"),
        (lambda folder: shutil.copy(folder / "record.h5", folder / "part-00006.h5"), "not a part of a jaxcardio"),
        (lambda folder: (folder / "record.h5").unlink(), "no recording there"),
        (
            lambda folder: shutil.copy(folder / "part-00005.h5", folder / "record.h5"),
            "not a jaxcardio tissue recording",
        ),
        (lambda folder: damaged(folder / "record.h5"), r"record\.h5"),
    ],
    ids=["empty", "another part", "no part", "no record", "no recording", "damaged"],
)
def test_what_is_no_recording_is_one_line_that_names_it(copy, harm, named):
    harm(copy)
    with pytest.raises(ValueError, match=named) as refused:
        np.asarray([T.open_record(copy).activation_time.sum(), T.open_record(copy).V[:].sum()])
    assert "\n" not in str(refused.value) and "copy" in str(refused.value)


def test_a_damaged_end_is_not_gone_on_from(copy):
    (copy / "part-00006.h5").unlink()
    with h5py.File(copy / "part-00005.h5", "r+") as file:
        del file["memory/000"]
        file["memory/000"] = np.zeros(3)
    with pytest.raises(ValueError, match=r"part-00005\.h5: memory/000: shape \(3,\); allowed"):
        T.record(copy, SHEET, STIMULI, **HOW)
    assert not (copy / "part-00006.h5").exists()


@pytest.mark.slow
def test_where_the_time_goes_is_said(tmp_path, capsys):
    how: dict[str, Any] = HOW | {"t1": 2.0, "part": 1.0}
    T.record(tmp_path, SHEET, STIMULI, progress=True, **how)
    said = capsys.readouterr().err
    numbers = re.search(r"(\d+) steps: cells (\S+) s, diffusion (\S+) s, output (\S+) s, compiling", said)
    assert numbers and int(numbers[1]) == 40 and all(float(x) > 0 for x in numbers.groups())


@pytest.mark.slow
def test_cost_adds_up_and_grows_with_the_tissue():
    """Cells of a larger tissue cost more, and what is not diffusion is cells."""
    small, large = (T.cost(T.Tissue(CELL, (n, n), 0.3, 0.1), dt=0.02, steps=20) for n in (20, 200))
    assert large.step > 5 * small.step > 0 and large.diffusion > 0
    assert large.cells == pytest.approx(large.step - large.diffusion) and large.cells > 0
    assert large.steps_per_second == pytest.approx(1 / large.step)


KILLS = 3
PROGRAM = """
import sys
import jax; jax.config.update("jax_enable_x64", True); jax.config.update("jax_num_cpu_devices", 2)
sys.path.insert(0, sys.argv[2])
from test_tissue_storage import HOW, SHEET, STIMULI, T
T.record(sys.argv[1], SHEET, STIMULI, **(HOW | {"t1": 300.0, "part": 0.5}))
"""


@pytest.mark.slow  # starts processes and kills them
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_killed_recordings_go_on_to_the_same_bytes(tmp_path):
    """At random moments, until one gets to its end."""
    draw = np.random.default_rng(0)
    words = [sys.executable, "-W", "ignore", "-c", PROGRAM]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    here = str(Path(__file__).parent)
    subprocess.run([*words, str(whole), here], check=True, timeout=600)
    for _ in range(KILLS):
        process = subprocess.Popen([*words, str(killed), here])
        there = len(list(killed.glob("part-*.h5")))
        while process.poll() is None and len(list(killed.glob("part-*.h5"))) == there:  # it compiles
            time.sleep(0.01)
        time.sleep(draw.uniform(0.0, 0.3))
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL  # it was not done yet
        for path in killed.glob("*.h5"):  # whole, or not there
            assert path.read_bytes() == (whole / path.name).read_bytes()
    subprocess.run([*words, str(killed), here], check=True, timeout=600)
    assert data_of(killed) == data_of(whole)
    assert T.open_record(killed).finished
