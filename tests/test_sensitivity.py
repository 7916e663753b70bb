"""Claims about the derivatives that the helper gives: each mode, each shape of population, and what it refuses."""

import importlib
import json
from pathlib import Path
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES

import jaxcardio as jc
from jaxcardio.simulation import sensitivity

CELL, PACING, _, _ = CASES["aliev_panfilov"]
CELLS = CELL.replace(k=[7.0, 8.0, 9.0], mu1=[0.18, 0.2, 0.22])
NAMES = ("k", "a", "mu1")
FIXED: dict[str, Any] = dict(solver=jc.RushLarsen2(), dt=0.05)


def _u(cell, **how):
    return jc.simulate(cell, PACING, t1=20.0, **(how or FIXED)).ys.u


def _mean_u(cell, **how):
    return jnp.mean(_u(cell, **how), axis=-1)


def _difference(function, cell, name, h=1e-5):
    """Central difference of function(cell), every cell's own value of the parameter moved at once."""
    x = cell.parameters()[name].value
    rise = function(cell.replace(**{name: x + h * x})) - function(cell.replace(**{name: x - h * x}))
    return rise / jnp.reshape(2 * h * x, (-1,) + (1,) * (rise.ndim - 1) if x.ndim else (1,) * rise.ndim)


def _same(got, expected, rtol):
    assert set(got) == set(expected)
    for name in expected:
        assert jnp.shape(got[name]) == jnp.shape(expected[name]), name
        np.testing.assert_allclose(got[name], expected[name], rtol=rtol, atol=1e-12, err_msg=name)


@pytest.mark.slow
def test_forward_reverse_and_central_differences_agree_through_an_upstroke():
    """Two ten Tusscher cells under a stimulus: parameters of their own, and a shared one."""
    cell, pacing, _, _ = CASES["ten_tusscher"]
    cells = cell.replace(g_Na=cell.g_Na * jnp.array([0.9, 1.1]), g_to=cell.g_to * jnp.array([1.2, 0.8]))

    def loss(cells):
        trace = jc.simulate(cells, pacing, t1=40.0, solver=jc.RushLarsen2(), dt=0.05, save_every=2.0, outputs=["V"])
        return jnp.mean(trace.V, axis=-1)

    names = ("g_to", "g_CaL", "g_Na")
    value, forward = jc.value_and_gradient(loss, cells, names, mode="forward")
    again, reverse = jc.value_and_gradient(loss, cells, names, mode="reverse")
    np.testing.assert_allclose(value, loss(cells), rtol=1e-12)
    np.testing.assert_allclose(again, value, rtol=1e-12)
    _same(forward, reverse, rtol=1e-8)
    numeric = {n: _difference(loss, cells, n, h=1e-6) for n in names}
    _same(forward, numeric | {"g_CaL": jnp.sum(numeric["g_CaL"])}, rtol=1e-5)


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_each_cell_has_the_gradient_it_has_alone(mode):
    value, gradient = jc.value_and_gradient(_mean_u, CELLS, ("k", "mu1"), mode=mode)
    for i in range(3):
        alone = CELL.replace(k=CELLS.k[i], mu1=CELLS.mu1[i])
        own_value, own = jc.value_and_gradient(_mean_u, alone, ("k", "mu1"), mode=mode)
        assert value[i] == pytest.approx(float(own_value), rel=1e-12)
        _same({n: g[i] for n, g in gradient.items()}, own, rtol=1e-9)


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_neighbours_are_not_seen_even_where_they_fail(mode):
    _, gradient = jc.value_and_gradient(_mean_u, CELLS, ("k",), mode=mode)
    _, beside = jc.value_and_gradient(_mean_u, CELLS.replace(k=[7.0, np.nan, 9.0]), ("k",), mode=mode)
    assert np.isnan(beside["k"][1])
    np.testing.assert_array_equal(beside["k"][jnp.array([0, 2])], gradient["k"][jnp.array([0, 2])])


@pytest.mark.parametrize("mode", ["forward", "reverse"])
def test_a_shared_parameter_has_the_gradient_of_the_sum(mode):
    _, shared = jc.value_and_gradient(_mean_u, CELLS, ("a",), mode=mode)
    _, own = jc.value_and_gradient(_mean_u, CELLS.replace(a=jnp.full(3, CELL.a)), ("a",), mode=mode)
    assert shared["a"].shape == ()
    assert shared["a"] == pytest.approx(float(jnp.sum(own["a"])), rel=1e-10)


def test_one_loss_of_a_whole_population_has_a_derivative_for_every_cell():
    """Reverse is chosen, and cells may be coupled by the loss."""

    def spread(cells):
        return jnp.var(_mean_u(cells))

    value, gradient = jc.value_and_gradient(spread, CELLS, NAMES)
    expected = jax.jit(jax.grad(spread))(CELLS)
    assert value == pytest.approx(float(spread(CELLS)), rel=1e-12)
    _same(gradient, {n: getattr(expected, n) for n in NAMES}, rtol=1e-9)
    with pytest.raises(ValueError, match=r"mode = 'forward'.*k, mu1.*mode='reverse'"):
        jc.value_and_gradient(spread, CELLS, NAMES, mode="forward")
    _, shared = jc.value_and_gradient(spread, CELLS, ("a",), mode="forward")
    assert shared["a"] == pytest.approx(float(expected.a), rel=1e-9)


def test_sensitivities_are_the_derivatives_of_every_sample():
    """Of a tree of outputs; their mean over time is the gradient of the mean, and differences agree."""
    outputs, slopes = jc.value_and_sensitivities(lambda c: {"u": _u(c), "end": _u(c)[..., -1]}, CELLS, NAMES)
    np.testing.assert_allclose(outputs["u"], _u(CELLS), rtol=1e-12)
    _, gradient = jc.value_and_gradient(_mean_u, CELLS, NAMES)
    for name in NAMES:
        assert jax.tree.map(jnp.shape, slopes[name]) == jax.tree.map(jnp.shape, outputs)
        np.testing.assert_allclose(slopes[name]["u"], _difference(_u, CELLS, name), rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(slopes[name]["end"], slopes[name]["u"][:, -1], rtol=1e-12)
        mean = jnp.mean(slopes[name]["u"], axis=-1)
        np.testing.assert_allclose(mean if gradient[name].shape else jnp.sum(mean), gradient[name], rtol=1e-9)


def test_one_cell_has_sensitivities_of_any_shape():
    value, slopes = jc.value_and_sensitivities(lambda c: (_u(c), c.k * c.a), CELL, ("k",))
    assert slopes["k"][0].shape == value[0].shape
    assert slopes["k"][1] == pytest.approx(float(CELL.a))


def test_under_jit_the_helper_gives_the_same():
    @jax.jit
    def both(k):
        cells = CELL.replace(k=k)
        return jc.value_and_gradient(_mean_u, cells, ("k", "a")), jc.value_and_sensitivities(_u, cells, ("k",))[1]

    (value, gradient), slopes = both(CELLS.k)
    cells = CELL.replace(k=CELLS.k)
    expected = jc.value_and_gradient(_mean_u, cells, ("k", "a"))
    np.testing.assert_allclose(value, expected[0], rtol=1e-12)
    _same(gradient, expected[1], rtol=1e-10)
    np.testing.assert_allclose(slopes["k"], jc.value_and_sensitivities(_u, cells, ("k",))[1]["k"], rtol=1e-10)


@pytest.mark.slow
def test_adaptive_runs_in_the_mode_of_their_adjoint():
    how: dict[str, Any] = dict(solver=jc.RushLarsen2(), rtol=1e-6)
    _, reverse = jc.value_and_gradient(lambda c: _mean_u(c, **how), CELL, ("k", "a"), mode="reverse")
    _, forward = jc.value_and_gradient(lambda c: _mean_u(c, adjoint=diffrax.ForwardMode(), **how), CELL, ("k", "a"))
    _same(forward, reverse, rtol=1e-6)


def test_the_mode_is_chosen_by_the_number_of_parameters(monkeypatch):
    """Forward mode alone can pass a while loop, reverse mode alone a function that has only a vjp."""

    def forward_only(cell):
        return jax.lax.while_loop(lambda x: x[0] < 3, lambda x: (x[0] + 1, x[1] * cell.k), (0, cell.a))[1]

    @jax.custom_vjp
    def product(k, a):
        return k * a

    product.defvjp(lambda k, a: (k * a, (k, a)), lambda kept, g: (g * kept[1], g * kept[0]))

    monkeypatch.setattr(sensitivity, "FORWARD_LIMIT", 2)
    _, two = jc.value_and_gradient(forward_only, CELL, ("k", "a"))
    assert two["a"] == pytest.approx(float(CELL.k) ** 3)
    _, three = jc.value_and_gradient(lambda c: product(c.k, c.a), CELL, NAMES)
    _same(three, {"k": CELL.a, "a": CELL.k, "mu1": jnp.zeros(())}, rtol=1e-12)
    with pytest.raises(ValueError, match="Reverse-mode differentiation does not work"):
        jc.value_and_gradient(forward_only, CELL, NAMES)


@pytest.mark.parametrize(
    ("cell", "loss", "how", "message"),
    [
        (CELL, _mean_u, dict(names=["mu"]), r"no parameter named 'mu'; did you mean mu"),
        (CELL, _mean_u, dict(names="k"), r"names = 'k'; allowed: a list"),
        (CELL, _mean_u, dict(names=[]), r"names = \[\]; allowed: a list"),
        (CELL, _mean_u, dict(names=["k", "k"]), r"allowed: a list of different names"),
        (CELL, _mean_u, dict(names=["k"], mode="backward"), r"mode = 'backward'; allowed: 'forward', 'reverse'"),
        (CELL, _u, dict(names=["k"]), r"loss: expected a number, got shape \(21,\).*value_and_sensitivities"),
        (CELLS, _u, dict(names=["k"]), r"or one a cell: shape \(3,\), got shape \(3, 21\)"),
        (CELL, lambda c: (c.k, c.a), dict(names=["k"]), r"loss: expected a number, got tuple"),
        (CELL, lambda c: jnp.sum(_u(c) > 0.5), dict(names=["k"]), r"loss: dtype int64 has no derivative"),
        (CELL, lambda c: jc.models, dict(names=["k"]), r"loss: expected floating-point arrays, got module"),
    ],
)
def test_what_value_and_gradient_refuses(cell, loss, how, message):
    with pytest.raises(ValueError, match=message):
        jc.value_and_gradient(loss, cell, **how)


def test_what_value_and_sensitivities_refuses():
    with pytest.raises(ValueError, match=r"outputs\['status'\]: dtype int32 has no derivative"):
        jc.value_and_sensitivities(
            lambda c: {"status": jc.simulate(c, PACING, t1=1.0, dt=0.05).status, "u": c.k}, CELL, ["k"]
        )
    with pytest.raises(ValueError, match=r"the 3 cells on the leading axis, got an array of shape \(21, 3\)"):
        jc.value_and_sensitivities(lambda c: _u(c).T, CELLS, ["k"])
    with pytest.raises(ValueError, match="no parameter named 'b'"):
        jc.value_and_sensitivities(_u, CELLS, ["b"])


@pytest.mark.slow
def test_the_benchmark_of_gradients(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[1] / "benchmarks")
    script = importlib.import_module("gradients")

    script.main(["--quick", "--out", str(tmp_path)])

    found = json.loads((tmp_path / "gradients_quick.json").read_text())
    assert {"date", "device", "cpu", "versions", "load_average"} <= set(found["machine"])
    assert {row["mode"] for row in found["rows"]} == {"forward", "reverse"}
    for row in found["rows"]:
        assert row["modes_differ"] < 1e-8, row
        assert row["from_differences"] < 1e-4, row
        assert row["ratio"] > 1, row
