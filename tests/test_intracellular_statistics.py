"""Drug statistics: against scipy.stats, and false positives on channels and beats that do not change."""

from typing import Any

import numpy as np
import pytest
import scipy.stats as scipy_stats

from jaxcardio.intracellular.statistics import corrected, drug_effect, effective_size

stats: Any = scipy_stats  # whose results' fields no type checker knows


def beats(random, channels, n, mean=500.0, sd=10.0, correlation=0.0):
    """APDs of (channel, beat), each a first-order autoregression about its channel's mean."""
    made = np.empty((channels, n))
    made[:, 0] = random.standard_normal(channels)
    for k in range(1, n):
        made[:, k] = correlation * made[:, k - 1] + np.sqrt(1 - correlation**2) * random.standard_normal(channels)
    return mean + 20.0 * np.arange(channels)[:, None] / channels + sd * made


@pytest.mark.parametrize("alternative", ["greater", "less"])
def test_over_channels_it_is_the_paired_t_test(alternative):
    random = np.random.default_rng(0)
    before, after = random.normal(500, 30, 12), random.normal(510, 30, 12)
    found = drug_effect(before, after, alternative=alternative)
    scipys = stats.ttest_rel(after, before, alternative=alternative)
    both = stats.ttest_rel(after, before).confidence_interval(0.95)
    np.testing.assert_allclose(found.p, scipys[1], rtol=1e-10)
    np.testing.assert_allclose((found.lower, found.upper), both, rtol=1e-10)
    np.testing.assert_allclose(found.effect, np.mean(after - before))
    np.testing.assert_allclose(found.percent, np.mean(100 * (after / before - 1)))
    assert found.n_channels == 12 and np.isnan(found.channel_p).all()
    narrow = drug_effect(before, after, confidence=0.5)
    assert found.lower < narrow.lower < narrow.upper < found.upper


def test_a_vehicle_is_subtracted_by_welch_or_by_channel():
    random = np.random.default_rng(1)
    b, a = random.normal(500, 30, 9), random.normal(540, 30, 9)
    vb, va = random.normal(500, 10, 14), random.normal(515, 10, 14)
    found = drug_effect(b, a, vehicle=(vb, va))
    scipys = stats.ttest_ind(a - b, va - vb, equal_var=False, alternative="greater")
    both = stats.ttest_ind(a - b, va - vb, equal_var=False).confidence_interval(0.95)
    np.testing.assert_allclose(found.p, scipys[1], rtol=1e-10)
    np.testing.assert_allclose((found.lower, found.upper), both, rtol=1e-9)
    np.testing.assert_allclose(found.effect, np.mean(a - b) - np.mean(va - vb))
    same = drug_effect(b, a, vehicle=(vb[:9], va[:9]), same_channels=True)
    scipys = stats.ttest_1samp((a - b) - (va - vb)[:9], 0, alternative="greater")
    np.testing.assert_allclose(same.p, scipys[1], rtol=1e-10)
    with pytest.raises(ValueError, match="same_channels"):
        drug_effect(b, a, vehicle=(vb, va), same_channels=True)
    with pytest.raises(ValueError, match="same_channels"):
        drug_effect(b, a, same_channels=True)


def test_a_culture_that_drifts_alike_under_vehicle_shows_no_effect():
    random = np.random.default_rng(2)
    b, vb = beats(random, 30, 50), beats(random, 30, 50)
    a, va = beats(random, 30, 50, mean=525.0), beats(random, 30, 50, mean=525.0)  # both drift by 25 ms
    naive, fair = drug_effect(b, a), drug_effect(b, a, vehicle=(vb, va))
    assert naive.p < 1e-6 and fair.p > 0.01 and fair.lower < 0 < fair.upper
    assert (naive.channel_p_corrected < 0.05).mean() > 0.9 and (fair.channel_p_corrected < 0.05).mean() < 0.1


def test_channels_of_independent_beats_are_tested_as_by_welch():
    random = np.random.default_rng(3)
    before, after = beats(random, 1, 3000), beats(random, 1, 2000, mean=500.5)
    found = drug_effect(before, after)
    scipys = stats.ttest_ind(after[0], before[0], equal_var=False, alternative="greater").pvalue
    assert (found.effective_beats > [2500, 1600]).all()
    np.testing.assert_allclose(found.channel_p, scipys, rtol=0.3)
    alternate = np.array([[1.0, -1.0, 2.0, -2.0, 1.5, -1.5, 0.5, -0.5]])  # never counted as more than they are
    found = drug_effect(alternate, alternate + 1.0)
    np.testing.assert_allclose(
        found.channel_p,
        stats.ttest_ind(alternate[0] + 1, alternate[0], equal_var=False, alternative="greater").pvalue,
    )


def test_beats_that_resemble_each_other_count_less():
    random = np.random.default_rng(4)
    for correlation in (0.0, 0.5, 0.8):
        sizes = [effective_size(row) for row in beats(random, 50, 1000, correlation=correlation)]
        np.testing.assert_allclose(np.mean(sizes), 1000 * (1 - correlation) / (1 + correlation), rtol=0.15)
    before, after = (beats(random, 2000, 100, correlation=0.8) for _ in range(2))
    naive = stats.ttest_ind(after, before, axis=1, equal_var=False, alternative="greater").pvalue
    assert (naive < 0.05).mean() > 0.2
    assert (drug_effect(before, after).channel_p < 0.05).mean() < 0.08


@pytest.mark.slow
def test_many_channels_without_a_change_give_few_false_positives():
    random = np.random.default_rng(5)
    found = [drug_effect(beats(random, 40, 60), beats(random, 40, 60)) for _ in range(200)]
    assert np.mean([(one.channel_p < 0.05).any() for one in found]) > 0.7
    assert np.mean([(one.channel_p_corrected < 0.05).any() for one in found]) < 0.1
    assert np.mean([one.p < 0.05 for one in found]) < 0.09
    assert np.mean([one.lower < 0 < one.upper for one in found]) > 0.9


def test_corrections_by_scipy_and_by_definition():
    p = np.random.default_rng(6).uniform(size=25) ** 3
    np.testing.assert_allclose(corrected(p, "bh"), stats.false_discovery_control(p))
    order, running = np.argsort(p), 0.0
    for k, at in enumerate(order):
        running = max(running, min(1.0, (25 - k) * p[at]))
        np.testing.assert_allclose(corrected(p)[at], running)
    np.testing.assert_allclose(corrected(np.array([0.01, np.nan, 0.04])), [0.02, np.nan, 0.04])
    assert corrected(np.array([np.nan])).shape == (1,)


def test_an_effect_lies_in_its_interval_as_often_as_said():
    random = np.random.default_rng(7)
    held = 0
    for _ in range(400):
        means = random.normal(500, 40, 10)
        found = drug_effect(means, means + random.normal(80.0, 25.0, 10))
        held += found.lower < 80.0 < found.upper
    assert 0.92 < held / 400 < 0.98


def test_missing_channels_and_beats_are_left_out_and_counted():
    random = np.random.default_rng(8)
    before, after = beats(random, 5, 20), beats(random, 5, 31, mean=530.0)
    before[1] = np.nan
    after[2, 4:] = np.nan
    after[3, ::2] = np.inf
    after[4, 2:] = np.nan
    found = drug_effect(before, after)
    np.testing.assert_array_equal(found.is_used, [True, False, True, True, True])
    assert found.n_channels == 4 and np.isnan(found.channel_effect[1])
    np.testing.assert_array_equal(np.isfinite(found.channel_p), [True, False, True, True, False])  # two beats: no test
    plain = drug_effect(
        np.nanmean(before[[0, 2, 3, 4]], 1), [after[k][np.isfinite(after[k])].mean() for k in (0, 2, 3, 4)]
    )
    np.testing.assert_allclose((found.effect, found.p), (plain.effect, plain.p))


def test_too_few_channels_have_no_p_value():
    one = drug_effect(np.array([500.0]), np.array([550.0]))
    assert one.effect == 50.0 and np.isnan(one.p) and np.isnan(one.lower) and one.n_channels == 1
    none = drug_effect(np.array([np.nan, np.nan]), np.array([550.0, 1.0]))
    assert np.isnan(none.effect) and none.n_channels == 0
    sure = drug_effect(np.full(2, 500.0), np.full(2, 550.0))
    assert sure.p == 0.0 and sure.lower == sure.upper == 50.0


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda: drug_effect(np.ones(3), np.ones(4)), "after"),
        (lambda: drug_effect(np.ones((3, 2, 2)), np.ones(3)), "before"),
        (lambda: drug_effect(np.ones(3), np.ones(3), alternative="two-sided"), "alternative"),  # pyright: ignore
        (lambda: drug_effect(np.ones(3), np.ones(3), correction="none"), "correction"),  # pyright: ignore
        (lambda: drug_effect(np.ones(3), np.ones(3), confidence=95.0), "confidence"),
        (lambda: corrected(np.array([1.5])), "p"),
    ],
)
def test_bad_input_is_refused_by_name(call, name):
    with pytest.raises(ValueError, match=name) as told:
        call()
    assert "\n" not in str(told.value) and "allowed" in str(told.value)
