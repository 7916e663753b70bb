"""The study's network and its two passes."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcardio import hidden_state as hs
from jaxcardio.hidden_state.two_part import WINDOW, traces
from jaxcardio.models import TenTusscher2004

CELL = TenTusscher2004()


@pytest.fixture(scope="module")
def data() -> hs.PacedBeats:
    return hs.paced_beats(CELL, [350.0, 400.0], duration=800.0)


def test_the_states_are_parted_into_ten_gates_and_seven_others(data):
    found, gates, others = traces(CELL, data)
    assert len(gates) == 10
    assert len(others) == 7
    assert set(gates) | set(others) == set(CELL.initial_state()._fields)
    assert found.gates[1].shape == (400, 10)
    np.testing.assert_array_equal(found.observed[1], found.others[1][:, [others.index("V"), others.index("Ca_i")]])


@pytest.mark.slow
def test_the_network_steps_its_gates_as_its_gating_cell_does(data):
    network = hs.published_network(CELL, data)
    found, _, _ = traces(CELL, data)
    observed, h = jnp.asarray(found.observed[0][:20]), jnp.asarray(found.gates[0][0])
    gates, others = network(h, observed)
    assert others.shape == (20, 7)
    assert (others > 0).all()
    assert (others < 1).all()
    for k in range(20):
        h = network.gating.relaxations(*observed[k]).at(h, 1.0)
        np.testing.assert_allclose(gates[k], h, atol=1e-6)


@pytest.mark.slow  # three trainings
def test_the_passes_of_the_study_lower_what_they_lower_and_the_second_touches_the_gating_layer_alone(data):
    small: Any = dict(epochs=3, batches=10, batch=8)
    first = hs.published_first_pass(CELL, data, **small)
    assert first.training[-1] < first.training[0]
    again = hs.published_first_pass(CELL, data, **small)
    assert eqx.tree_equal(first.model, again.model)
    second = hs.published_second_pass(first.model, CELL, data, **small)
    assert second.training[-1] < second.training[0]
    same = eqx.tree_at(lambda n: n.gating.cell, second.model, first.model.gating.cell)
    assert eqx.tree_equal(same, first.model)
    assert not eqx.tree_equal(second.model.gating.cell, first.model.gating.cell)
    cell = hs.as_cell(second.model.gating, CELL)
    rates = cell.rates(0.0, cell.initial_state(), 0.0)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(rates))


def test_a_pull_that_is_no_pull_is_refused(data):
    with pytest.raises(ValueError, match="eta = -1"):
        hs.published_second_pass(hs.published_network(CELL, data), CELL, data, eta=-1.0)
    assert WINDOW < 350
