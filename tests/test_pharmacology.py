"""Hill block, the drug table, dose series, incidence intervals."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcardio import pharmacology
from jaxcardio.cell import astype, hold
from jaxcardio.models import KernikClancy2019
from jaxcardio.models.ten_tusscher import TenTusscher2004
from jaxcardio.pharmacology import DRUGS, Block, Drug, block, dose_series, hill_block, incidence, targets

CELL = TenTusscher2004()
E4031 = "E-4031"
# What an ORd-like cell names its blockable currents: every target that the table may use.
GENERIC_TARGETS = {"I_Kr", "I_CaL", "I_Na", "I_NaL", "I_Ks", "I_K1", "I_to"}

# The first example compiles, which no deadline should count.
quick = settings(max_examples=50, deadline=None)
doses = st.floats(0.0, 1e9)
ic50s = st.floats(1e-2, 1e9)
hills = st.floats(0.3, 3.0)


def ic50_of(drug: str, current: str) -> float:
    return float(np.asarray(DRUGS[drug].blocks[current].ic50))


class TestHillBlock:
    @quick
    @given(ic50s, hills)
    def test_nothing_at_zero_and_half_at_the_ic50(self, ic50, hill):
        assert hill_block(0.0, ic50, hill) == 0
        np.testing.assert_allclose(hill_block(ic50, ic50, hill), 0.5, rtol=1e-12)

    @quick
    @given(doses, doses, ic50s, hills)
    def test_is_monotone_in_dose_and_a_fraction(self, a, b, ic50, hill):
        low, high = hill_block(jnp.asarray([min(a, b), max(a, b)]), ic50, hill)
        assert 0 <= low <= high <= 1

    @quick
    @given(st.floats(1e-9, 1e9), ic50s, hills)
    def test_value_and_gradients_are_the_formula(self, multiple, ic50, hill):
        c = multiple * ic50
        x = (c / ic50) ** hill
        value, (d_c, d_ic50, d_hill) = jax.value_and_grad(hill_block, (0, 1, 2))(c, ic50, hill)
        np.testing.assert_allclose(value, x / (1 + x), rtol=1e-10)
        np.testing.assert_allclose(d_c, hill * x / (1 + x) ** 2 / c, rtol=1e-10)
        np.testing.assert_allclose(d_ic50, -hill * x / (1 + x) ** 2 / ic50, rtol=1e-10)
        np.testing.assert_allclose(d_hill, x / (1 + x) ** 2 * math.log(c / ic50), rtol=1e-10, atol=1e-15)

    @quick
    @given(ic50s, hills)
    def test_gradients_at_zero_dose_are_finite(self, ic50, hill):
        gradient = jnp.stack(jax.grad(hill_block, (0, 1, 2))(0.0, ic50, hill))
        assert jnp.all(jnp.isfinite(gradient))
        assert gradient[0] >= 0

    @pytest.mark.parametrize(("hill", "slope"), [(1.0, 1 / 7), (1.5, 0.0), (2.0, 0.0)])
    def test_gradient_at_zero_dose_is_the_analytic_one_where_that_is_finite(self, hill, slope):
        np.testing.assert_allclose(jax.grad(hill_block)(0.0, 7.0, hill), slope, rtol=1e-14)

    def test_curvature_at_zero_dose_is_the_analytic_one_for_one_binding_site(self):
        np.testing.assert_allclose(jax.grad(jax.grad(hill_block))(0.0, 7.0, 1.0), -2 / 49, rtol=1e-14)

    def test_below_one_binding_site_zero_is_left_along_the_chord(self):
        edge = pharmacology.LINEAR_BELOW * 7.0
        chord = hill_block(edge, 7.0, 0.5) / edge
        np.testing.assert_allclose(jax.grad(hill_block)(0.0, 7.0, 0.5), chord, rtol=1e-5)

    def test_a_traced_negative_dose_is_not_silently_a_dose(self):
        assert jnp.isnan(jax.jit(hill_block)(-1.0, 7.0, 1.0))

    def test_an_overdose_blocks_everything_in_float32_too(self):
        value, slope = jax.value_and_grad(hill_block)(jnp.float32(1e30), 7.0, 3.0)
        assert (value, slope) == (1.0, 0.0)

    def test_keeps_float32(self):
        assert hill_block(jnp.float32(3), 7.0, 0.9).dtype == jnp.float32
        assert hill_block(jnp.float32(3), 7, 1).dtype == jnp.float32

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ((-1.0, 7.0, 1.0), "concentration = -1.0 nM"),
            ((math.nan, 7.0, 1.0), "concentration = nan nM"),
            ((math.inf, 7.0, 1.0), "concentration = inf nM"),
            ((np.asarray([1.0, -2.0]), 7.0, 1.0), ">= 0 nM"),
            ((1.0, 0.0, 1.0), "ic50 = 0.0 nM"),
            ((1.0, 7.0, 0.0), "hill = 0.0"),
        ],
    )
    def test_numbers_out_of_range(self, arguments, words):
        with pytest.raises(ValueError, match=re.escape(words)):
            hill_block(*arguments)


class TestBlock:
    def test_seven_nanomolar_of_e4031_halve_the_conductance(self):
        drug = block(CELL, E4031, 7.0)
        np.testing.assert_allclose(drug.g_Kr, 0.5 * CELL.g_Kr, rtol=1e-15)
        y = CELL.initial_state()._replace(Xr1=0.3)
        np.testing.assert_allclose(drug.currents(y).I_Kr, 0.5 * CELL.currents(y).I_Kr, rtol=1e-15)

    def test_nothing_else_changes(self):
        drug = block(CELL, E4031, 7.0)
        same = {n: p.value == drug.parameters()[n].value for n, p in CELL.parameters().items()}
        assert [name for name, is_same in same.items() if not is_same] == ["g_Kr"]

    def test_kernik_scales_its_multiplier(self):
        np.testing.assert_allclose(block(KernikClancy2019(), E4031, 7.0).scale_g_Kr, 0.5, rtol=1e-15)

    def test_a_multichannel_drug_blocks_every_current_it_knows(self):
        drug = block(CELL, "quinidine", 3237.0)
        for current, curve in DRUGS["quinidine"].blocks.items():
            if current == "I_NaL":
                continue
            name = CELL.conductances[current]
            left = 1 / (1 + (3237.0 / ic50_of("quinidine", current)) ** np.asarray(curve.hill))
            np.testing.assert_allclose(getattr(drug, name), left * getattr(CELL, name), rtol=1e-12)

    def test_a_fraction_is_the_blocked_one(self):
        np.testing.assert_allclose(block(CELL, {"I_Kr": 0.3}).g_Kr, 0.7 * CELL.g_Kr, rtol=1e-15)
        assert block(CELL, {"I_Kr": 0.0, "I_Na": 1.0}).g_Kr == CELL.g_Kr
        assert block(CELL, {"I_Kr": 0, "I_Na": 1}).g_Na == 0

    def test_blocks_multiply(self):
        twice = block(block(CELL, {"I_Kr": 0.5}), E4031, 7.0)
        np.testing.assert_allclose(twice.g_Kr, 0.25 * CELL.g_Kr, rtol=1e-15)

    def test_a_drug_of_ones_own(self):
        curve = Block(ic50=10.0, hill=2.0)
        expected = CELL.g_CaL / (1 + (20.0 / 10.0) ** 2)
        np.testing.assert_allclose(block(CELL, Drug("mine", {"I_CaL": curve}), 20.0).g_CaL, expected, rtol=1e-14)
        np.testing.assert_allclose(block(CELL, {"I_CaL": curve}, 20.0).g_CaL, expected, rtol=1e-14)

    def test_case_of_the_name_is_ignored(self):
        assert block(CELL, "e-4031", 7.0).g_Kr == block(CELL, E4031, 7.0).g_Kr

    def test_a_held_cell_is_blocked_inside(self):
        held = block(hold(CELL, "Na_i", "K_i"), E4031, 7.0)
        np.testing.assert_allclose(held.parameters()["g_Kr"].value, 0.5 * CELL.g_Kr, rtol=1e-15)

    def test_population_and_doses_broadcast(self):
        population = CELL.replace(g_Kr=CELL.g_Kr * jnp.asarray([0.8, 1.0, 1.2]))
        np.testing.assert_allclose(block(population, E4031, 7.0).g_Kr, 0.5 * population.g_Kr, rtol=1e-15)
        each = block(population, E4031, jnp.asarray([0.0, 7.0, 21.0]))
        np.testing.assert_allclose(each.g_Kr, population.g_Kr * jnp.asarray([1.0, 0.5, 0.25]), rtol=1e-15)
        many = block(CELL, "quinidine", jnp.asarray([0.0, 100.0, 1000.0, 10_000.0]))
        assert many.population_size() == 4
        assert jnp.all(jnp.diff(many.g_Kr) < 0)

    def test_jit_vmap_grad(self):
        def left(c):
            return block(CELL, E4031, c).g_Kr / CELL.g_Kr

        np.testing.assert_allclose(jax.jit(left)(7.0), 0.5, rtol=1e-15)
        np.testing.assert_allclose(jax.vmap(left)(jnp.asarray([0.0, 7.0])), [1.0, 0.5], rtol=1e-15)
        np.testing.assert_allclose(jax.grad(left)(0.0), -1 / 7, rtol=1e-14)
        np.testing.assert_allclose(jax.grad(left)(7.0), -1 / 28, rtol=1e-14)
        np.testing.assert_allclose(jax.grad(lambda p: block(CELL, {"I_Kr": p}).g_Kr)(0.2), -CELL.g_Kr, rtol=1e-15)
        slope = jax.grad(lambda ic50: block(CELL, {"I_Kr": Block(ic50)}, 7.0).g_Kr / CELL.g_Kr)(7.0)
        np.testing.assert_allclose(slope, 1 / 28, rtol=1e-14)

    def test_the_cell_keeps_its_dtype(self):
        cell = astype(CELL, jnp.float32)
        for dose in (7, 7.0, np.float64(7), jnp.asarray(7.0), np.asarray([1.0, 7.0])):
            assert block(cell, "quinidine", dose).parameters()["g_Kr"].value.dtype == jnp.float32
        assert block(cell, {"I_Kr": 0.5}).parameters()["g_Kr"].value.dtype == jnp.float32

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("dofetilid", 1.0), ["'dofetilid'", "did you mean dofetilide", "known: E-4031, bepridil"]),
            (("aspirin-like", 1.0), ["'aspirin-like'", "known: E-4031, bepridil"]),
            ((E4031, -1.0), ["concentration = -1.0 nM", ">= 0 nM"]),
            ((E4031, math.nan), ["concentration = nan nM", ">= 0 nM"]),
            ((E4031,), ["concentration = None", "nM"]),
            (({"I_Kr": 0.5}, 7.0), ["concentration = 7.0 nM", "fractions are given"]),
            (({"I_Kr": 1.5},), ["blocked fraction of I_Kr = 1.5", "[0, 1]"]),
            (({"I_Kr": -0.1},), ["blocked fraction of I_Kr = -0.1", "[0, 1]"]),
            (({"I_Kr": math.nan},), ["blocked fraction of I_Kr = nan", "[0, 1]"]),
            (({"I_kr": 0.5},), ["TenTusscher2004", "'I_kr'", "did you mean", "I_Kr"]),
            (({"I_f": Block(1.0)}, 1.0), ["TenTusscher2004", "'I_f'"]),
            ((Drug("ivabradine", {"I_f": Block(2000.0)}), 1.0), ["ivabradine blocks I_f", "TenTusscher2004", "I_Kr"]),
            ((Drug("odd", {"I_Kr": Block(-1.0)}), 1.0), ["ic50 = -1.0 nM"]),
            ((E4031, np.ones((1, 1))), ["dose of I_Kr", "(1, 1)"]),
        ],
    )
    def test_errors_say_what_and_what_is_allowed(self, arguments, words):
        with pytest.raises(ValueError, match=".*".join(re.escape(w) for w in words)):
            block(CELL, *arguments)

    def test_doses_must_fit_the_population(self):
        population = CELL.replace(g_Kr=CELL.g_Kr * jnp.ones(3))
        with pytest.raises(ValueError, match=re.escape("shape (3,), got shape (2,)")):
            block(population, E4031, jnp.asarray([1.0, 2.0]))


class TestTargets:
    def test_what_the_cell_lacks_is_named(self):
        found = targets(CELL, "ranolazine")
        assert found.blocked == {"I_Kr": "g_Kr", "I_Na": "g_Na", "I_Ks": "g_Ks"}
        assert found.skipped == ("I_NaL",)
        assert targets(CELL, E4031) == ({"I_Kr": "g_Kr"}, ())


class TestDoseSeries:
    def test_one_cell_a_dose_all_of_one_shape(self):
        population = CELL.replace(g_Kr=CELL.g_Kr * jnp.asarray([0.8, 1.2]))
        series = dose_series(population, E4031, [0, 7.0, 21.0])
        for cell, left in zip(series, (1.0, 0.5, 0.25), strict=True):
            np.testing.assert_allclose(cell.g_Kr, left * population.g_Kr, rtol=1e-15)
        assert len({str(jax.eval_shape(lambda c=c: c)) for c in series}) == 1


class TestDrugs:
    @pytest.mark.parametrize("drug", DRUGS.values(), ids=DRUGS)
    def test_entry_is_complete_and_plausible(self, drug):
        assert DRUGS[drug.name] is drug
        assert re.search(r"doi 10\.\d{4,}/\S+", drug.source)
        assert drug.free_cmax_nM is None or drug.free_cmax_nM > 0
        assert drug.blocks
        assert set(drug.blocks) <= GENERIC_TARGETS
        for curve in drug.blocks.values():
            assert np.all(np.greater(curve.ic50, 1) & np.less(curve.ic50, 1e10))
            assert np.all(np.greater_equal(curve.hill, 0.3) & np.less_equal(curve.hill, 3))

    def test_units_are_nanomolar(self):
        # A factor of 1000 would show: these are known to every pharmacologist.
        assert DRUGS[E4031].blocks["I_Kr"] == Block(7.0, 1.0)
        assert 1 < ic50_of("dofetilide", "I_Kr") < 20
        assert 5 < ic50_of("nifedipine", "I_CaL") < 100
        assert 200 < ic50_of("verapamil", "I_Kr") < 1000

    def test_therapeutic_concentrations_block_what_the_drug_is_given_for(self):
        def blocked(name, current):
            peak = DRUGS[name].free_cmax_nM
            assert peak is not None
            return hill_block(peak, *DRUGS[name].blocks[current])

        assert blocked("dofetilide", "I_Kr") > 0.2
        assert blocked("quinidine", "I_Kr") > 0.5
        assert blocked("nifedipine", "I_CaL") > 0.15
        assert blocked("nifedipine", "I_Kr") < 0.01


class TestIncidence:
    @pytest.mark.parametrize(
        ("events", "n", "low", "high"),
        [
            (0, 10, 0.0, 0.2775),
            (5, 10, 0.2366, 0.7634),
            (10, 10, 0.7225, 1.0),
            # Newcombe RG, Stat Med 1998;17:857-872, PMID 9595616, Table I, method 3
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ],
    )
    def test_published_intervals(self, events, n, low, high):
        found = incidence(events, n)
        np.testing.assert_allclose(found, (events / n, low, high), atol=5e-5)

    @pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
    def test_covers_as_often_as_it_says(self, level):
        """Exact: the binomial weights of the outcomes whose interval holds the true proportion, averaged over it."""
        n = 30
        found = incidence(np.arange(n + 1), n, level)
        p = np.linspace(0.01, 0.99, 981)[:, None]
        k = np.arange(n + 1)
        weight = np.array([math.comb(n, i) for i in k]) * p**k * (1 - p) ** (n - k)
        low, high = np.asarray(found.low), np.asarray(found.high)
        coverage = np.sum(weight * ((low <= p) & (p <= high)), axis=1)
        assert abs(coverage.mean() - level) < 0.01
        assert coverage[(p[:, 0] > 0.1) & (p[:, 0] < 0.9)].min() > level - 0.09

    @quick
    @given(st.integers(1, 10_000), st.floats(0, 1), st.floats(0.5, 0.999))
    def test_limits_enclose_the_estimate(self, n, share, level):
        events = round(share * n)
        found = incidence(events, n, level)
        assert 0 <= found.low <= found.estimate <= found.high <= 1
        mirrored = incidence(n - events, n, level)
        np.testing.assert_allclose(mirrored.low, 1 - found.high, atol=1e-12)

    def test_works_on_a_dose_series_under_jit(self):
        found = jax.jit(incidence, static_argnums=2)(jnp.asarray([0, 30, 120]), 4000, 0.95)
        assert found.low.shape == (3,)
        np.testing.assert_allclose(found.estimate, [0.0, 0.0075, 0.03], rtol=1e-15)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ((11, 10), "events = 11"),
            ((-1, 10), "events = -1"),
            ((0, 0), "n = 0"),
            ((1, 10, 1.0), "level = 1.0"),
            ((math.nan, 10), "events = nan"),
        ],
    )
    def test_errors(self, arguments, words):
        with pytest.raises(ValueError, match=re.escape(words)):
            incidence(*arguments)
