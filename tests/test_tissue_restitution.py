"""Restitution of CV and APD: against plain runs of the same stimuli, block that is known, and openCARP's tutorial."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcardio as jc
from jaxcardio.tissue import Stimulus, Tissue, diffusivity_of, monodomain_conductivity, simulate
from jaxcardio.tissue.measure.velocity import conduction_velocity
from jaxcardio.tissue.restitution import Restitution, dynamic_restitution, restitution

# Aliev-Panfilov in its own unit of time, 12.9 ms: an APD of 17, a wave of 1.3 mm per unit.
CELL = jc.models.AlievPanfilov1996()
CABLE = Tissue(CELL, (60,), 0.5, 1.0)
PULSE: dict[str, Any] = {"amplitude": -0.5, "duration": 2.0, "dt": 0.1}


@pytest.fixture(scope="module")
def curve():
    return restitution(CABLE, [30.0, 80.0, 24.0, 45.0], cycle_length=80.0, beats=3, **PULSE)


@pytest.mark.parametrize("k", [0, 3])
@pytest.mark.slow
def test_s2_from_a_saved_state_is_the_s2_of_one_long_run(curve, k):
    interval = curve.intervals[k]
    pulses = jc.protocols.s1_s2(-0.5, 2.0, s1_period=80.0, s1_count=3, s2_interval=interval)
    run = simulate(CABLE, [Stimulus(pulses, np.s_[:6])], t1=240.0, dt=0.1, save_every=240.0, beats=4)
    assert curve.velocity[k] == pytest.approx(conduction_velocity(run, (15,), (45,), beat=3), rel=1e-6)
    rise, fall = run.activation_times[:, 30], run.repolarisation_times[:, 30]
    assert curve.apd[k] == pytest.approx(fall[3] - rise[3], rel=1e-3)
    assert curve.diastolic_interval[k] == pytest.approx(rise[3] - fall[2], rel=1e-4)


def test_sooner_waves_are_slower_and_shorter_until_none_conducts(curve):
    np.testing.assert_array_equal(curve.intervals, [30, 80, 24, 45])
    np.testing.assert_array_equal(curve.conducted, [True, True, False, True])
    order = [1, 3, 0]
    for values in (curve.velocity, curve.apd, curve.diastolic_interval):
        assert (np.diff(values[order]) < 0).all()
        assert np.isnan(values[2])
    assert curve.shortest == 30.0


def test_the_shortest_interval_is_that_of_an_unbroken_row():
    """An interval that conducts below one that does not (supernormal conduction) does not count."""
    conducted = np.array([True, False, True, True])
    none = np.full(4, np.nan)

    def of(conducted, intervals=(200.0, 250.0, 300.0, 350.0)):
        return Restitution(np.array(intervals), none, none, none, conducted, conducted).shortest

    assert of(conducted) == 300
    assert of(conducted[::-1], (350.0, 300.0, 250.0, 200.0)) == 300
    assert of(conducted | True) == 200
    assert np.isnan(of(np.array([True, True, True, False])))
    assert of(np.array([[True, False], [True, True], [True, True], [True, True]])) == 250


@pytest.mark.slow
def test_block_before_tissue_that_recovers_late_is_told_from_capture():
    """Cells of the far half recover slowly: a wave at 30 is captured and stops there; one at 80 passes."""
    late = np.where(np.arange(60) < 30, 0.2, 0.05)
    cable = CABLE.replace(cell=CELL.replace(mu1=jnp.asarray(late)))
    found = restitution(cable, [80.0, 30.0], cycle_length=80.0, beats=3, place=(10,), **PULSE)
    np.testing.assert_array_equal(found.captured, [True, True])
    np.testing.assert_array_equal(found.conducted, [True, False])
    assert np.isfinite(found.apd).all()  # at the place, before the block
    assert np.isnan(found.velocity[1])
    assert found.shortest == 80.0


@pytest.mark.slow
def test_dynamic_beats_are_those_of_one_long_run_and_half_of_them_in_two_to_one_block():
    found = dynamic_restitution(CABLE, [40.0, 16.0], beats=4, **PULSE)
    pulses = jc.protocols.PulseTrain(amplitude=-0.5, duration=2.0, period=40.0)
    run = simulate(CABLE, [Stimulus(pulses, np.s_[:6])], t1=160.0, dt=0.1, save_every=160.0, beats=4)
    rise, fall = run.activation_times[:, 30], run.repolarisation_times[:, 30]
    for column, beat in enumerate((2, 3)):
        speed = conduction_velocity(run, (15,), (45,), beat=beat)
        assert found.velocity[0, column] == pytest.approx(speed, rel=1e-6)
        assert found.apd[0, column] == pytest.approx(fall[beat] - rise[beat], rel=1e-3)
        assert found.diastolic_interval[0, column] == pytest.approx(rise[beat] - fall[beat - 1], rel=1e-3)
    assert sorted(found.conducted[1]) == [False, True]
    assert found.shortest == 40.0


@pytest.mark.slow
def test_behind_no_wave_the_s2_is_faster(curve):
    """S1 given to a cell alone: all cells have had the same time when the S2 comes, and more the further it runs."""
    alone = restitution(CABLE, [30.0], cycle_length=80.0, beats=3, s1="cell", **PULSE)
    assert alone.velocity[0] > curve.velocity[0]
    assert alone.diastolic_interval[0] > curve.diastolic_interval[0]


@pytest.mark.slow
def test_prepaced_cells_are_copied_in():
    """As by hand: one cell paced by `jc.simulate`, its state given to the tissue."""
    train = jc.protocols.PulseTrain(amplitude=-0.25, duration=2.0, period=40.0)
    paced = jc.simulate(CELL, train, t1=120.0, dt=0.1, save_every=120.0).final_state
    options = {"cycle_length": 40.0, "beats": 1, **PULSE}
    by_hand = restitution(CABLE, [30.0], y0=paced, **options)
    asked = restitution(CABLE, [30.0], prepaced=3, **options)
    for a, b in zip(asked, by_hand, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3)


@pytest.mark.slow
def test_a_run_that_begins_on_a_plateau_sees_its_next_beat():
    pulses = jc.protocols.PulseTrain(amplitude=-0.5, duration=2.0, period=50.0)
    start = simulate(CABLE, [Stimulus(pulses)], t1=8.0, dt=0.1)
    assert (start.V[-1] > start.threshold).all()
    run = simulate(CABLE, [Stimulus(pulses)], t0=8.0, t1=90.0, dt=0.1, y0=start.final_state)
    np.testing.assert_array_equal(run.activations, 1)
    assert ((run.activation_time > 50) & (run.activation_time < 52)).all()
    assert np.isfinite(run.apd).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"intervals": [30.0, 1.0]}, r"intervals = \[30\.0, 1\.0\] ms; allowed: each > duration = 2\.0 ms"),
        ({"intervals": []}, "intervals"),
        ({"cycle_length": 2.0}, r"cycle_length = 2\.0 ms; allowed: > duration = 2\.0 ms"),
        ({"amplitude": 0.5}, r"amplitude = 0\.5 pA/pF; allowed: < 0"),
        ({"cell_amplitude": 0.5}, r"cell_amplitude = 0\.5 pA/pF; allowed: < 0"),
        ({"duration": 0.0}, r"duration = 0\.0 ms; allowed: > 0"),
        ({"beats": 0}, "beats = 0 S1 stimuli; allowed: a whole number >= 1"),
        ({"prepaced": -1}, "prepaced = -1 beats; allowed: a whole number >= 0"),
        ({"prepaced": 1, "y0": CELL.initial_state()}, "prepaced = 1 beats; allowed: 0 where y0 is given"),
        ({"s1": "both"}, "s1 = 'both'; allowed: 'tissue', 'cell'"),
        ({"start": (60,)}, r"start = \(60,\); allowed: an index of the grid \(60,\)"),
        ({"stop": (15,)}, r"stop = \(15,\); allowed: another cell than start = \(15,\)"),
        ({"place": (0, 1)}, r"place = \(0, 1\); allowed: an index of the grid"),
    ],
)
def test_what_is_no_protocol_is_refused(change, message):
    given: dict[str, Any] = {"intervals": [30.0], "cycle_length": 80.0, **PULSE, **change}
    with pytest.raises(ValueError, match=message):
        restitution(CABLE, **given)


def test_a_dynamic_protocol_descends_and_cells_alone_are_of_one_kind():
    with pytest.raises(ValueError, match=r"cycle_lengths = \[40\.0, 60\.0\] ms; allowed: descending"):
        dynamic_restitution(CABLE, [40.0, 60.0], **PULSE)
    with pytest.raises(ValueError, match="beats = 2 stimuli at each cycle length; allowed: a whole number >= 3"):
        dynamic_restitution(CABLE, [60.0, 40.0], beats=2, **PULSE)
    mixed = CABLE.replace(cell=CELL.replace(a=jnp.linspace(0.1, 0.15, 60)))
    with pytest.raises(
        ValueError, match="s1 = 'cell'; allowed: in tissue of several kinds of cell none is paced alone"
    ):
        restitution(mixed, [30.0], cycle_length=80.0, s1="cell", **PULSE)


OPENCARP = {
    0.09125: {500: 0.5033, 450: 0.4934, 400: 0.4729, 375: 0.4549, 350: 0.4274, 325: 0.3834, 300: 0.3169, 275: None},
    0.365: {500: 0.9067, 450: 0.8881, 400: 0.8493, 375: 0.8147, 350: 0.7608, 325: 0.6707, 300: None},
    0.5475: {500: 1.0529, 450: 1.0312, 400: 0.9861, 375: 0.9470, 350: None},
}
"""CV, m/s, by intracellular conductivity, S/m, and S1-S2 interval, ms: the stored results of openCARP's tutorial on CV
restitution; None is block."""
ORIGINAL_START = {
    **dict(V=-86.2, Xr1=0.0, Xr2=1.0, Xs=0.0, m=0.0, h=0.75, j=0.75, d=0.0, f=1.0, f2=1.0, fCass=1.0, s=1.0, r=0.0),
    **dict(Ca_i=7e-5, R_prime=1.0, Ca_SR=1.3, Ca_ss=7e-5, Na_i=7.67, K_i=138.3),
}
"""Where the authors' own program of the 2006 model begins, and openCARP with it."""


@pytest.mark.slow
@pytest.mark.parametrize("conductivity", OPENCARP)
def test_openCARP_restitution_of_cv(conductivity):
    """1 cm, five S1 at 500 ms to a cell alone, its state copied in: CV within 3 % at every interval, at 0.05 mm.

    At openCARP's own 0.1 mm finite volumes are 5.5 % slower in the slowest cable: a mesh error, of the opposite sign in
    its finite elements. The S2's strength is not published. It decides which of the two faster cables captures at 300
    and 350 ms, as their tissue conducts there when it is driven harder; the first matches for all strengths.
    """
    column = OPENCARP[conductivity]
    D = diffusivity_of(monodomain_conductivity(conductivity, 1.3111))
    cell = jc.models.TenTusscherPanfilov2006()
    start = jax.tree.map(jnp.asarray, type(cell.initial_state())(**ORIGINAL_START))
    found = restitution(
        Tissue(cell, (200,), 0.05, D),
        list(column),
        cycle_length=500.0,
        amplitude=-192.0,
        duration=1.0,
        cell_amplitude=-60.0,
        region=np.s_[:2],
        s1="cell",
        y0=start,
        start=(50,),
        stop=(150,),
        dt=0.02,
        diffusion="implicit",
    )
    for k, velocity in enumerate(column.values()):
        if velocity is not None:
            assert found.velocity[k] == pytest.approx(velocity, rel=0.03)
    assert found.shortest == min(interval for interval, velocity in column.items() if velocity)
