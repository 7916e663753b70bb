"""The small numerical pieces, against numpy and their own series."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcardio.numerics import log, nernst, of_one_variable, x_over_expm1
from jaxcardio.relaxation import Relaxation


def test_log_is_that_of_numpy_over_all_concentrations():
    x = np.geomspace(1e-30, 1e30, 20_001)
    error = np.abs(log(jnp.asarray(x)) - np.log(x)) / np.maximum(1, np.abs(np.log(x)))
    assert error.max() < 5e-16
    near_one = 1 + np.linspace(-1e-3, 1e-3, 2001)
    np.testing.assert_allclose(log(jnp.asarray(near_one)), np.log(near_one), rtol=0, atol=3e-16)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_differentiates_both_ways_and_keeps_the_dtype(dtype):
    x = jnp.asarray([1e-4, 0.2, 138.0], dtype)
    assert log(x).dtype == x.dtype
    _, forward = jax.jvp(log, (x,), (jnp.ones_like(x),))
    reverse = jax.grad(lambda x: log(x).sum())(x)
    np.testing.assert_allclose(forward, 1 / x, rtol=1e-6)
    np.testing.assert_allclose(reverse, forward, rtol=1e-6)


def test_the_logarithm_of_no_ion_is_not_a_number_to_go_on_with():
    assert not np.isfinite(log(jnp.asarray([0.0, -1.0]))).any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_number_takes_the_dtype_of_what_it_meets(dtype):
    """A model of one's own may write a bath concentration as 140.0."""
    inside = jnp.asarray(10.0, dtype)
    found = nernst(1, inside, 140.0, 26.7)
    assert found.dtype == inside.dtype
    assert found == pytest.approx(26.7 * np.log(14.0), rel=1e-6)
    assert log(140.0) == pytest.approx(np.log(140.0), rel=1e-15)


def test_reversal_potential_vanishes_between_equal_concentrations():
    assert abs(nernst(2, jnp.asarray(2.0), jnp.asarray(2.0), 26.7)) < 1e-14


@pytest.mark.parametrize(("dtype", "bound"), [("float64", 2e-15), ("float32", 6e-7)])
def test_x_over_expm1_is_smooth_across_the_change_of_formula(dtype, bound):
    x = np.concatenate([np.linspace(-0.31, 0.31, 2000), np.linspace(-20, 20, 2001)])
    x = x[x != 0].astype(dtype).astype(float)
    exact = x / np.expm1(x)
    assert np.abs(np.asarray(x_over_expm1(jnp.asarray(x, dtype)), float) / exact - 1).max() < bound
    slope = jax.vmap(jax.grad(x_over_expm1))(jnp.asarray([0.0, 0.2999999, 0.3000001, -0.3], dtype))
    known = [-0.5, *((np.expm1(u) - u * np.exp(u)) / np.expm1(u) ** 2 for u in (0.3, 0.3, -0.3))]
    np.testing.assert_allclose(slope, known, atol=30 * bound)


@pytest.mark.parametrize(("dtype", "bound", "least"), [("float64", 1e-14, 1e-280), ("float32", 3e-6, 1e-30)])
def test_x_over_expm1_and_its_slope_are_right_and_finite_everywhere(dtype, bound, least):
    """From below -700 to above 700, where exp(x) overflows in either precision; compared where floats can hold it."""
    x = np.concatenate([np.linspace(-750, 750, 30_001), np.linspace(-90, 90, 3_001), np.linspace(-1, 1, 2_001)])
    x = x.astype(dtype)
    value, slope = (np.asarray(y, float) for y in jax.vmap(jax.value_and_grad(x_over_expm1))(jnp.asarray(x)))
    bend = jax.vmap(jax.grad(jax.grad(x_over_expm1)))(jnp.asarray(x))
    assert np.isfinite(value).all() and np.isfinite(slope).all() and np.isfinite(bend).all()
    z = np.where(x == 0, 1.0, x.astype(float))
    falling, rest = np.exp(-np.abs(z)), -np.expm1(-np.abs(z))
    true = np.abs(z) * np.where(z > 0, falling, 1.0) / rest
    slopes = np.where(z > 0, falling * (rest - z), -rest - z * falling) / rest**2
    far = (np.abs(x) > 0.3) & (true > least) & (np.abs(slopes) > least)
    assert np.abs(value[far] / true[far] - 1).max() < bound
    assert np.abs(slope[far] / slopes[far] - 1).max() < bound


def test_a_relaxation_is_the_same_by_its_time_constant_and_by_its_rate():
    slow, fast = Relaxation(0.3, tau=4.0), Relaxation(0.3, rate=0.25)
    assert slow.tau == fast.tau == 4.0
    assert slow.increment(0.1, 1.0) == fast.increment(0.1, 1.0)
    assert slow.derivative(0.1) == fast.derivative(0.1) == pytest.approx(0.05)


def test_a_relaxation_needs_one_of_them():
    for given in ({}, dict(tau=1.0, rate=1.0)):
        with pytest.raises(TypeError, match=r"either tau \(ms\) or rate \(1/ms\)"):
            Relaxation(0.5, **given)


def _gate(V):
    return Relaxation(jax.nn.sigmoid(V / 7), rate=1 + jnp.exp(-V / 20) ** 2)


def test_a_function_of_one_variable_has_the_values_and_derivatives_of_the_plain_one():
    V = jnp.linspace(-100.0, 60.0, 9)
    for derive in (lambda f: f, jax.jacfwd, jax.jacrev, lambda f: jax.jacfwd(jax.jacrev(f))):
        found, plain = (jax.vmap(derive(f))(V) for f in (of_one_variable(_gate), _gate))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-13), found, plain)


def test_many_tangents_cost_a_function_of_one_variable_one_product_each():
    V, directions = jnp.linspace(-100.0, 60.0, 9), jnp.ones((5, 9))

    def mapped(function):
        """Primitives of the program that handle all five tangents."""
        along = jax.vmap(lambda d: jax.jvp(function, (V,), (d,))[1])
        equations = jax.make_jaxpr(along)(directions).jaxpr.eqns
        return [e.primitive.name for e in equations if e.outvars[0].aval.shape == (5, 9)]

    assert mapped(of_one_variable(_gate)) == ["mul", "mul"]  # of the steady state, and of the rate
    assert len(mapped(_gate)) > 4
