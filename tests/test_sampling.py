"""Claims about sampling: cell i is a function of (version, seed, i), and each design fills space as it says."""

import json
import zlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import jaxcardio as jc
from jaxcardio.population import LatinHypercube, LogNormal, Sobol, Uniform, relative_change, sample
from jaxcardio.population.hashing import VERSION, owen_scrambled, permuted, random_words, sobol_points

CELL = jc.models.TenTusscher2004()
KERNIK = jc.models.KernikClancy2019()
NAMES = ["g_Kr", "g_CaL", "g_Na", "g_K1"]
DESIGNS = [Uniform(0.3), LogNormal(0.3), LogNormal(0.3, truncation=2.0), LatinHypercube(0.3, 64), Sobol(0.3)]
INDEPENDENT = DESIGNS[:4]
each_design = pytest.mark.parametrize("design", DESIGNS, ids=str)

ALL: Any = np.arange(64)


def factors(design, names=tuple(NAMES), seed=3, indices=ALL):
    return design.factors(list(names), seed=seed, indices=np.asarray(indices))


# --- cell i is a function of (version, seed, i) ----------------------------------------------------------------------


@each_design
@settings(max_examples=30, deadline=None)
@given(indices=st.lists(st.integers(0, 63), min_size=1, max_size=20))
def test_a_cell_does_not_depend_on_the_others(design, indices):
    assert np.array_equal(factors(design, indices=indices), factors(design)[indices])


@each_design
def test_start_n_and_indices_name_the_same_cells(design):
    whole = sample(CELL, n=20, seed=3, distribution=design, parameters=NAMES)
    part = sample(CELL, n=6, start=9, seed=3, distribution=design, parameters=NAMES)
    again = sample(CELL, indices=[14, 9, 14], seed=3, distribution=design, parameters=NAMES)
    for name in NAMES:
        assert np.array_equal(getattr(part, name), getattr(whole, name)[9:15])
        assert np.array_equal(getattr(again, name), getattr(whole, name)[jnp.array([14, 9, 14])])
    assert jnp.ndim(whole.g_to) == 0


@pytest.mark.parametrize("design", INDEPENDENT, ids=str)
def test_a_parameter_does_not_depend_on_which_others_are_varied(design):
    assert np.array_equal(factors(design, ["g_Na"])[:, 0], factors(design)[:, NAMES.index("g_Na")])


def test_the_list_of_names_is_part_of_a_sobol_cell():
    assert not np.array_equal(factors(Sobol(0.3), ["g_Na"])[:, 0], factors(Sobol(0.3))[:, NAMES.index("g_Na")])


@each_design
def test_another_seed_is_another_population(design):
    assert (factors(design, seed=4) != factors(design)).mean() > 0.99


@pytest.mark.parametrize("design", INDEPENDENT, ids=str)
def test_populations_of_two_seeds_are_uncorrelated(design):
    both = np.c_[factors(design), factors(design, seed=4)]
    assert np.abs(np.corrcoef(both.T) - np.eye(8)).max() < 0.6  # noise of 1/8


@each_design
def test_another_version_is_another_population(design, monkeypatch):
    before = factors(design)
    monkeypatch.setattr("jaxcardio.population.hashing.VERSION", VERSION + 1)
    assert (factors(design) != before).mean() > 0.99


PINNED = {
    Uniform(0.2): [[1.1929653512779623, 0.8071241282392293], [1.1045958170201629, 0.8835349750239402]],
    LogNormal(0.2): [[1.5238981939677005, 0.6568849966530493], [1.1528307475243058, 0.850362680258626]],
    LogNormal(0.2, 2.0): [[1.4207969039109463, 0.7041817884592818], [1.1441260699009768, 0.8581006902249235]],
    LatinHypercube(0.2, 10_000): [[0.8421907831764222, 0.9994855423927307], [0.8570000811958313, 1.0437372684669495]],
    Sobol(0.2): [[1.1782916797790677, 0.922330805240199], [1.0383787606377155, 0.9714244083035737]],
}


@pytest.mark.parametrize("design", PINNED, ids=str)
def test_the_very_numbers(design):
    """Changing them needs another VERSION. Columns: cells 0 and 1; rows: g_Kr of seed 0, K1_g of seed 2^32 - 1."""
    found = [factors(design, [name], seed, [0, 1])[:, 0] for name, seed in (("g_Kr", 0), ("K1_g", 2**32 - 1))]
    np.testing.assert_allclose(found, PINNED[design], rtol=1e-15)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), stream=st.text(max_size=9), first=st.integers(0, 2**32 - 40))
def test_the_random_words_are_those_of_jax(seed, stream, first):
    key = jax.random.key(seed, impl="threefry2x32")
    for number in (VERSION, zlib.crc32(stream.encode())):
        key = jax.random.fold_in(key, number)
    indices = np.arange(first, first + 40)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(key, indices.astype(np.uint32))
    assert np.array_equal(
        random_words(seed, stream, indices), jax.vmap(lambda k: jax.random.bits(k, (), jnp.uint32))(keys)
    )


def test_settings_of_jax_change_nothing():
    expected = factors(Uniform(0.3))
    with jax.threefry_partitionable(False), jax.default_prng_impl("rbg"), jax.enable_x64(False):
        assert np.array_equal(factors(Uniform(0.3)), expected)


def test_no_two_parameters_of_a_model_share_a_stream():
    for model in (CELL, KERNIK, jc.models.Skibsbye2016()):
        names = list(model.parameters())
        assert len({zlib.crc32(name.encode()) for name in names}) == len(names)


# --- distributions ---------------------------------------------------------------------------------------------------


def test_uniform_and_log_normal_have_their_moments():
    many = np.arange(40_000)
    uniform = factors(Uniform(0.3), indices=many)
    assert (np.abs(uniform - 1) < 0.3).all()
    assert stats.kstest((uniform.ravel() - 0.7) / 0.6, "uniform").pvalue > 1e-3
    logs = np.log(factors(LogNormal(0.3), indices=many))
    assert stats.kstest(logs.ravel() / 0.3, "norm").pvalue > 1e-3
    assert np.median(logs) == pytest.approx(0, abs=0.005)
    for drawn in (uniform, logs):  # independent: correlations are noise of 1/200
        assert np.abs(np.corrcoef(drawn.T) - np.eye(4)).max() < 0.025


def test_a_truncated_log_normal_is_the_distribution_given_that_it_lies_inside():
    z = np.log(factors(LogNormal(0.3, truncation=1.5), indices=np.arange(20_000))).ravel() / 0.3
    assert np.abs(z).max() < 1.5
    assert stats.kstest(z, stats.truncnorm(-1.5, 1.5).cdf).pvalue > 1e-3
    assert np.array_equal(factors(LogNormal(0.0)), np.ones((64, 4)))


@pytest.mark.parametrize("cells", [1, 2, 3, 5, 16, 17, 1000, 4097])
def test_every_stratum_of_a_latin_hypercube_has_one_cell(cells):
    places = (factors(LatinHypercube(0.5, cells), indices=np.arange(cells)) - 0.5) * cells
    assert np.array_equal(np.sort(np.floor(places), axis=0), np.tile(np.arange(cells)[:, None], 4))
    inside = places - np.floor(places)
    assert ((inside > 0) & (inside < 1)).all()


@settings(max_examples=50, deadline=None)
@given(size=st.integers(1, 3000), seed=st.integers(0, 2**32 - 1))
def test_a_permutation_is_one(size, seed):
    assert np.array_equal(np.sort(permuted(seed, "x", np.arange(size), size)), np.arange(size))


def test_permutations_of_a_latin_hypercube_look_random():
    """Pairs of parameters are uncorrelated, and pairs of strata equally frequent (chi-square, 15 x 15 classes)."""
    n = 15 * 300
    places = np.stack([permuted(0, str(k), np.arange(n), n) for k in range(8)])
    assert np.abs(np.corrcoef(np.r_[places, np.arange(n)[None]]) - np.eye(9)).max() < 0.06
    for a, b in [(0, 1), (2, 3), (4, 5), (6, 7)]:
        table = np.histogram2d(places[a], places[b], bins=15)[0]
        assert stats.chisquare(table.ravel(), ddof=28).pvalue > 1e-3


@pytest.mark.parametrize(("first", "k"), [(0, 6), (64, 6), (3 * 256, 8), (2**14, 10)])
def test_every_dyadic_interval_has_its_share_of_a_block_of_sobol_cells(first, k):
    indices = np.arange(first, first + 2**k)
    places = factors(Sobol(0.5), KERNIK.SIX_CURRENTS, indices=indices) - 0.5
    strata = np.sort(np.floor(places * 2**k), axis=0)
    assert np.array_equal(strata, np.tile(np.arange(2**k)[:, None], places.shape[1]))


def test_sobol_points_are_those_of_scipy_and_scrambling_keeps_their_net():
    expected = stats.qmc.Sobol(5, scramble=False, bits=32).random(256)
    found = sobol_points(np.arange(256), 5)
    assert np.array_equal(found / 2.0**32, expected)
    scrambled = np.stack([owen_scrambled(5, str(k), x) for k, x in enumerate(found.T)], axis=1)
    # The first two dimensions are a (0, m, 2)-net: every elementary rectangle has one point.
    for a in range(9):
        cells = np.floor(scrambled[:, :2] / 2.0**32 * [2**a, 2 ** (8 - a)])
        assert len(np.unique(cells, axis=0)) == 256


def test_better_spread_cells_integrate_better():
    """A smooth function of six parameters, 1024 cells, root-mean-square error over 12 seeds."""
    names = KERNIK.SIX_CURRENTS[:6]

    def error(design):
        means = [np.exp(factors(design, names, seed, np.arange(1024)) - 1).prod(axis=1).mean() for seed in range(12)]
        return np.sqrt(np.mean((np.array(means) - (np.sinh(0.5) / 0.5) ** 6) ** 2))

    random = error(Uniform(0.5))
    assert error(LatinHypercube(0.5, 1024)) < random / 2
    assert error(Sobol(0.5)) < random / 10


def test_a_million_cells_in_fifty_dimensions_reach_their_last_cell():
    last = factors(Sobol(0.2), KERNIK.SIX_CURRENTS, indices=[0, 1_099_999])
    assert last.shape == (2, 52)
    assert (np.abs(last - 1) < 0.2).all()


# --- populations and their relative change ---------------------------------------------------------------------------


def test_spread_is_short_for_uniform_and_the_dtype_is_the_cell_s():
    short = sample(CELL, n=5, seed=1, spread=0.2, parameters=["g_Kr"])
    long = sample(CELL, n=5, seed=1, distribution=Uniform(0.2), parameters=["g_Kr"])
    assert np.array_equal(short.g_Kr, long.g_Kr)
    single = sample(jc.astype(CELL, jnp.float32), n=5, seed=1, spread=0.2, parameters=["g_Kr"])
    assert single.parameters()["g_Kr"].value.dtype == jnp.float32
    assert np.allclose(single.parameters()["g_Kr"].value, short.g_Kr, rtol=1e-6)


@each_design
def test_relative_change_gives_the_factors_back(design):
    cells = sample(CELL, n=20, seed=3, distribution=design, parameters=NAMES)
    theta = relative_change(cells, CELL, [*NAMES, "g_to"])
    assert theta.shape == (20, 5)
    np.testing.assert_allclose(theta[:, :4], factors(design)[:20] - 1, atol=1e-14)
    assert np.array_equal(theta[:, 4], np.zeros(20))


# --- JSON ------------------------------------------------------------------------------------------------------------


@each_design
def test_json_gives_an_equal_distribution(design):
    written = json.loads(json.dumps(jc.population.distribution_to_json(design)))
    assert jc.population.distribution_from_json(written) == design


def test_json_is_plain():
    assert jc.population.distribution_to_json(Uniform(np.float64(0.2))) == {"type": "Uniform", "spread": 0.2}
    assert type(jc.population.distribution_to_json(Uniform(np.float64(0.2)))["spread"]) is float


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"type": "Cauchy", "spread": 0.2}, "distribution: type 'Cauchy'; allowed: Uniform, LogNormal"),
        ({"spread": 0.2}, "distribution: type None; allowed"),
        ("Uniform", "distribution: type 'Uniform'; allowed"),
        ({"type": "Uniform"}, "distribution: .*spread"),
        ({"type": "Uniform", "sigma": 0.2}, "distribution: .*sigma"),
        ({"type": "Uniform", "spread": "wide"}, "spread = wide; allowed"),
        ({"type": "Sobol", "spread": None}, "spread = None; allowed"),
    ],
)
def test_bad_json_is_named(written, message):
    with pytest.raises(ValueError, match=message):
        jc.population.distribution_from_json(written)


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (dict(n=0), "n = 0 cells; allowed: a whole number >= 1"),
        (dict(n=2.0), "n = 2.0 cells; allowed"),
        (dict(n=None), "n = None, indices = None; allowed: exactly one"),
        (dict(indices=[1]), r"n = 3, indices = \[1\]; allowed: exactly one"),
        (dict(start=-1), r"start = -1; allowed: a whole number from 0 to 2\^32 - n"),
        (dict(start=2**32 - 2), "start = 4294967294; allowed"),
        (dict(n=None, indices=[1], start=2), "start = 2; allowed beside indices: 0"),
        (dict(n=None, indices=[]), "indices: expected whole numbers of shape"),
        (dict(n=None, indices=[0.5]), "indices: expected whole numbers of shape .*float64"),
        (dict(n=None, indices=[[1]]), r"indices: expected .*shape \(1, 1\)"),
        (dict(n=None, indices=[3, -1]), r"indices = -1 to 3; allowed: 0 to 2\^32 - 1"),
        (dict(seed=-1), "seed = -1; allowed"),
        (dict(seed=2**32), "seed = 4294967296; allowed: a whole number from 0"),
        (dict(spread=1.5), r"spread = 1.5; allowed: 0 <= spread < 1 \(relative\)"),
        (dict(spread=None), "spread = None, distribution = None; allowed: exactly one"),
        (dict(distribution=Uniform(0.1)), r"spread = 0.2, distribution = Uniform\(spread=0.1\); allowed: exactly one"),
        (dict(spread=None, distribution=0.2), "distribution = 0.2; allowed: Uniform, LogNormal"),
        (dict(spread=None, distribution=LatinHypercube(0.1, 2)), "index = 2; allowed: 0 to 1, the cells of LatinHyper"),
        (dict(parameters=["g_K"]), "no parameter named 'g_K'; did you mean"),
        (dict(parameters="g_Kr"), "parameters = 'g_Kr'; allowed: a list"),
        (dict(parameters=["g_Kr", "g_Na", "g_Kr"]), "parameters: g_Kr is named twice"),
        (dict(cell=CELL.replace(g_Na=np.ones(2))), "cell: a population of 2; allowed: one cell, or 3 cells"),
    ],
)
def test_wrong_arguments_are_named(changed, message):
    call: dict[str, Any] = dict(cell=CELL, n=3, seed=0, spread=0.2, parameters=["g_Kr"]) | changed
    with pytest.raises(ValueError, match=message):
        sample(call.pop("cell"), **call)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Uniform(-0.1), "spread = -0.1; allowed"),
        (lambda: Uniform(np.nan), "spread = nan; allowed"),
        (lambda: LatinHypercube(1.0, 10), "spread = 1.0; allowed"),
        (lambda: LatinHypercube(0.1, 0), "cells = 0 cells; allowed: a whole number from 1"),
        (lambda: LatinHypercube(0.1, 1e4), "cells = 10000.0 cells; allowed"),  # pyright: ignore[reportArgumentType]
        (lambda: LogNormal(-1.0), "sigma = -1.0; allowed: >= 0"),
        (lambda: LogNormal(np.inf), "sigma = inf; allowed"),
        (lambda: LogNormal(0.1, 0.0), "truncation = 0.0 sigmas; allowed: > 0 sigmas"),
        (lambda: factors(Sobol(0.1), ["g_Kr"] * 21_202), "parameters = 21202 names; allowed for Sobol: at most 21201"),
        (lambda: relative_change(CELL, CELL, NAMES), "cells: expected a population"),
        (lambda: relative_change(TWO, TWO, NAMES), "cell: a population of 2; allowed: one cell"),
        (lambda: relative_change(TWO, CELL.replace(g_Kr=0.0), NAMES), "parameters: g_Kr = 0 nS/pF in cell"),
        (lambda: relative_change(TWO, CELL, ["g_K"]), "no parameter named 'g_K'"),
    ],
)
def test_wrong_designs_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


TWO = sample(CELL, n=2, seed=0, spread=0.2, parameters=["g_Kr"])
