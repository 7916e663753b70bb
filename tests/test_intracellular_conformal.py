"""Calibrated intervals: they hold as often as they say on cells that nobody has seen, and they never cross."""

import dataclasses

import jax
import numpy as np
import pytest
from simple_pairs import LEVELS, simple_pairs

from jaxcardio.intracellular.conformal import calibrate, coverage, scores, weighted_quantile
from jaxcardio.intracellular.library import Network, load_network, save_network
from jaxcardio.intracellular.unet import Estimate, Physics, PIAUNet, Prediction


class Told(PIAUNet):
    """A network that is told the traces: its input holds them. Each interval reaches `half` to either side."""

    half: float = 0.02
    crossed: bool = False

    def __init__(self, samples: int, half: float, crossed: bool = False):
        super().__init__(channels=1, depth=1, levels=2, samples=samples, key=jax.random.key(0))
        self.half, self.crossed = half, crossed

    def __call__(self, eap):
        lower, upper = eap - self.half, eap + self.half
        if self.crossed:
            lower, upper = upper, lower
        zeros = np.zeros(eap.shape[0], np.float32)
        return Prediction(lower, eap, upper, Physics(zeros, zeros, zeros))


def rough_pairs(cells: int, seed: int, beats: int = 2, off: float = 0.05):
    """Pairs whose windows are the traces that a network believes in, off by an error that beats of a cell share."""
    pairs = simple_pairs(cells, beats, seed=seed, samples=1000)
    rng = np.random.default_rng(seed + 100)
    error = off * rng.normal(size=cells)[pairs.cell][:, None]
    above = pairs.iap > 0.15
    return dataclasses.replace(pairs, eap=(pairs.iap + error * above).astype(np.float32))


def network(half: float = 0.02, crossed: bool = False) -> Network:
    return Network(Told(1000, half, crossed), 1000.0)


@pytest.mark.parametrize("half", [0.002, 0.02, 0.3])
@pytest.mark.slow
def test_calibrated_intervals_hold_as_often_as_they_say_on_new_cells(half):
    before, after = [], []
    for seed in range(6):
        fixed = calibrate(network(half), rough_pairs(60, 2 * seed))
        new = rough_pairs(200, 2 * seed + 1)
        before.append(coverage(network(half), new))
        after.append(coverage(fixed, new))
    assert not 0.87 < np.mean([c.trace for c in before]) < 0.93
    assert 0.87 < np.mean([c.trace for c in after]) < 0.94
    assert 0.86 < np.mean([c.durations for c in after]) < 0.95
    assert max(c.crossing for c in after) == 0


@pytest.mark.slow
def test_too_wide_intervals_are_narrowed():
    wide = calibrate(network(0.3), rough_pairs(60, 0)).corrections
    assert max(wide.durations[:9]) < 0.5
    assert wide.trace < 1
    assert calibrate(network(0.002), rough_pairs(60, 0)).corrections.trace > 5


def test_a_naive_quantile_over_beats_holds_too_rarely_where_beats_of_a_cell_are_alike():
    def missed(of):
        rng, out = np.random.default_rng(1), []
        for _ in range(400):
            size = np.repeat(np.abs(rng.normal(size=13)), 40)
            cell = np.repeat(np.arange(13), 40)
            out.append(np.mean(np.abs(rng.normal(size=100)) <= of(size[:480], cell[:480])))
        return np.mean(out)

    assert missed(lambda size, cell: weighted_quantile(size, cell, 0.9)) > 0.895
    assert missed(lambda size, cell: float(np.quantile(size, 0.9))) < 0.88


def test_every_cell_has_the_same_weight():
    cell = np.array([0] * 90 + list(range(1, 11)))
    size = np.array([100.0] * 90 + list(range(1, 11)))
    assert weighted_quantile(size, cell, 0.8) == 10.0  # 10 of the 11 cells, with the next one unknown: 10 / 12
    assert weighted_quantile(size, cell, 0.9) == 100.0
    assert weighted_quantile(np.full(100, np.nan), cell, 0.9) == 1.0


def test_scores_are_factors_on_the_half_widths():
    found = Estimate(np.array([1.0, 1.0, 1.0]), np.array([0.5, 0.5, 1.0]), np.array([1.2, 1.2, 1.0]))
    np.testing.assert_allclose(scores(found, np.array([0.0, 1.1, 1.05]), 0.1), [2.0, 0.5, 0.5])


@pytest.mark.parametrize("crossed", [False, True])
@pytest.mark.slow
def test_corrected_intervals_never_cross_whatever_the_network_says(crossed):
    fixed = calibrate(network(0.02, crossed), rough_pairs(40, 0))
    lower, median, upper, _ = fixed(rough_pairs(20, 9).eap)
    assert (lower <= median).all() and (median <= upper).all()
    value, low, high = fixed.apd(fixed(rough_pairs(20, 9).eap))
    known = np.isfinite(value)
    assert (low[known] <= value[known]).all() and (value[known] <= high[known]).all()


def test_durations_are_those_of_the_shape_and_their_limits_those_of_the_bounds():
    pairs = simple_pairs(6, samples=1000)
    plain = network(0.05)
    value, low, high = plain.apd(plain(pairs.iap))
    np.testing.assert_allclose(value[:, 2:9], pairs.apd[:, 2:9], atol=2.5)
    # The bounds lie 0.05 of 0.9 away: the sigmoid (20 ms) reaches the median's height at another place.
    share = 1 - LEVELS[4] + np.array([0.05, -0.05]) / 0.9
    moved = 20 * np.log((1 - share) / share)
    np.testing.assert_allclose(low[:, 4] - value[:, 4], np.full(len(low), moved[0]), atol=1.0)
    np.testing.assert_allclose(high[:, 4] - value[:, 4], np.full(len(low), moved[1]), atol=1.0)


@pytest.mark.slow
def test_bounds_that_miss_a_height_reach_to_zero_and_to_the_end_of_the_window():
    pairs = simple_pairs(4, samples=1000)
    plain = network(0.2)
    prediction = plain(pairs.iap)
    value, low, high = plain.apd(prediction, (10, 90))
    assert np.isfinite(value).all()
    np.testing.assert_array_equal(low[:, 0], 0.0)
    np.testing.assert_array_equal(high[:, 1], 1000.0)
    never = prediction._replace(median=np.linspace(0, 1, 1000, dtype=np.float32)[None].repeat(len(value), 0))
    assert np.isnan(np.stack(plain.apd(never, (90,)))).all()


@pytest.mark.slow
def test_corrections_are_kept_in_the_file(tmp_path):
    fixed = calibrate(Network(PIAUNet(channels=2, depth=1, levels=2, samples=1000, key=jax.random.key(0)), 1000.0),
                      simple_pairs(12, samples=1000))  # fmt: skip
    save_network(tmp_path / "net.h5", fixed)
    read = load_network(tmp_path / "net.h5")
    assert read.corrections == fixed.corrections
    assert read.corrections.is_calibrated and len(read.corrections.durations) == 10


def test_what_cannot_be_calibrated_is_refused():
    pairs = rough_pairs(8, 0)
    with pytest.raises(ValueError, match=r"pairs = 8 cells; allowed: at least 9 for a coverage of 0\.9"):
        calibrate(network(), pairs)
    with pytest.raises(ValueError, match=r"coverage = 1\.5; allowed: above 0 and below 1"):
        calibrate(network(), pairs, 1.5)
    with pytest.raises(ValueError, match=r"levels = 95 %; allowed: 10, 20"):
        network().apd(network()(pairs.eap), (95,))
