"""What twins predict: populations around them, their uncertainty, and how far they are from the true cell."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcardio.models import KernikClancy2019, TenTusscher2004
from jaxcardio.population import DoseResponse, dose_response, member, relative_change, sample
from jaxcardio.twin.beats import SIX, Comparison, _differences, _Run, compare, simulated_twin
from jaxcardio.twin.study import TwinStudy, around, posterior_cells, posterior_response, study

pytestmark = pytest.mark.slow  # a minute and a half of compiling together

SHORT: dict[str, Any] = {"t1": 4000.0, "discard": 1000.0}
NAMES = KernikClancy2019.SIX_CURRENTS
KERNIK = KernikClancy2019()
TWINS = (KERNIK.replace(scale_g_Kr=1.3), KERNIK.replace(scale_g_Kr=1.4, CaL_p=0.9 * KERNIK.CaL_p))
QUIET = KERNIK.replace(K1_g=3.0 * KERNIK.K1_g)
"""A cell that does not beat."""


@pytest.fixture(scope="module")
def made():
    cold = [twin.replace(temperature=298.0) for twin in TWINS]
    return study(cold, doses=(0.0, 50.0), n=40, seed=3, examples=2, chunk=16, dtype="float64", **SHORT)


def test_cell_i_depends_on_neither_n_nor_start():
    many, few = around(TWINS, 12, 3), around(TWINS, 5, 3, start=4)
    for name in NAMES:
        assert np.array_equal(many.parameters()[name].value[4:9], few.parameters()[name].value), name
    assert np.array_equal(many.scale_g_Kr[4:9], few.scale_g_Kr)


def test_cells_take_turns_around_their_twins():
    cells = around(TWINS, 7, 3, spread=0.2)
    assert np.allclose(np.asarray(cells.scale_g_Kr), [1.3, 1.4, 1.3, 1.4, 1.3, 1.4, 1.3])
    for k, twin in enumerate(TWINS):
        own = relative_change(member(cells, np.arange(k, 7, 2)), twin, NAMES)
        assert np.abs(own).max() <= 0.2 + 1e-12
        factors = relative_change(sample(KERNIK, n=7, seed=3, spread=0.2, parameters=NAMES), KERNIK, NAMES)
        assert np.allclose(own, factors[k::2], atol=1e-12)


def test_one_twin_is_a_population_as_sampled():
    cells = around(TWINS[:1], 6, 9)
    same = sample(TWINS[0], n=6, seed=9, spread=0.2, parameters=NAMES)
    for name, parameter in same.parameters().items():
        assert np.array_equal(cells.parameters()[name].value, parameter.value), name


def test_a_cell_of_a_study_depends_on_neither_n_nor_chunk(made):
    x = made.pooled
    some = around(TWINS, 16, 3, start=24)  # in two chunks there, in one here
    again = dose_response(some, "E-4031", [0.0, 50.0], examples=2, chunk=16, **SHORT)
    assert np.array_equal(x.reasons[24:40], again.reasons)
    columns = x.cells >= 24
    for name in ("apd90", "cycle_length", "ead", "failed", "status"):
        np.testing.assert_array_equal(getattr(x, name)[:, columns], getattr(again, name), name)


def test_pooled_counts_are_the_sums_over_twins(made):
    parts = [made.of(k) for k in range(2)]
    assert sum(len(x.cells) for x in parts) == len(made.pooled.cells) >= 2
    assert sum(len(x.example_cells) for x in parts) == len(made.pooled.example_cells)
    back = np.concatenate([2 * x.cells + k for k, x in enumerate(parts)])
    assert set(back) == set(made.pooled.cells)
    for event in ("ead", "failed", "abnormal", "quiescent"):
        events = [np.asarray(x.incidence(event).estimate) * x.counted() for x in parts]
        assert np.allclose(sum(events), np.asarray(made.incidence(event).estimate) * made.pooled.counted())
    assert np.array_equal(made.not_repolarising(0) + made.not_repolarising(1), made.not_repolarising())
    first = parts[0]
    for column, example in zip(first.example_cells, range(len(first.example_cells)), strict=True):
        assert first.example_V[0, example].max() == pytest.approx(first.peak[0, column], abs=5.0)


def test_control_apd90_is_that_of_the_viable_cells(made):
    apd, found = made.pooled.apd90[0], made.control_apd90()
    assert found.n == len(made.pooled.cells)
    assert (found.mean, found.sd) == pytest.approx((apd.mean(), apd.std()))
    assert found.quantiles[2] == pytest.approx(np.median(apd))
    assert (np.diff(found.quantiles) >= 0).all()


def counted(made, *events_and_cells):
    """The study with so many EADs among so many cells at each dose in place of its own."""
    events, n = (np.array(x) for x in zip(*events_and_cells, strict=True))
    ead = np.arange(n.max()) < events[:, None]
    flat = {
        k: np.zeros(ead.shape, x.dtype) for k, x in vars(made.pooled).items() if np.shape(x) == made.pooled.apd90.shape
    }
    some = vars(made.pooled) | flat | {"ead": ead, "doses": np.arange(len(n)), "cells": np.arange(n.max())}
    return TwinStudy(DoseResponse(**some))


def test_monotone_means_within_intervals(made):
    assert counted(made, (0, 100), (5, 100), (50, 100)).is_monotone()
    assert counted(made, (6, 100), (5, 100), (5, 100)).is_monotone()  # a fall that the intervals allow
    assert not counted(made, (0, 100), (60, 100), (30, 100)).is_monotone()
    # 12 to 8 to 5: each within the intervals of the one before, and all of them so of each other, but not 24 to 5
    assert not counted(made, (24, 100), (14, 100), (5, 100)).is_monotone()
    assert counted(made, (24, 100), (14, 100)).is_monotone()
    assert counted(made, (14, 100), (5, 100)).is_monotone()


def test_saved_and_loaded(made, tmp_path):
    made.save(tmp_path / "study.h5")
    same = TwinStudy.load(tmp_path / "study.h5")
    assert same.table() == made.table()
    assert same.record == made.record
    assert np.array_equal(same.pooled.apd90, made.pooled.apd90, equal_nan=True)
    # The file is enough to make any of its cells again.
    twins, record = same.twins, same.record
    again: Any = around(twins, 3, record["seed"], record["spread"], record["parameters"], start=5)
    cells: Any = around(TWINS, 40, 3)
    assert np.array_equal(again.Kr_g, cells.Kr_g[5:8])
    assert np.array_equal(again.scale_g_Kr, cells.scale_g_Kr[5:8])
    plain = DoseResponse.load(tmp_path / "study.h5")
    settings: dict[str, Any] = {"settings": '{"record": {}}'}
    other = DoseResponse(**(vars(plain) | settings))
    other.save(tmp_path / "other.h5")
    with pytest.raises(ValueError, match=r"a dose response that `twin.study` did not make"):
        TwinStudy.load(tmp_path / "other.h5")
    with pytest.raises(ValueError, match="no such file"):
        TwinStudy.load(tmp_path / "none.h5")


def test_the_table_says_what_was_found(made):
    said = made.table()
    assert "E-4031 on 40 KernikClancy2019 cells around 2 twin(s), spread 0.2, seed 3" in said
    assert "EAD incidence monotone within its intervals: pooled" in said
    assert f"{len(made.of(1).cells)} of 20" in said


def test_the_temperature_is_that_of_the_study(made):
    """The twins were given at 298 K, and every other test here compares the study with them at 310 K."""
    assert [float(twin.temperature) for twin in made.twins] == [310.0, 310.0]
    assert made.record["temperature"] == 310.0


def test_a_posterior_without_width_is_the_twin():
    theta = np.linspace(-0.3, 0.3, 52)
    cells = posterior_cells(KERNIK, NAMES, theta, np.zeros((52, 52)), 3, seed=0)
    known = KERNIK.parameters()
    for name, x in zip(NAMES, theta, strict=True):
        assert np.array_equal(cells.parameters()[name].value, np.full(3, float(known[name].value) * (1 + x))), name


def test_draws_have_the_posteriors_mean_and_covariance():
    names, mean = ["Kr_g", "Ks_g", "CaL_p"], np.array([0.1, 0.0, -0.1])
    covariance = np.array([[0.01, 0.006, 0.0], [0.006, 0.01, 0.0], [0.0, 0.0, 0.0]])
    cells = posterior_cells(KERNIK, names, mean, covariance, 20_000, seed=1)
    theta = relative_change(cells, KERNIK, names)
    assert np.allclose(theta.mean(axis=0), mean, atol=0.003)
    assert np.allclose(np.cov(theta.T), covariance, atol=4e-4)
    part = posterior_cells(KERNIK, names, mean, covariance, 3, seed=1, start=7)
    assert np.array_equal(part.Kr_g, cells.Kr_g[7:10])


def test_no_draw_changes_a_sign():
    names = ["Kr_g", "Ks_g"]
    cells = posterior_cells(KERNIK, names, np.zeros(2), np.eye(2), 2000, seed=1)
    theta = relative_change(cells, KERNIK, names)
    assert (theta > -1).all()
    # a normal distribution cut at -1: mean phi(1) / Phi(1)
    assert np.allclose(theta.mean(axis=0), 0.2420 / 0.8413, atol=0.06)
    with pytest.raises(ValueError, match="mean, covariance: 100 draws in a row change a parameter's sign"):
        posterior_cells(KERNIK, list(NAMES), np.full(52, -0.99), 1e4 * np.eye(52), 2, seed=1)


def test_the_response_of_a_certain_twin_is_that_of_one_cell():
    draws = posterior_cells(TWINS[0], NAMES, np.zeros(52), np.zeros((52, 52)), 4, seed=0)
    found = posterior_response(draws, doses=(0.0, 3.0, 100.0), **SHORT)
    alone = dose_response(around(TWINS, 1, 0, spread=0.0), "E-4031", (0.0, 3.0, 100.0), **SHORT)
    assert np.allclose(found.quantiles()[:2], alone.apd90[:2], equal_nan=True)
    assert found.beating.tolist() == [4, 4, 0]
    for event in ("ead", "failed", "quiescent", "abnormal"):
        assert np.array_equal(found.probability(event).estimate, np.asarray(alone.shows(event)[:, 0], float)), event
    assert found.probability("failed").estimate[2] == 1
    assert np.isnan(found.quantiles()[2]).all()
    assert "100        0" in found.table()


def test_a_simulated_twin_shows_two_beats():
    twin = simulated_twin(TWINS[0], 4000.0, discard=1000.0)
    assert twin.beats
    assert set(twin.currents) == set(SIX)
    cycle = twin.biomarkers["cycle_length"]
    assert twin.ts[-1] - twin.ts[0] == pytest.approx(2 * cycle, rel=0.01)
    rises = (twin.V[1:] > -20) & (twin.V[:-1] <= -20)
    assert rises.sum() == 2
    assert np.abs(twin.ts[1:][rises] - [0, cycle]).max() < 5
    # currents are those of the potential: C dV/dt = -I
    slope = np.diff(twin.V) / np.diff(twin.ts)
    assert np.corrcoef(slope, -(twin.I_total[1:] + twin.I_total[:-1]) / 2)[0, 1] > 0.98
    quiet = simulated_twin(QUIET, 4000.0, discard=1000.0)
    assert not quiet.beats
    assert quiet.biomarkers["quiescent"]
    assert quiet.ts[0] == 0 and quiet.ts[-1] == pytest.approx(3000.0)


@pytest.fixture(scope="module")
def pairs():
    """The true cell itself, one that differs a little, one that does not beat; and each the other way round."""
    theirs = [KERNIK, KERNIK, KERNIK, QUIET, QUIET]
    ours = [KERNIK, KERNIK.replace(scale_g_Kr=1.01), QUIET, KERNIK, QUIET]

    def cells(some):
        return KERNIK.replace(**{k: jnp.stack([getattr(x, k) for x in some]) for k in (*NAMES, "scale_g_Kr")})

    return compare(cells(ours), cells(theirs), save_every=1.0, **SHORT)


def test_the_true_cell_has_no_error(pairs):
    assert (pairs.apd90_error[0], pairs.rmse[0], pairs.rmse_running[0]) == (0.0, 0.0, 0.0)
    assert pairs.passes()[0]


def test_errors_grow_with_the_difference(pairs):
    assert -0.02 < pairs.apd90_error[1] < -0.001  # more I_Kr, shorter
    assert 0.05 < pairs.rmse[1] < 5.0
    assert pairs.rmse_running[1] > pairs.rmse[1]  # the cycle length differs, too


def test_cells_that_do_not_beat_are_said_to(pairs):
    assert pairs.outcome.tolist() == [
        "both beat", "both beat", "only the true cell beats", "only the twin beats", "neither beats",
    ]  # fmt: skip
    assert np.isnan(pairs.apd90_error[2:]).all()
    assert np.isnan(pairs.rmse[2:]).all()
    assert not pairs.passes()[2:].any()
    assert pairs.twin["quiescent"].tolist() == [False, False, True, False, True]
    assert "of 3 whose true cell beats" in pairs.table()


def test_a_shift_in_time_is_no_error():
    """By hand: the same cell looked at from another moment of its cycle."""
    ts = np.arange(0.0, 3000.0, 0.5)

    def beat(t):
        return np.where(t % 1000 < 300, 30.0 - 0.2 * (t % 1000), -75.0)

    def run(by):
        return _Run({"apd90": np.array([280.0])}, np.array([[0.0, 1000.0, 2000.0]]) + by, beat(ts - by)[None])

    assert np.allclose(_differences(ts, run(120.0), run(0.0), 0), 0.0, atol=1e-9)


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match=r"twins = \[\]; allowed: one or more cells"):
        around([], 4, 0)
    with pytest.raises(ValueError, match="twins: number 1 is another model"):
        around([KERNIK, TenTusscher2004()], 4, 0)
    with pytest.raises(ValueError, match="twins: number 0 is a population of 2"):
        study([around(TWINS, 2, 0)])
    with pytest.raises(ValueError, match="n = 0 cells"):
        around(TWINS, 0, 0)
    with pytest.raises(ValueError, match="temperature = -3 K; allowed: > 0 K"):
        study(TWINS, temperature=-3)
    with pytest.raises(ValueError, match=r"mean, covariance: shapes \(2,\) and \(1, 1\); allowed: \(1,\)"):
        posterior_cells(KERNIK, ["Kr_g"], np.zeros(2), np.zeros((1, 1)), 1, 0)
    with pytest.raises(ValueError, match=r"mean = .* allowed: finite and > -1"):
        posterior_cells(KERNIK, ["Kr_g"], np.full(1, -2.0), np.zeros((1, 1)), 1, 0)
    with pytest.raises(ValueError, match="covariance: lowest eigenvalue = -1"):
        posterior_cells(KERNIK, ["Kr_g"], np.zeros(1), -np.eye(1), 1, 0)
    with pytest.raises(ValueError, match="has no parameter named 'Kr_gg'"):
        posterior_cells(KERNIK, ["Kr_gg"], np.zeros(1), np.eye(1), 1, 0)
    with pytest.raises(ValueError, match="draws: expected a population"):
        posterior_response(KERNIK)
    with pytest.raises(ValueError, match="cell: a population of 2; allowed: one cell"):
        simulated_twin(around(TWINS, 2, 0))
    with pytest.raises(ValueError, match="twin_cells, true_cells: 2 and 3 cells"):
        compare(around(TWINS, 2, 0), around(TWINS, 3, 0))
    with pytest.raises(ValueError, match=r"discard = 3000\.0 ms"):
        compare(around(TWINS, 2, 0), around(TWINS, 2, 0), t1=4000.0, discard=3000.0)
    with pytest.raises(ValueError, match="cells: expected a population"):
        compare(KERNIK, KERNIK)


def test_the_bar_is_a_number_of_both():
    nothing = np.zeros(3)
    measured = {"apd90": np.array([100.0, 103.0, 100.0])}
    yes = np.ones(3, bool)
    found = Comparison(measured, {"apd90": np.full(3, 100.0)}, yes, yes, np.array([1.0, 1.0, 3.0]), nothing)
    assert found.passes().tolist() == [True, False, False]
