"""Refinement: the closed-form posterior where the problem is linear; truth, noise and blindness where it is a cell."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcardio as jc
from jaxcardio.twin import Experiment, profile, refine, windows_of

SHORT = jc.protocols.VoltageSteps([-100.0, -20.0, 30.0, -60.0, -120.0], [60.0, 40.0, 60.0, 60.0, 60.0])


class Linear:
    """current = A x: the posterior is known."""

    def __init__(self, windows=40, parameters=3, seed=0):
        self.A = jnp.asarray(np.random.default_rng(seed).standard_normal((windows, parameters)))

    def current(self, x):
        return self.A @ x

    def linearised(self, x):
        return x @ self.A.T, jnp.broadcast_to(self.A, (*x.shape[:-1], *self.A.shape))


def test_a_linear_problem_has_its_closed_form_posterior():
    problem, random = Linear(), np.random.default_rng(1)
    noise, prior_mean, prior_sd = np.full(40, 0.3), np.array([0.1, 0.0, -0.2]), np.array([0.5, 1.0, 2.0])
    truth = prior_mean + prior_sd * random.standard_normal((5, 3))
    observed = np.asarray(truth @ problem.A.T) + noise * random.standard_normal((5, 40))
    found = refine(problem, observed, noise, np.zeros((5, 2, 3)), prior_mean, prior_sd)
    A = np.asarray(problem.A)
    precision = A.T @ A / 0.3**2 + np.diag(prior_sd**-2)
    expected = np.linalg.solve(precision, (observed @ A / 0.3**2 + prior_mean / prior_sd**2).T).T
    assert found.mean == pytest.approx(expected, abs=1e-4)
    assert found.covariance == pytest.approx(np.broadcast_to(np.linalg.inv(precision), (5, 3, 3)), rel=1e-9)
    assert found.converged.all()
    assert (np.diff(found.information, axis=1) <= 0).all()


def test_the_posterior_is_calibrated_on_a_linear_problem():
    problem, random = Linear(windows=6, parameters=4), np.random.default_rng(2)
    truth = random.standard_normal((400, 4))
    observed = np.asarray(truth @ problem.A.T) + random.standard_normal((400, 6))
    found = refine(problem, observed, np.ones(6), np.zeros((400, 1, 4)), np.zeros(4), np.ones(4))
    assert ((found.mean - truth) / found.sd).std() == pytest.approx(1.0, abs=0.05)
    assert found.chi2.mean() < 1.0  # what the parameters have taken up of the noise


def test_the_profile_of_a_linear_problem_is_its_parabola():
    problem, prior_mean, prior_sd = Linear(), np.array([0.1, 0.0, -0.2]), np.array([0.5, 1.0, 2.0])
    observed, noise = np.asarray(problem.A @ jnp.array([0.3, -1.0, 1.0])) + 0.1, np.full(40, 0.3)
    found = refine(problem, observed[None], noise, np.zeros((1, 1, 3)), prior_mean, prior_sd)
    for direction in (0, 2):
        seen = profile(problem, observed, noise, found, prior_mean, prior_sd, direction=direction)
        assert seen.cost == pytest.approx(seen.laplace, rel=1e-4)
    with pytest.raises(ValueError, match="direction = 3"):
        profile(problem, observed, noise, found, prior_mean, prior_sd, direction=3)


@functools.cache
def refined(cells=4, spread=0.2):
    experiment = Experiment(SHORT, windows_of(SHORT, 280.0))
    theta = jc.population.Uniform(spread).factors(experiment.names, seed=3, indices=np.arange(cells)) - 1
    noise = 0.05 / np.sqrt(experiment.windows.counts)
    clean = np.asarray(experiment.current(jnp.asarray(theta)))
    observed = clean + noise * np.random.default_rng(0).standard_normal(clean.shape)
    starts, prior_sd = np.zeros((cells, 1, 52)), np.full(52, spread / np.sqrt(3))
    return experiment, theta, refine(experiment, observed, noise, starts, np.zeros(52), prior_sd), prior_sd


@pytest.mark.slow  # compiles for half a minute
def test_cells_are_found_to_within_their_uncertainty():
    _, theta, found, prior_sd = refined()
    wrong = found.mean - theta
    assert found.converged.all()
    assert found.chi2 == pytest.approx(np.ones(4), abs=0.2)
    assert 0.7 < (wrong / found.sd).std() < 1.4
    well_known = found.sd < 0.3 * prior_sd
    assert well_known.mean() > 0.1
    assert np.abs(wrong[well_known]).mean() < 0.03  # the prior's: 0.1


@pytest.mark.slow  # compiles for half a minute
def test_what_no_recording_can_see_is_named():
    """I_K1 uses five shape parameters through two numbers, and Xs_2 (67 V) is a constant: four null directions."""
    experiment, _, found, prior_sd = refined()
    assert (found.information[:, -4:] < 0.05).all()
    assert found.sd[:, experiment.names.index("Xs_2")] == pytest.approx(np.full(4, prior_sd[0]), rel=1e-3)
    shape = [experiment.names.index(f"K1_{k}") for k in range(1, 6)]
    largest = np.linalg.eigvalsh(found.covariance[:, shape][:, :, shape])[:, -3:]
    assert largest == pytest.approx(np.full((4, 3), prior_sd[0] ** 2), rel=1e-3)


@pytest.mark.slow  # compiles for half a minute
def test_the_jacobian_agrees_with_differences():
    experiment = refined()[0]
    theta = jnp.asarray(0.1 * np.random.default_rng(5).standard_normal((4, 52)))
    jacobian = np.asarray(experiment.linearised(theta)[1])
    for name in ("Na_g", "Xr1_6", "CaL_p", "K1_4"):
        k = experiment.names.index(name)
        above, below = (experiment.linearised(theta.at[:, k].add(step))[0] for step in (1e-5, -1e-5))
        slope = np.asarray(above - below) / 2e-5
        assert np.abs(slope - jacobian[..., k]).max() < 1e-4 * np.abs(slope).max(), name


def test_float32_is_refused():
    with jax.enable_x64(False), pytest.raises(ValueError, match="allowed: float64"):
        refine(Linear(), np.zeros((1, 40)), np.ones(40), np.zeros((1, 1, 3)), np.zeros(3), np.ones(3))


def test_shapes_that_do_not_belong_together_are_refused():
    with pytest.raises(ValueError, match=r"observed: shape \(2, 40\); allowed: 3 cells"):
        refine(Linear(), np.zeros((2, 40)), np.ones(40), np.zeros((3, 1, 3)), np.zeros(3), np.ones(3))
