"""Biomarkers: gradients, arguments, agreement with an independent tool and with the reference traces."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import efel
import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthetic import FEET, PEAK, REST, RISE, TS, train, uneven

from jaxcardio import biomarkers as bm

# ---- gradients ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paced", [False, True])
def test_gradient_of_the_strict_apd_is_that_of_its_formula(paced):
    ts = np.arange(0, 600, 0.5)
    V = train(ts, [100.2], [200.0]) - 0.001 * ts
    options: Any = {"onsets": [99.0]} if paced else {"max_beats": 1}
    apd = jax.jit(lambda V: bm.action_potentials_from(ts, V, **options).apd90[0])
    gradient = jax.grad(apd)(V)
    assert np.isfinite(np.asarray(gradient)).all()
    touched = np.flatnonzero(gradient)
    assert 5 <= touched.size <= 9  # four about the upstroke, the peak, the rest, two about the crossing
    for i in touched:
        step = np.zeros_like(V)
        step[i] = 1e-5
        numeric = (apd(V + step) - apd(V - step)) / 2e-5
        np.testing.assert_allclose(gradient[i], numeric, rtol=1e-4, atol=1e-5)


def test_gradients_are_finite_where_there_is_no_beat():
    ts = np.arange(0, 600, 0.5)
    strict = jax.jit(jax.grad(lambda V: jnp.nansum(bm.action_potentials_from(ts, V, max_beats=1).apd90)))
    soft = jax.jit(jax.grad(lambda V: bm.soft_apd(ts, V)))
    for V in (np.full_like(ts, -80.0), np.where(ts < 100, -80.0, -10.0)):
        assert np.isfinite(np.asarray(strict(V))).all()
        assert np.isfinite(np.asarray(soft(V))).all()
    assert (strict(np.full_like(ts, np.nan)) == 0).all()


def test_soft_apd_tends_to_the_strict_one():
    ts = uneven(600.0, 0.05, [100.0])
    V = np.stack([train(ts, [100.0], [fall]) for fall in (150.0, 200.0, 250.0)])
    strict = np.asarray(bm.action_potentials_from(ts, V).apd90)[:, 0]
    soft = jax.jit(lambda width: bm.soft_apd(ts, V, width=width))
    errors = [np.abs(soft(w) - strict).max() for w in (4.0, 1.0, 0.25, 0.02)]
    assert errors[0] > errors[1] > errors[2] > errors[3]
    assert errors[-1] < 0.05  # the sampling interval of the upstroke


def test_soft_apd_is_smooth_and_vanishes_with_the_beat():
    ts = uneven(600.0, 0.05, [100.0])
    V = train(ts, [100.0], [200.0])
    soft = jax.jit(lambda scale: bm.soft_apd(ts, REST + scale * (V - REST), width=2.0))
    for scale in (1.0, 0.5, 0.2, 0.17, 0.01):
        slope = (soft(scale + 1e-5) - soft(scale - 1e-5)) / 2e-5
        np.testing.assert_allclose(jax.grad(soft)(scale), slope, rtol=1e-4, atol=1e-4)
    assert soft(0.01) < 0.1
    assert abs(soft(1.0) - 181) < 5


# ---- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"V": np.zeros(4)}, r"expected shapes \(T,\) and \(\.\.\., T\)"),
        ({"ts": np.zeros((2, 5))}, r"ts: expected shape \(T,\), got \(2, 5\)"),
        ({"ts": np.arange(2.0), "V": np.zeros(2)}, "ts = 2 samples; allowed: >= 3"),
        ({"ts": np.array([0.0, 1.0, np.nan, 3.0, 4.0])}, "ts = .* ms; allowed: finite"),
        ({"ts": np.array([0.0, 1.0, 1.0, 3.0, 4.0])}, "ts = .* ms; allowed: strictly ascending"),
        ({"levels": (0.0,)}, "level = 0.0 %; allowed: 0 < level < 100"),
        ({"levels": (100.0,)}, "level = 100.0 %"),
        ({"max_beats": 0}, "max_beats = 0 beats; allowed: a whole number >= 1"),
        ({"window": 2}, "window = 2 samples"),
        ({"smoothing": -1.0}, "smoothing = -1.0 ms; allowed: > 0"),
        ({"min_amplitude": 0.0}, "min_amplitude = 0.0 mV"),
        ({"ead_rise": -2.0}, "ead_rise = -2.0 mV"),
        ({"threshold": (-20.0, -60.0)}, "threshold = .* mV; allowed: .*low < high"),
        ({"threshold": -20.0}, "threshold = -20.0 mV; allowed"),
        ({"onsets": [2.0, 1.0]}, "onsets = .* ms; allowed: finite, ascending"),
        ({"onsets": [7.0]}, "onsets = .* ms; allowed: within ts"),
        ({"onsets": 1.0}, "onsets .ms.: expected shape"),
    ],
)
def test_bad_arguments_are_named(change: Any, message):
    arguments: Any = {"ts": np.arange(5.0), "V": np.zeros(5), **change}
    with pytest.raises(ValueError, match=message):
        bm.action_potentials_from(**arguments)


def test_max_beats_must_be_known_when_compiling():
    with pytest.raises(ValueError, match="max_beats"):
        jax.jit(lambda V: bm.action_potentials_from(TS, V).apd90)(train(TS, FEET, [200.0] * 3))


# ---- an independent tool --------------------------------------------------------------------------------------------


def test_agrees_with_efel():
    """eFEL (Blue Brain) knows no APDx, but the width above a fixed potential: set there, it measures the same fall.

    It resamples every 0.1 ms, hence the tolerances.
    """
    efel.reset()
    features: Any = efel.get_feature_values
    ts, feet = np.arange(0, 4000, 0.1), [100.0, 1100.0, 2100.0, 3100.0]
    V = train(ts, feet, [300.0, 280.0, 320.0, 300.0])
    beats = bm.action_potentials_from(ts, V)
    trace = {"T": ts, "V": V, "stim_start": [0.0], "stim_end": [4000.0]}
    (found,) = features([trace], ["peak_voltage", "peak_time", "min_between_peaks_values", "AP_peak_upstroke"])
    np.testing.assert_allclose(beats.peak, found["peak_voltage"], atol=0.01)
    np.testing.assert_allclose(beats.t_peak, found["peak_time"], atol=0.11)
    np.testing.assert_allclose(beats.rmp[1:], found["min_between_peaks_values"][:3], atol=0.01)
    np.testing.assert_allclose(beats.dvdt_max, found["AP_peak_upstroke"], rtol=0.01)
    for level, apd in ((50.0, beats.apd50), (90.0, beats.apd90)):
        potential = float(PEAK - level / 100 * (PEAK - REST))
        efel.set_setting("Threshold", potential)
        (width,) = features([trace], ["AP_width"])
        before_steepest = RISE / 2 - RISE / np.pi * np.arccos(1 - 2 * (potential - REST) / (PEAK - REST))
        np.testing.assert_allclose(width["AP_width"], apd + before_steepest, atol=0.15)
    efel.reset()


# ---- the reference traces -------------------------------------------------------------------------------------------


def read(file: h5py.File, path: str) -> np.ndarray:
    dataset = file[path]
    assert isinstance(dataset, h5py.Dataset)
    return dataset[:]


def columns(file: h5py.File, trace: str) -> dict[str, np.ndarray]:
    """The published biomarkers of a trace by name, one entry a beat."""
    table = read(file, f"{trace}/biomarkers")
    names = np.asarray(file[f"{trace}/biomarkers"].attrs["columns"]).astype(str)
    return dict(zip(names, table.T, strict=True))


def with_fine_upstroke(file: h5py.File, coarse: str, fine: str):
    """Times and V of a trace, with the samples of its fine upstroke (0.1 ms) in place of the coarse ones (1 ms)."""
    t, V = read(file, f"{coarse}t"), read(file, f"{coarse}states")[:, 0]
    fine_t, fine_V = read(file, f"{fine}t"), read(file, f"{fine}states")[:, 0]
    outside = (t < fine_t[0] - 1e-6) | (t > fine_t[-1] + 1e-6)
    t = np.concatenate([t[outside], fine_t])
    order = np.argsort(t)
    return t[order], np.concatenate([V[outside], fine_V])[order]


def errors(beats, known, row, known_row, names):
    return {name: float(abs(getattr(beats, name)[row] - known[name][known_row])) for name in names}


def test_reference_kernik_spontaneous(references: Path):
    """0.1 ms about the upstroke: all to 0.01. 1 ms elsewhere: an upstroke of 3 ms is known to half a sample only."""
    with h5py.File(references / "kernik_clancy_2019.h5") as file:
        known = columns(file, "trace_spontaneous")
        beats = bm.action_potentials_from(
            *with_fine_upstroke(file, "trace_spontaneous/", "trace_spontaneous/upstroke_")
        )
    worst = errors(beats, known, 0, 0, ["t_upstroke", "rmp", "peak", "apa", "apd30", "apd50", "apd90"])
    assert max(worst.values()) < 0.01, worst
    assert abs(beats.dvdt_max[0] - known["dvdt_max"][0]) < 0.2
    assert beats.valid.shape == (12,)
    assert not np.asarray(beats.ead).any()
    for name in ("rmp", "peak", "apa"):
        np.testing.assert_allclose(getattr(beats, name), known[name], atol=0.002)
    for name in ("t_upstroke", "cycle_length", "apd30", "apd50", "apd90"):
        np.testing.assert_allclose(getattr(beats, name), known[name], atol=0.5)
    # what the upstroke adds or takes away, the difference of two durations does not have
    np.testing.assert_allclose(beats.apd90 - beats.apd30, known["apd90"] - known["apd30"], atol=0.02)


def test_reference_skibsbye_last_beat(references: Path):
    """0.1 ms about the upstroke. The peak, between samples, is 0.04 mV low; APD50, on a plateau of 0.3 mV/ms, then
    0.1 ms late."""
    with h5py.File(references / "skibsbye_2016.h5") as file:
        known = columns(file, "trace_CL1000")
        samples = with_fine_upstroke(file, "trace_CL1000/last_", "trace_CL1000/last_upstroke_")
    beats = bm.action_potentials_from(*samples, onsets=[0.0])
    worst = errors(beats, known, 0, -1, ["t_upstroke", "rmp", "peak", "apa", "apd30", "apd90"])
    assert max(worst.values()) < 0.05, worst
    assert abs(beats.apd50[0] - known["apd50"][-1]) < 0.15


def test_reference_ten_tusscher_last_beat(references: Path):
    """0.1 ms about the upstroke: to 0.05; APD30, on the plateau, to 0.1."""
    with h5py.File(references / "ten_tusscher_2004.h5") as file:
        known = columns(file, "trace_CL1000")
        samples = with_fine_upstroke(file, "trace_CL1000/last_", "trace_CL1000/upstroke_")
    beats = bm.action_potentials_from(*samples, onsets=[18010.0, 19010.0])
    worst = errors(beats, known, 0, -1, ["t_upstroke", "rmp", "peak", "apa", "apd50", "apd90"])
    assert max(worst.values()) < 0.05, worst
    assert abs(beats.apd30[0] - known["apd30"][-1]) < 0.1


@pytest.mark.parametrize(
    "names", [["trace_CL300"], ["trace_CL800", "trace_ito3_CL800", "trace_short_qt_CL800"]], ids=["2:1", "1:1"]
)
def test_reference_ten_tusscher_capture(references: Path, names):
    """Sampled every 1 ms: which stimuli were captured, exactly; APD90, across failed stimuli, to 1.5 ms."""
    with h5py.File(references / "ten_tusscher_2004.h5") as file:
        known = [columns(file, name) for name in names]
        t = read(file, f"{names[0]}/V_Cai_t")
        V = np.stack([read(file, f"{name}/V_Cai")[:, 0] for name in names])
    late = known[0]["t_stim"] >= t[0]
    beats = bm.action_potentials_from(t, V, onsets=known[0]["t_stim"][late])
    for i, table in enumerate(known):
        np.testing.assert_array_equal(beats.captured[i], table["captured"][late] > 0)
        np.testing.assert_allclose(beats.apd90[i], table["apd90"][late], atol=1.5)
    assert not np.asarray(beats.ead).any()


def test_reference_aliev_panfilov(references: Path):
    """Sampled every 0.05 time units: to half of that."""
    with h5py.File(references / "aliev_panfilov.h5") as file:
        known = columns(file, "trace_1996_CL30")
        trace = SimpleNamespace(
            ts=read(file, "trace_1996_CL30/t"), V=read(file, "trace_1996_CL30/states")[:, 0], potential_unit="1"
        )
    beats = bm.action_potentials(trace, onsets=known["t_stim"])
    assert np.asarray(beats.captured).all()
    for ours, theirs in (("rmp", "rest"), ("peak", "peak")):
        np.testing.assert_allclose(getattr(beats, ours), known[theirs], atol=1e-3)
    for x in ("t_upstroke", "apd30", "apd50", "apd90"):
        np.testing.assert_allclose(getattr(beats, x), known[x], atol=0.025)
