"""Designed clamps: that sharing a prefix changes nothing, that more steps tell more, and that designs beat chance.

A cell of two states stands for the cardiac one: the search does not know what it searches for.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcardio.models import AlievPanfilov1996
from jaxcardio.protocols import Constant, PulseTrain, Segments, VoltageSteps, voltage_ramp
from jaxcardio.twin import Experiment, windows_of
from jaxcardio.twin.protocols import (
    LENGTH,
    LEVELS,
    PROBE,
    PROBE_AT,
    Design,
    Space,
    criterion,
    design_by_information,
    design_by_network,
    expected_covariance,
    floor,
    from_operator_json,
    herg_staircase,
    iv_staircase,
    random_steps,
    refine_by_gradient,
    to_operator_json,
)
from jaxcardio.twin.protocols.gradient import _value_and_slopes
from jaxcardio.twin.protocols.search import one_step

NAMES = ("k", "a", "eps0", "mu1", "mu2")
NOISE = 0.3
SPACE = Space(levels=(-0.1, 0.6, 1.1), hold=0.2, step=20.0, length=80.0, probes=((40.0, 0.5),))
STEP = SPACE.one_step(cell=AlievPanfilov1996(), names=NAMES)


def cells(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.2, 0.2, (n, len(NAMES)))


SEARCHED = cells(6, 0)


def experiment(protocol: Segments) -> Experiment:
    return Experiment(protocol, windows_of(protocol, SPACE.length), AlievPanfilov1996(), NAMES)


@pytest.fixture(scope="module")
def designed() -> Design:
    return design_by_information(SEARCHED, space=SPACE, step=STEP, sigma=NOISE)


@pytest.fixture(scope="module")
def whole(designed) -> Experiment:
    return experiment(designed.protocol)


@pytest.fixture(scope="module")
def drawn() -> list[Experiment]:
    return [experiment(random_steps(seed, SPACE)) for seed in (0, 1)]


# --- the space and the comparators --------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [iv_staircase(), herg_staircase(), random_steps(0), random_steps(1)])
def test_every_comparator_is_a_clamp_of_the_designs_length_within_their_range(protocol):
    assert protocol.kind == "voltage" and np.sum(protocol.durations) == LENGTH
    assert min(LEVELS) <= min(protocol.begin) and max(protocol.begin) <= max(LEVELS)
    assert windows_of(protocol, LENGTH).samples == 10 * LENGTH


def test_the_current_voltage_staircase_visits_every_level():
    assert set(iv_staircase().begin) == set(LEVELS)


def test_random_steps_are_reproducible_and_honour_hold_and_probe():
    one, again, other = random_steps(7), random_steps(7), random_steps(8)
    assert np.array_equal(one.begin, again.begin) and not np.array_equal(one.begin, other.begin)
    for protocol in (one, other):
        assert protocol.value(0.0) == -100.0 and protocol.value(PROBE_AT) == PROBE
        assert set(protocol.begin) <= set(LEVELS)


@pytest.mark.parametrize(
    ("bad", "name"),
    [
        ({"levels": ()}, "levels"),
        ({"levels": (np.nan,)}, "levels"),
        ({"hold": np.inf}, "hold"),
        ({"step": -1.0}, "step"),
        ({"length": 7001.0}, "length"),
        ({"length": 250.0}, "length"),
        ({"probes": ((6001.0, -120.0),)}, "probes"),
        ({"probes": ((0.0, -120.0),)}, "probes"),
        ({"probes": ((6000.0, np.nan),)}, "probes"),
    ],
)
def test_a_space_out_of_its_range_is_refused_by_name(bad, name):
    with pytest.raises(ValueError, match=f"{name} = .* allowed"):
        Space(**bad)


# --- design by information ----------------------------------------------------------------------------------------


def test_a_shared_prefix_tells_what_the_whole_protocol_tells(designed, whole):
    covariance = expected_covariance(whole, SEARCHED, sigma=NOISE)
    assert designed.sd is not None
    np.testing.assert_allclose(designed.sd, np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)), rtol=1e-9)
    assert designed.values[-1] == pytest.approx(criterion(whole, SEARCHED, sigma=NOISE), rel=1e-9)


def test_information_only_grows_from_the_prior(designed):
    assert len(designed.values) == 4
    assert designed.values[0] < 0.2**2 / 3 and (np.diff(designed.values) < 0).all()


def test_hold_and_probe_are_where_the_space_has_them(designed):
    levels = designed.protocol.begin
    assert levels[0] == SPACE.hold and levels[2] == designed.protocol.value(40.0) == 0.5
    assert {levels[1], levels[3]} <= set(SPACE.levels)


def test_the_last_choice_is_the_best_of_all_each_simulated_whole(designed):
    for other in set(SPACE.levels) - {designed.protocol.begin[-1]}:
        levels = [*designed.protocol.begin[:-1], other]
        assert criterion(experiment(SPACE.protocol(levels)), SEARCHED, sigma=NOISE) > designed.values[-1]


def test_a_design_beats_random_protocols_on_cells_that_it_never_saw(whole, drawn):
    new = cells(6, 1)
    by_chance = [criterion(each, new, sigma=NOISE) for each in drawn]
    assert criterion(whole, new, sigma=NOISE) < min(by_chance)


def test_a_design_by_volume_knows_its_own_criterion(designed, whole):
    by_volume = design_by_information(SEARCHED, space=SPACE, step=STEP, criterion="D", sigma=NOISE)
    assert (np.diff(by_volume.values) < 0).all() and by_volume.values[0] < 0
    if np.array_equal(by_volume.protocol.begin, designed.protocol.begin):
        assert by_volume.values[-1] == pytest.approx(criterion(whole, SEARCHED, kind="D", sigma=NOISE), rel=1e-9)
    else:
        assert by_volume.values[-1] < criterion(whole, SEARCHED, kind="D", sigma=NOISE)


def test_the_order_of_cells_does_not_matter(designed):
    again = design_by_information(SEARCHED[::-1], space=SPACE, step=STEP, sigma=NOISE)
    assert np.array_equal(again.protocol.begin, designed.protocol.begin)
    assert again.sd is not None and designed.sd is not None
    np.testing.assert_allclose(again.sd, designed.sd[::-1], rtol=1e-9)


def test_noise_without_end_leaves_the_prior_and_none_leaves_nothing(drawn):
    assert criterion(drawn[0], SEARCHED, sigma=1e6) == pytest.approx(0.2**2 / 3, rel=1e-6)
    assert criterion(drawn[0], SEARCHED, sigma=1e-6) < 1e-6
    assert floor() == pytest.approx(4 / 52 * 0.2**2 / 3)


def test_more_cells_than_one_batch_are_each_as_alone(drawn, monkeypatch):
    together = expected_covariance(drawn[0], SEARCHED, sigma=NOISE)
    monkeypatch.setattr("jaxcardio.twin.protocols.criteria.BATCH", 4)
    np.testing.assert_allclose(expected_covariance(drawn[0], SEARCHED, sigma=NOISE), together, rtol=1e-9)


def test_progress_ends_at_one():
    seen: list[float] = []
    design_by_information(SEARCHED, space=SPACE, step=STEP, sigma=NOISE, progress=seen.append)
    assert seen[-1] == 1 and np.all(np.diff(seen) > 0)


@pytest.mark.parametrize(
    ("bad", "name"),
    [
        ({"criterion": "E"}, "criterion"),
        ({"sigma": 0.0}, "sigma"),
        ({"spread": 1.0}, "spread"),
        ({"theta": np.zeros(5)}, "theta"),
        ({"theta": np.zeros((2, 4))}, "theta"),
        ({"theta": np.full((2, 5), -1.0)}, "theta"),
        ({"step": Space(step=10.0, length=20.0, probes=()).one_step(cell=AlievPanfilov1996(), names=NAMES)}, "step"),
    ],
)
def test_a_bad_argument_of_a_design_is_refused_by_name(bad, name):
    with pytest.raises(ValueError, match=f"(?s)^{name}.*allowed"):
        design_by_information(**{"theta": SEARCHED, "space": SPACE, "step": STEP, **bad})


# --- design by a network's error ----------------------------------------------------------------------------------


def test_the_network_is_shown_what_the_whole_protocol_shows():
    theta, shown = cells(3, 2), []

    def error(observed, of):
        assert np.array_equal(of, theta)
        shown.append(observed)
        return float(-observed.var(axis=0).sum())

    found = design_by_network(theta, error, space=SPACE, step=STEP, dtype="float64")
    together = np.asarray(jax.jit(experiment(found.protocol).current)(jnp.asarray(theta)))
    best = next(x for x in shown[-len(SPACE.levels) :] if error(x, theta) == found.values[-1])
    np.testing.assert_allclose(best, together, rtol=1e-9, atol=1e-12)
    assert (np.diff(found.values) < 0).all() and found.sd is None


def test_a_network_without_an_error_is_refused():
    with pytest.raises(ValueError, match=r"level = .* step 0: criterion nan; allowed: finite"):
        design_by_network(cells(1, 0), lambda observed, theta: float("nan"), space=SPACE, step=STEP)


# --- refinement ---------------------------------------------------------------------------------------------------


@pytest.mark.slow  # compiles for half a minute
def test_refinement_lowers_the_criterion_within_the_amplifiers_limits(designed):
    how = {"range_mV": (-0.2, 1.2), "shortest": 5.0, "rates": (0.02, 0.1), "sigma": NOISE}
    refined = refine_by_gradient(designed.protocol, SEARCHED, step=STEP, iterations=6, **how)
    protocol = refined.protocol
    assert refined.values[0] == pytest.approx(designed.values[-1], rel=1e-9)
    assert refined.values.min() < refined.values[0]
    assert protocol.begin[0] == SPACE.hold and protocol.durations[0] == SPACE.step
    assert protocol.begin.min() >= -0.2 and protocol.begin.max() <= 1.2 and protocol.durations.min() >= 4.9
    assert protocol.durations.sum() == pytest.approx(SPACE.length)
    np.testing.assert_allclose(protocol.edges(0, SPACE.length) % 0.1 % 0.1, 0.05, atol=0.0501)
    simulated = criterion(experiment(protocol), SEARCHED, sigma=NOISE)
    assert simulated < designed.values[-1] and simulated == pytest.approx(refined.values.min(), rel=0.05)


@pytest.mark.slow  # compiles for half a minute
def test_the_slope_of_the_criterion_is_its_difference_quotient(designed):
    step, theta = one_step(STEP, np.dtype(float)), jnp.asarray(SEARCHED)
    at = jnp.stack([jnp.asarray(designed.protocol.begin), jnp.asarray(designed.protocol.durations)])

    def value(at):
        return _value_and_slopes(step, theta, at[0], at[1], "A", NOISE, 0.2)

    slopes = value(at)[2]
    for row, column, h in ((0, 1, 1e-5), (1, 1, 1e-3)):
        change = jnp.zeros_like(at).at[row, column].set(h)
        quotient = (value(at + change)[0] - value(at - change)[0]) / (2 * h)
        assert float(slopes[row, column]) == pytest.approx(quotient, rel=1e-4)


@pytest.mark.parametrize(
    ("bad", "name"),
    [
        ({"protocol": voltage_ramp(0.0, 1.0, 20.0)}, "protocol"),
        ({"protocol": Constant(0.0)}, "protocol"),
        ({"range_mV": (1.15, 1.2)}, "protocol"),
        ({"range_mV": (1.2, 0.2)}, "range_mV"),
        ({"shortest": 30.0}, "protocol"),
        ({"fixed": (9,)}, "fixed"),
        ({"fixed": range(4)}, "fixed"),
        ({"iterations": 0}, "iterations"),
    ],
)
def test_a_bad_argument_of_a_refinement_is_refused_by_name(bad, name, designed):
    good = {"protocol": designed.protocol, "theta": SEARCHED, "step": STEP, "range_mV": (-0.2, 1.2)}
    with pytest.raises(ValueError, match=f"(?s)^{name}.*allowed"):
        refine_by_gradient(**{**good, **bad})


# --- the operator's table -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [random_steps(3), herg_staircase(), VoltageSteps([0.1, -70.3], [0.1, 0.7])])
def test_the_operators_table_gives_the_same_clamp_back(protocol):
    back = from_operator_json(to_operator_json(protocol))
    for name in ("begin", "end", "durations"):
        assert np.array_equal(getattr(back, name), getattr(protocol, name))
    assert back.start == 0 and back.kind == "voltage"


def test_the_operators_table_says_what_an_operator_must_know():
    table = json.loads(to_operator_json(random_steps(3)))
    assert table["number_of_segments"] == len(table["segments"]) == 28
    assert table["total_length_ms"] == LENGTH and table["sampling_rate_kHz"] == 10
    assert table["segments"][24] == {"number": 25, "start_ms": 6000.0, "duration_ms": 250.0, "level_mV": -120.0}


def test_a_table_that_contradicts_itself_or_is_none_is_refused():
    table = json.loads(to_operator_json(random_steps(3)))
    table["segments"][3]["start_ms"] += 1
    for text in (json.dumps(table), "{", "[]", "{}", json.dumps({"format": table["format"], "segments": [{}]})):
        with pytest.raises(ValueError, match="table"):
            from_operator_json(text)
    with pytest.raises(ValueError, match="protocol: PulseTrain; allowed"):
        to_operator_json(PulseTrain(-50.0, 1.0, 1000.0))  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"dt = 0 ms; allowed"):
        to_operator_json(random_steps(3), dt=0)
