"""Populations: a cell is the same cell whatever it is simulated with, and wherever."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import CASES

import jaxcardio as jc
from jaxcardio.population.simulation import LANES, spread

CELL, PACING, _, _ = CASES["ten_tusscher"]
KERNIK = jc.models.KernikClancy2019()
CLAMP = jc.protocols.VoltageSteps([-80.0, 0.0, -40.0], [4.0, 8.0, 4.0])
ONE = jax.devices()[:1]


def population(n, cell=CELL, names=("g_Kr", "g_CaL")):
    return jc.population.sample(cell, n=n, seed=1, spread=0.2, parameters=names)


def run(cells, protocol=PACING, t1=16.0, **options):
    options = {"outputs": ["I_ion_total"], **options}
    if protocol is PACING:
        options = {"solver": jc.RushLarsen2(), "dt": 0.05, **options}
    return jc.population.simulate(cells, protocol, t1=t1, **options)


@pytest.mark.parametrize("dtype", [jnp.float64, pytest.param(jnp.float32, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("cell", "names", "protocol"),
    [
        pytest.param(CELL, ("g_Kr", "g_CaL"), PACING, id="paced"),
        pytest.param(KERNIK, KERNIK.SIX_CURRENTS, CLAMP, id="clamped", marks=pytest.mark.slow),
    ],
)
def test_on_one_device_a_cell_is_the_same_to_the_last_bit_in_chunks_of_any_size(cell, names, protocol, dtype):
    cells = jc.astype(population(70, cell, names), dtype)
    whole = run(cells, protocol, chunk=1000, devices=ONE)
    for chunk in (1, 7, 64):
        some = run(cells, protocol, chunk=chunk, devices=ONE)
        assert np.array_equal(some.ys.I_ion_total, whole.ys.I_ion_total)
        assert np.array_equal(np.stack(some.final_state), np.stack(whole.final_state))


def test_two_devices_give_what_one_gives():
    cells = population(50)
    one, two = (run(cells, devices=jax.devices()[:k]) for k in (1, 2))
    np.testing.assert_allclose(two.ys.I_ion_total, one.ys.I_ion_total, rtol=1e-5, atol=1e-8)
    assert two.ys.I_ion_total.shape == (50, 17)


def test_devices_work_without_talking_to_each_other():
    """Every cell is its own system: the compiled program moves nothing between devices."""
    cells = spread(population(2 * LANES), jax.devices())

    def final(cells):
        return jc.simulate(cells, PACING, t1=2.0, dt=0.1, save_every=2.0).final_state.V

    compiled = jax.jit(final).lower(cells).compile()
    assert len(compiled.output_shardings.device_set) == 2
    assert not any(word in str(compiled.as_text()) for word in ("all-reduce", "all-gather", "collective", "all-to-all"))


def test_a_cell_that_fails_says_so_and_its_neighbours_are_the_same_to_the_last_bit():
    good = population(20)
    bad = good.replace(g_CaL=good.g_CaL.at[7].set(jnp.nan))
    with_it, without = run(bad), run(good)
    assert list(with_it.problems()) == [7]
    assert "NaN" in with_it.problems()[7]
    others = np.delete(np.arange(20), 7)
    assert np.array_equal(with_it.ys.I_ion_total[others], without.ys.I_ion_total[others])


def test_a_population_continues_chunk_by_chunk_from_its_final_states():
    cells = population(20)
    whole = jc.population.simulate(cells, t1=20.0, dt=0.05, chunk=2)
    first = jc.population.simulate(cells, t1=10.0, dt=0.05, chunk=2)
    second = jc.population.simulate(cells, t0=10.0, t1=20.0, dt=0.05, chunk=3, y0=first.final_state)
    np.testing.assert_allclose(second.V, whole.V[:, 10:], rtol=1e-10)


def test_a_chunk_that_raises_is_not_swallowed():
    with pytest.raises(ValueError, match=r"save_every = 99.0 ms"):
        jc.population.simulate(population(5), t1=10.0, save_every=99.0, chunk=2)


def test_an_interrupted_run_begins_no_more_chunks():
    begun = []

    def interrupt(trace):
        begun.append(threading.get_ident())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(population(20 * LANES), chunk=LANES, t1=1.0, save_every=1.0, reduce=interrupt, devices=ONE)
    assert len(begun) < 8


def test_progress_goes_from_nothing_to_all():
    seen: list[float] = []
    run(population(70), chunk=LANES, t1=1.0, save_every=1.0, devices=ONE, progress=seen.append)
    assert seen == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize(("options", "message"), [
    (dict(chunk=0), "chunk = 0 cells; allowed: a whole number >= 1"),
    (dict(chunk=2.5), "chunk = 2.5 cells; allowed"),
    (dict(devices=[]), r"devices = \[\]; allowed: one or more of this process's"),
])  # fmt: skip
def test_wrong_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        run(population(3), **options)


def test_a_single_cell_is_no_population():
    with pytest.raises(ValueError, match="cells: expected a population"):
        run(CELL)
