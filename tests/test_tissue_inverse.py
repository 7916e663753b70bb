"""Claims about what is found from the speed of waves: the conductivity that gives a speed, and that of each region."""

import jax.numpy as jnp
import numpy as np
import pytest

import jaxcardio as jc
from jaxcardio.tissue import Stimulus, Tissue, conductivity_for, fit_conductivity, simulate

MEDIUM = jc.models.AlievPanfilov1996()
KICK = jc.protocols.PulseTrain(-0.5, 2.0, 1000.0, 0.0)


def speed(cell, D, dx, dt, pulse, y0=None, mm=24.0, t1=80.0, **how):
    """CV of a plane wave along a cable of its own, from a line through the activation times of its second half."""
    cable = Tissue(cell, (round(mm / dx),), dx, D)
    run = simulate(cable, [Stimulus(pulse, np.s_[: round(2.0 / dx)])], t1=t1, dt=dt, save_every=t1, y0=y0, **how)
    x, T = cable.centres()[0], np.asarray(run.activation_time)
    chosen = (x > 0.5 * mm) & (x < 0.85 * mm)
    return float(1 / np.polyfit(x[chosen], T[chosen], 1)[0])


@pytest.mark.slow
def test_a_wave_has_the_wanted_speed_on_a_cable_of_another_length_and_stimulus():
    found = conductivity_for(MEDIUM, cv=0.6, dx=0.1)
    assert found.runs < 10
    assert found.cv == pytest.approx(0.6, rel=1e-3)
    again = speed(MEDIUM, found.diffusivity, 0.1, found.dt, jc.protocols.PulseTrain(-1.0, 1.0, 1000.0, 3.0))
    assert again == pytest.approx(0.6, rel=5e-3)
    assert found.conductivity == pytest.approx(float(jc.tissue.conductivity_of(found.diffusivity)), rel=1e-12)


@pytest.mark.slow
def test_the_speed_of_a_cubic_wave_is_that_of_its_closed_form():
    """Without recovery, u' = D u_xx + k u (u - a)(1 - u) has a front of speed sqrt(D k / 2) (1 - 2 a)."""
    front = MEDIUM.replace(eps0=0.0, mu1=0.0)
    found = conductivity_for(front, cv=0.8, dx=0.05, stimulus=KICK)
    exact = (0.8 / (1 - 2 * 0.15)) ** 2 * 2 / 8.0
    assert found.diffusivity == pytest.approx(exact, rel=0.01)
    assert found.exponent == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (dict(cv=0.6, dx=1.5), r"dx = 1.5 mm; allowed: dx up to about 0\.\d+ mm for a wave of 0.6 mm/ms"),
        (dict(cv=-0.6), r"cv = -0.6 mm/ms; allowed: > 0, finite"),
        (dict(cv=600.0), r"cv = 600.0 m/s; allowed: where a cable of 60 D / CV, \d+ cells of 0.1 mm, has at most 4000"),
        (dict(threshold=-0.1), r"threshold = -0.1 1; allowed: above the V of y0, 0"),
        (dict(dt=0.2), r"dt = 0.2 ms; allowed with explicit diffusion of .* dt <= "),
    ],
)
def test_what_cannot_be_had_is_refused_by_name(wanted, message):
    with pytest.raises(ValueError, match=message):
        conductivity_for(MEDIUM, **wanted)


def test_a_cell_that_conducts_no_wave_is_refused():
    with pytest.raises(ValueError, match=r"cell: no wave of it ran through 180 cells"):
        conductivity_for(MEDIUM.replace(a=0.6))


def two_regions(shape, D):
    regions = np.zeros(shape, int)
    regions[..., shape[-1] // 2 :] = 1
    return regions, jnp.asarray(D)[regions]


def left(shape):
    """The first four cells along x."""
    return np.broadcast_to(np.arange(shape[-1]) < 4, shape)


def measured(shape, D, noise=0.0, seed=0, t1=60.0, cell: jc.AbstractCell = MEDIUM, kick=KICK):
    regions, of_cell = two_regions(shape, D)
    stimuli = [Stimulus(kick, left(shape))]
    times = np.asarray(simulate(Tissue(cell, shape, 0.1, of_cell), stimuli, t1=t1, save_every=t1).activation_time)
    assert np.isfinite(times).all()
    times = np.maximum(times + noise * np.random.default_rng(seed).standard_normal(shape), 0)
    return regions, stimuli, times


@pytest.mark.slow
def test_the_conductivities_of_two_regions_are_recovered_from_a_start_half_off():
    D = np.array([0.2, 0.1])
    regions, stimuli, times = measured((60,), D)
    times[::3] = np.nan  # not measured
    fit = fit_conductivity(Tissue(MEDIUM, (60,), 0.1, 0.075), stimuli, times, regions)
    assert fit.converged
    assert fit.runs < 12
    np.testing.assert_allclose(fit.diffusivity, D, rtol=1e-3)
    np.testing.assert_allclose(fit.tissue.diffusivity, D[regions], rtol=1e-3)
    assert np.nanmax(np.abs(fit.residual)) < 1e-3
    np.testing.assert_array_equal(np.isnan(fit.residual), np.isnan(times))


@pytest.mark.slow
def test_noise_of_a_tenth_of_a_ms_is_fitted_within_its_own_standard_errors():
    """A sheet of ten Tusscher's cells."""
    cell, pulse = jc.models.TenTusscher2004(), jc.protocols.PulseTrain(-55.0, 2.0, 1000.0, 0.0)
    D = np.array([0.154, 0.08])
    regions, stimuli, times = measured((6, 80), D, noise=0.1, t1=40.0, cell=cell, kick=pulse)
    for start in (0.5, 1.5):
        tissue = Tissue(cell, (6, 80), 0.1, start * 0.154)
        fit = fit_conductivity(tissue, stimuli, times, regions, noise=0.1)
        assert fit.converged
        np.testing.assert_allclose(fit.diffusivity, D, rtol=0.03)
        assert (np.abs(fit.diffusivity / D - 1) < 4 * fit.relative_error).all()
        assert np.nanstd(fit.residual) == pytest.approx(0.1, rel=0.15)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(activation_time=np.zeros(5)), r"activation_time = 'shape \(5,\)'; allowed: the grid's shape \(30,\)"),
        (dict(activation_time=np.full(30, np.nan)), "activation_time = 'NaN everywhere' ms; allowed: measured"),
        (
            dict(regions=np.r_[np.zeros(15, int), np.full(15, 2)]),
            r"regions = \[0 2\]; allowed: whole numbers 0, 1, ...",
        ),
        (dict(activation_time=np.r_[np.ones(15), np.full(15, np.nan)]), "regions = 'region 1 without a measured cell'"),
        (dict(tissue=Tissue(MEDIUM, (30,), 0.1, np.full(30, 0.1))), r"tissue.diffusivity = 'shape \(30,\)' mm\^2/ms"),
        (dict(t1=1.0), r"of 30 measured cells are not activated by t1 = 1 ms; allowed: a start with"),
    ],
)
def test_what_cannot_be_fitted_is_refused_by_name(change, message):
    regions, _ = two_regions((30,), [0.1, 0.1])
    stimuli = [Stimulus(KICK, np.s_[:4])]
    given = dict(tissue=Tissue(MEDIUM, (30,), 0.1, 0.1), activation_time=np.ones(30), regions=regions) | change
    with pytest.raises(ValueError, match=message):
        fit_conductivity(stimuli=stimuli, **given)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["TenTusscher2004", "KernikClancy2019", "Skibsbye2016"])
def test_ionic_cells_get_the_wanted_speed_in_few_runs(name):
    cell = getattr(jc.models, name)()
    found = conductivity_for(cell, cv=0.6, dx=0.1)
    assert found.runs < 10
    again = speed(cell, found.diffusivity, 0.1, found.dt, jc.protocols.PulseTrain(-60.0, 2.0, 1000.0, 0.0), y0=found.y0)
    assert again == pytest.approx(0.6, rel=5e-3)
