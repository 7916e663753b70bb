"""Figures of tissue: what is drawn is the data, every axis has its unit, and animations have a frame a sample."""

import dataclasses
import itertools
from typing import Any

import numpy as np
import PIL.Image
import pytest

import jaxcardio as jc
from jaxcardio.files.writing import write_figure
from jaxcardio.plot import tissues

T = jc.tissue
CELL = jc.models.TenTusscher2004()
SPEED = 0.5
"""mm/ms, along x."""


def plane_wave(tissue, ts: Any = np.arange(0.0, 30.0, 2.0)) -> T.Run:
    """V that rises where a plane wave along x has come by; no cell is run."""
    x = np.broadcast_to(tissue.centres()[-1], tissue.shape)
    times = x / SPEED
    V: Any = np.where(ts.reshape(-1, *(1 for _ in tissue.shape)) >= times, 20.0, -85.0)
    whole: Any = np.ones(tissue.shape, int)
    state = tissue.initial_state()
    return T.Run(ts, {"V": V}, times[None], times[None] + 250, whole, 0 * whole, state, tissue, (), -30.0, "")


@pytest.fixture(scope="module")
def sheet():
    hole = np.ones((20, 30), bool)
    hole[8:12, 10:14] = False
    run = plane_wave(T.Tissue(CELL, (20, 30), 0.2, 0.1, mask=hole))
    return dataclasses.replace(run, activation_times=np.where(hole, run.activation_times, np.nan))


@pytest.fixture(scope="module")
def cable():
    return plane_wave(T.Tissue(CELL, 40, 0.25, 0.1))


@pytest.fixture(scope="module")
def slab():
    return plane_wave(T.Tissue(CELL, (3, 10, 12), 0.2, 0.1))


def image_of(ax):
    (image,) = ax.get_images()
    return image


def bar_of(ax):
    return image_of(ax).colorbar.ax.get_ylabel()


def test_activation_map_has_times_in_place_and_isochrones_between_them(sheet):
    ax = tissues.activation_map(sheet)
    drawn = image_of(ax).get_array()
    np.testing.assert_array_equal(drawn.filled(np.nan), sheet.activation_time)
    assert image_of(ax).get_extent() == [0, 6.0, 0, 4.0] and image_of(ax).origin == "lower"
    assert (ax.get_xlabel(), ax.get_ylabel(), bar_of(ax)) == ("x (mm)", "y (mm)", "activation time (ms)")
    assert ax.get_title(loc="left") == "isochrones every 1 ms"
    tissues.activation_map(sheet, given := tissues.given_or_sheet(None), isochrones=2.5)
    (lines,) = (c for c in given.collections if hasattr(c, "levels"))
    np.testing.assert_allclose(lines.levels, [2.5, 5.0, 7.5, 10.0])
    for level, path in zip(lines.levels, lines.get_paths(), strict=True):  # along y, at x = speed times t
        np.testing.assert_allclose(path.vertices[:, 0], SPEED * level, atol=1e-9)


def test_frames_show_the_samples_in_one_range_of_colours(sheet):
    ax = tissues.frame(sheet, 5.1)
    np.testing.assert_array_equal(image_of(ax).get_array().filled(-1), np.where(sheet.tissue.mask, sheet.V[3], -1))
    assert ax.get_title(loc="left") == "6 ms" and bar_of(ax) == "V (mV)"
    figure = tissues.frames(sheet, [2.0, 6.0, 8.0, 10.0, 12.0])
    shown = [a for a in figure.axes if a.get_images() and a.get_visible()]
    assert [a.get_title(loc="left") for a in shown] == ["2 ms", "6 ms", "8 ms", "10 ms", "12 ms"]
    assert {image_of(a).get_clim() for a in shown} == {(-85.0, 20.0)}
    with pytest.raises(ValueError, match=r"time = 40\.0 ms; allowed: within the samples, 0 to 28 ms"):
        tissues.frame(sheet, 40.0)
    with pytest.raises(ValueError, match="name = 'm'; allowed: what was saved: V"):
        tissues.frame(sheet, 4.0, name="m")


def test_space_time_has_the_wave_as_a_line(cable, sheet):
    ax = tissues.space_time(cable)
    (line,) = ax.lines
    np.testing.assert_allclose(np.diff(line.get_ydata()) / np.diff(line.get_xdata()), SPEED)
    assert ax.get_xlabel().startswith("time (ms)") and ax.get_ylabel() == "x (mm)"
    with pytest.raises(ValueError, match="run = 'of 2 axes'; allowed: a run of a cable"):
        tissues.space_time(sheet)


def test_arrows_point_along_the_wave_and_colours_are_its_speed(sheet):
    ax = tissues.velocities(sheet, every=3)
    (arrows,) = (c for c in ax.collections if hasattr(c, "U"))
    np.testing.assert_allclose(arrows.U, 1.0)
    np.testing.assert_allclose(arrows.V, 0.0, atol=1e-12)
    speed = image_of(ax).get_array()
    np.testing.assert_allclose(speed[2, 2:-2], SPEED)
    assert bar_of(ax) == "velocity (mm/ms)"


def test_of_a_slab_one_layer_is_drawn(slab):
    run = dataclasses.replace(slab, activation_times=slab.activation_times + np.arange(3.0).reshape(3, 1, 1))
    middle, top = (image_of(tissues.activation_map(run, layer=k)).get_array() for k in (None, 2))
    np.testing.assert_allclose(top - middle, 1.0)
    assert tissues.velocities(run).get_xlabel() == "x (mm)"
    with pytest.raises(ValueError, match="layer = 3; allowed: 0 to 2"):
        tissues.activation_map(run, layer=3)


def test_paths_electrograms_and_restitution_are_the_data():
    path = T.TipPath(np.arange(4.0), np.array([1.0, 2.0, 2.0, 1.0]), np.array([1.0, 1.0, 2.0, 2.0]), -1)
    ax = tissues.tip_paths([path])
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), np.stack([path.x, path.y], -1))
    assert ax.get_legend().get_texts()[0].get_text() == "0 to 3 ms, turns counter-clockwise"
    phi = np.random.default_rng(0).random((5, 2))
    ax = tissues.electrograms(np.arange(5.0), phi, names=["a", "b"])
    np.testing.assert_array_equal(ax.lines[1].get_ydata(), phi[:, 1])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("time (ms)", "electrogram (mV)")
    ax = tissues.restitution(np.array([400.0, 300.0, 350.0]), np.array([0.6, np.nan, 0.5]), quantity="CV (mm/ms)")
    np.testing.assert_array_equal(ax.lines[0].get_xydata(), [[350.0, 0.5], [400.0, 0.6]])
    assert ax.lines[1].get_xdata().tolist() == [300.0] and ax.get_ylabel() == "CV (mm/ms)"


@pytest.mark.parametrize("what", ["cable", "sheet", "slab"])
def test_an_animation_has_a_frame_a_sample(what, request, tmp_path):
    run = request.getfixturevalue(what)
    tissues.animate(run, tmp_path / "a.gif", every=3, dpi=40)
    made: Any
    with PIL.Image.open(tmp_path / "a.gif") as made:
        assert (made.format, made.n_frames, made.info["duration"]) == ("GIF", 5, 50)
        pictures = []
        for k in range(5):
            made.seek(k)
            pictures.append(np.asarray(made.convert("RGB"), float))
    assert all((a != b).any() for a, b in itertools.pairwise(pictures))  # the wave moves, and the time
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]


@pytest.mark.slow
def test_a_recording_is_drawn_without_loading_it(tmp_path):
    cable = T.Tissue(jc.models.AlievPanfilov1996(), 30, 0.6, 1.0)
    pulse = T.Stimulus(jc.protocols.Pulses(-1.0, 1.0, [0.0]), np.s_[:4])
    record = T.record(tmp_path / "data", cable, [pulse], t1=12.0, part=4.0, dt=0.1)
    tissues.animate(record, tmp_path / "a.gif", dpi=40)
    ax = tissues.space_time(record)
    assert ax.get_xlabel() == "time (t.u.); white: activation"
    (mesh,) = (c for c in ax.collections if hasattr(c, "get_array"))
    np.testing.assert_array_equal(np.asarray(mesh.get_array()).reshape(30, 13), record.V[:].T)
    made: Any
    with PIL.Image.open(tmp_path / "a.gif") as made:
        assert made.n_frames == 13


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.png", "allowed: a name that ends in .gif or .mp4"),
        ("nowhere/a.gif", "there is no folder"),
        ("a.mp4", "ffmpeg, which writes MP4, is not installed; allowed: .gif, or install ffmpeg"),
    ],
)
def test_an_animation_that_cannot_be_written_is_refused(cable, tmp_path, monkeypatch, name, said):
    from matplotlib import animation

    monkeypatch.setattr(animation.writers, "is_available", lambda kind: kind == "pillow")
    with pytest.raises(ValueError, match=r"path = .*: ?") as refused:
        tissues.animate(cable, tmp_path / name)
    assert said in str(refused.value) and not list(tmp_path.iterdir())


def test_figures_can_be_written(sheet, tmp_path):
    for k, ax in enumerate((tissues.activation_map(sheet), tissues.velocities(sheet), tissues.frame(sheet, 4.0))):
        write_figure(tmp_path / f"{k}.png", ax.get_figure(), dpi=40)
        with PIL.Image.open(tmp_path / f"{k}.png") as made:
            assert np.ptp(np.asarray(made.convert("L"))) > 100
