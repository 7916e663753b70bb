"""Every reference trace, from independent implementations run to 1e-12: potentials, biomarkers, clamp currents."""

from typing import Any

import h5py
import numpy as np
import pytest

import jaxcardio as jc

TEN_TUSSCHER = jc.models.TenTusscher2004()
KERNIK = jc.models.KernikClancy2019()
SKIBSBYE = jc.models.Skibsbye2016()
PACED = ((4.0, 0.002), (40.0, 0.01), (450.0, 0.05), (np.inf, 0.1))
LATE = ((14.0, 0.004), (60.0, 0.02), (450.0, 0.05), (np.inf, 0.1))
FINE = 12.0
"""How long after each onset every step is saved, ms: the upstroke needs it."""

slow = pytest.mark.slow


def _open(path) -> Any:
    """The HDF5 file, whose groups and datasets only their names tell apart."""
    return h5py.File(path)


def _pulses(period, start=10.0):
    return jc.protocols.PulseTrain(-52.0, 1.0, period, start)


def _run(cell, pacing, t1, stages, reference_times, y0=None):
    """V at the reference times, at every ms, and at every step of the upstrokes, on a fine paced grid."""
    grid = jc.paced_grid(pacing, t1, stages=stages)
    since = grid[:, None] - pacing.onsets(0.0, t1)
    upstroke = grid[((since >= -1.0) & (since < FINE)).any(1)]
    every_ms = np.arange(0.0, t1)
    times = np.unique(np.round(np.concatenate([upstroke, every_ms, *reference_times]), 9))
    trace = jc.simulate(
        cell, pacing, t1=t1, solver=jc.RushLarsen2(), grid=grid, save_at=times, outputs=[cell.potential], y0=y0
    )
    assert trace.status == jc.Status.OK
    return trace


def _at(trace, times):
    return np.asarray(trace.V)[np.searchsorted(trace.ts, np.asarray(times) - 1e-7)]


def _rmse_away_from_upstrokes(V, V_ref, times, onsets):
    since = np.asarray(times)[:, None] - onsets
    quiet = ~((since > -1.0) & (since < FINE)).any(1)
    return float(np.sqrt(np.mean((V - V_ref)[quiet] ** 2)))


def _compare_biomarkers(trace, table, columns, onsets, apd=0.05, potential=0.05, dvdt=0.005):
    """Row by row: APD within 0.05 ms, potentials within 0.05 mV, dV/dt max within 0.5 %."""
    beats = jc.biomarkers.action_potentials(trace, onsets=onsets)
    reference = dict(zip(columns, np.asarray(table).T, strict=True))
    n = len(table)
    for name in ("apd30", "apd50", "apd90"):
        ours, theirs = np.asarray(getattr(beats, name))[:n], reference[name]
        both = np.isfinite(theirs)
        complete = both & np.isfinite(ours)
        assert complete.sum() >= both.sum() - 1, f"{name}: {complete.sum()} beats of {both.sum()}"
        assert np.abs(ours - theirs)[complete].max() <= apd, name
    for name in ("rmp", "peak"):
        ours = np.asarray(getattr(beats, name))[:n]
        seen = np.isfinite(ours) & np.isfinite(reference["apd90"])
        assert np.abs(ours - reference.get(name, reference.get("rest")))[seen].max() <= potential, name
    ours = np.asarray(beats.dvdt_max)[:n]
    seen = np.isfinite(ours) & np.isfinite(reference["apd90"])
    assert np.abs(ours / reference["dvdt_max"] - 1)[seen].max() <= dvdt


TT_CASES = {
    "trace_CL1000": (1000.0, {}),
    "trace_CL800": (800.0, {}),
    "trace_CL500": (500.0, {}),
    "trace_CL300": (300.0, {}),
    "trace_short_qt_CL800": (800.0, {"g_CaL": 0.5 * 1.75e-4}),
    "trace_ito3_CL800": (800.0, {"g_to": 3 * 0.294}),
}


@pytest.mark.parametrize("group", ["trace_CL1000", *(pytest.param(g, marks=slow) for g in list(TT_CASES)[1:])])
def test_ten_tusscher_paced(references, group):
    """20 s at each cycle length and scenario; the capture pattern at 300 ms (2:1) included."""
    period, changes = TT_CASES[group]
    pacing = _pulses(period)
    with _open(references / "ten_tusscher_2004.h5") as file:
        f = file[group]
        first_t, last_t, up_t = f["first_t"][()], f["last_t"][()], f["upstroke_t"][()]
        last_t = last_t if last_t[0] > first_t[-1] - 1 else last_t + 20_000.0 - last_t[-1]
        trace = _run(TEN_TUSSCHER.replace(**changes), pacing, 20_000.0, PACED, (first_t, last_t, up_t))
        onsets = pacing.onsets(0.0, 20_000.0)
        for name, t in (("first", first_t), ("last", last_t)):
            assert _rmse_away_from_upstrokes(_at(trace, t), f[f"{name}_states"][:, 0], t, onsets) <= 0.01
        table = f["biomarkers"]
        columns = [c if isinstance(c, str) else c.decode() for c in table.attrs["columns"]]
        captured = table[:, columns.index("captured")].astype(bool)
        beats = jc.biomarkers.action_potentials(trace)
        np.testing.assert_array_equal(np.asarray(beats.captured)[: len(captured)], captured)
        _compare_biomarkers(trace, table[()], columns, onsets)


SKIBSBYE_CASES = {
    "trace_CL1000": (1000.0, 100, False),
    "trace_CL1000_from_2014": (1000.0, 100, True),
    "trace_CL800": (800.0, 50, False),
    "trace_CL500": (500.0, 100, False),
}


@slow
@pytest.mark.parametrize("group", SKIBSBYE_CASES)
def test_skibsbye_paced(references, group):
    """100 beats at 1 Hz from both starts, and the faster rates, beat by beat."""
    period, n_beats, from_2014 = SKIBSBYE_CASES[group]
    pacing = jc.protocols.PulseTrain(-575.0 / 50.0, 2.0, period, 0.0)
    t1 = n_beats * period
    y0 = SKIBSBYE.resting_state_2014() if from_2014 else None
    with _open(references / "skibsbye_2016.h5") as file:
        f = file[group]
        last_t = f["last_t"][()]
        last_t = last_t if last_t[-1] > t1 - 1.5 else last_t - last_t[0] + t1 - period
        trace = _run(SKIBSBYE, pacing, t1, LATE, (last_t,), y0)
        onsets = pacing.onsets(0.0, t1)
        assert _rmse_away_from_upstrokes(_at(trace, last_t), f["last_states"][:, 0], last_t, onsets) <= 0.01
        table = f["biomarkers"]
        columns = [c if isinstance(c, str) else c.decode() for c in table.attrs["columns"]]
        _compare_biomarkers(trace, table[()], columns, onsets)


KERNIK_CASES = {
    "trace_spontaneous": (KERNIK, None, 0.0),
    "trace_E4031_7nM": (jc.pharmacology.block(KERNIK, "E-4031", 7.0), None, 0.0),
    "trace_paced_CL800": (jc.hold(KERNIK, "Na_i", "K_i"), jc.protocols.PulseTrain(-3.0, 5.0, 800.0, 100.0), 0.0),
    "trace_spontaneous_60s": (KERNIK, None, 60_000.0),
}


@slow
@pytest.mark.parametrize("group", KERNIK_CASES)
def test_kernik(references, group):
    """Spontaneous (also after a minute), under E-4031, paced: away from the 6 ms of each upstroke, and beat by beat."""
    cell, protocol, offset = KERNIK_CASES[group]
    with _open(references / "kernik_clancy_2019.h5") as file:
        f = file[group]
        t, V_ref = f["t"][()], f["states"][:, 0]
        table = f["biomarkers"]
        columns = [c if isinstance(c, str) else c.decode() for c in table.attrs["columns"]]
        upstrokes = table[:, columns.index("t_upstroke")]
        near = (upstrokes[:, None] + np.arange(-20.0, 20.0, 0.02)).ravel()
        t1 = t[-1]
        times = np.unique(np.round(np.concatenate([t, near[(near > 0) & (near < t1)]]), 6)) + offset
        trace = jc.simulate(
            cell, protocol, t1=t1 + offset, solver=jc.RushLarsen2(), dt=0.005, save_at=times, outputs=["V"]
        )
        V = _at(trace, t + offset)
        assert _rmse_away_from_upstrokes(V, V_ref, t, upstrokes - 6.0) <= 0.01
        local = jc.Trace.from_samples(trace.ts - offset, trace.V)
        beats = jc.biomarkers.action_potentials(local)
        for row in table[()]:
            reference = dict(zip(columns, row, strict=True))
            k = int(np.nanargmin(np.abs(beats.t_upstroke - reference["t_upstroke"])))
            if not (np.isfinite(reference["apd90"]) and beats.valid[k] and beats.repolarised[k]):
                continue
            for name in ("apd30", "apd50", "apd90"):
                assert abs(getattr(beats, name)[k] - reference[name]) <= 0.05, name
            assert beats.dvdt_max[k] == pytest.approx(reference["dvdt_max"], rel=0.005)
            assert beats.peak[k] == pytest.approx(reference["peak"], abs=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "temperature", "every"), [("voltage_clamp", 310.0, 0.1), ("voltage_clamp_298K", 298.0, 1.0)]
)
def test_kernik_voltage_clamp(references, group, temperature, every):
    """Hold, then 18 steps: total and six currents to 1e-6 of each current's range, and the final states."""
    cell = KERNIK.replace(temperature=temperature)
    names = ["I_ion_total", "I_K1", "I_Kr", "I_Ks", "I_CaL", "I_Na", "I_f"]
    with _open(references / "kernik_clancy_2019.h5") as file:
        f = file[group]
        hold = jc.protocols.VoltageSteps([-80.0], [10_000.0])
        held = jc.simulate(cell, hold, t1=10_000.0, solver=jc.RushLarsen2(), dt=0.02, save_every=10_000.0)
        state = type(held.final_state)(*f["state_after_hold"][()])
        np.testing.assert_allclose(np.stack(held.final_state), np.stack(state), rtol=1e-6, atol=1e-9)
        reference = f["currents"][()] if "currents" in f else f["i_total"][()][:, None]
        ours = np.empty_like(reference)
        for k, V in enumerate(f["V_step"][()]):
            step = jc.protocols.VoltageSteps([V], [250.0])
            trace = jc.simulate(
                cell, step, t1=250.0, y0=state, solver=jc.RushLarsen2(), dt=0.002, save_every=every,
                outputs=names[: reference.shape[1]],
            )  # fmt: skip
            ours[k] = np.stack(trace.ys)
    error = np.abs(ours - reference).max((0, 2)) / np.ptp(reference, axis=(0, 2))
    assert error.max() <= 1e-6, dict(zip(names, error, strict=False))


AP_CASES = {
    "trace_1996_single": (jc.models.AlievPanfilov1996(), None),
    "trace_1996_CL30": (jc.models.AlievPanfilov1996(), 30.0),
    "trace_1996_CL50": (jc.models.AlievPanfilov1996(), 50.0),
    "trace_modified_0_CL40": (jc.models.AlievPanfilovModified(x=0.9, a=0.15), 40.0),
    "trace_modified_1_CL40": (jc.models.AlievPanfilovModified(x=0.95, a=0.1), 40.0),
    "trace_modified_single_0": (jc.models.AlievPanfilovModified(x=0.9, a=0.15), None),
    "trace_modified_single_1": (jc.models.AlievPanfilovModified(x=0.95, a=0.1), None),
}


@pytest.mark.parametrize("group", AP_CASES)
def test_aliev_panfilov(references, group):
    """Dimensionless potential to 1e-4 everywhere (0.01 mV on the 1996 scale of 100 mV), durations to 0.005 t.u."""
    cell, period = AP_CASES[group]
    pacing = None if period is None else jc.protocols.PulseTrain(-0.5, 1.0, period, 5.0)
    with _open(references / "aliev_panfilov.h5") as file:
        f = file[group]
        t, states = f["t"][()], f["states"][()]
        y0 = type(cell.initial_state())(*f.attrs["initial_state"])
        trace = jc.simulate(cell, pacing, t1=t[-1], y0=y0, solver=jc.RushLarsen2(), dt=0.0005, save_at=t)
        assert np.abs(np.stack(trace.ys, 1) - states).max() <= 1e-4
        if "biomarkers" in f:
            table = f["biomarkers"]
            columns = [c if isinstance(c, str) else c.decode() for c in table.attrs["columns"]]
            beats = jc.biomarkers.action_potentials(trace)
            for name in ("apd30", "apd50", "apd90"):
                ours, theirs = np.asarray(getattr(beats, name))[: len(table)], table[:, columns.index(name)]
                assert np.nanmax(np.abs(ours - theirs)) <= 0.03, name  # sampled every 0.05 t.u.
