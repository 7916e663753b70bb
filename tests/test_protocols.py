"""Claims about protocols: values and edges agree, they compose, they survive JSON, and they refuse nonsense."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcardio import protocols as P
from jaxcardio.clock import RESOLUTION

EXAMPLES = {
    "train": P.PulseTrain(-52.0, 1.0, 300.0, 10.0),
    "three": P.PulseTrain(-52.0, 1.0, 300.0, 10.0, count=3),
    "s1s2": P.s1_s2(-52.0, 1.0, s1_period=400.0, s1_count=3, s2_interval=250.0, start=5.0),
    "dynamic": P.dynamic_restitution(-52.0, 1.0, periods=[500.0, 400.0], beats=2, start=5.0),
    "steps": P.VoltageSteps([-80.0, -20.0, 10.0], [250.0, 100.0, 250.0], start=50.0),
    "ramp": P.voltage_ramp(-80.0, 40.0, 200.0, start=100.0),
    "sampled": P.Sampled(np.arange(0.0, 500.0, 0.5), np.sin(np.arange(1000) / 50) * 30 - 40),
    "then": P.Then(P.PulseTrain(-52.0, 1.0, 300.0, 10.0), P.PulseTrain(-40.0, 2.0, 200.0, 5.0), 450.0),
    "plus": P.Plus(P.PulseTrain(-52.0, 1.0, 300.0, 10.0), P.Constant(0.5, "current")),
    "repeat": P.Repeat(P.VoltageSteps([-80.0, -20.0], [100.0, 50.0]), 180.0),
}


@pytest.mark.parametrize("name", sorted(EXAMPLES.keys() - {"sampled"}))  # a recording has corners, not edges
def test_between_edges_the_value_is_one_straight_line(name):
    """The edges are all the places where something happens: between two of them four points lie on a line."""
    protocol = EXAMPLES[name]
    times = np.concatenate([[0.0], protocol.edges(0.0, 900.0), [900.0]])
    for a, b in itertools.pairwise(times):
        t = a + (b - a) * np.array([0.01, 0.3, 0.7, 0.99])
        v = np.asarray(protocol.value(t), float)
        np.testing.assert_allclose(np.interp(t, t[[0, -1]], v[[0, -1]]), v, atol=1e-9)


@pytest.mark.parametrize("name", EXAMPLES)
def test_numpy_jax_and_traced_values_agree(name):
    protocol = EXAMPLES[name]
    t = np.sort(np.random.default_rng(0).uniform(0.0, 900.0, 200))
    host = np.asarray(protocol.value(t), float)
    np.testing.assert_allclose(protocol.value(jnp.asarray(t)), host, atol=1e-9)
    np.testing.assert_allclose(jax.jit(jax.vmap(lambda s: protocol.value(s)))(jnp.asarray(t)), host, atol=1e-9)


@pytest.mark.parametrize("name", EXAMPLES)
def test_json_round_trip(name):
    protocol = EXAMPLES[name]
    back = P.from_json(P.to_json(protocol))
    t = np.linspace(0.0, 900.0, 1001)
    assert back is not None
    assert P.to_json(back) == P.to_json(protocol) and back.kind == protocol.kind
    np.testing.assert_array_equal(back.value(t), protocol.value(t))
    np.testing.assert_array_equal(back.edges(0.0, 900.0), protocol.edges(0.0, 900.0))


def test_no_protocol_is_json_too():
    assert P.from_json(P.to_json(None)) is None


@given(start=st.floats(0, 50), duration=st.floats(0.1, 5), period=st.floats(10, 400), amplitude=st.floats(-80, -1))
@settings(max_examples=50, deadline=None)
def test_a_train_delivers_its_charge(start, duration, period, amplitude):
    """Summed over the pieces between edges, the charge is pulses x duration x amplitude (a start that the clock takes
    for 0 is no edge)."""
    train = P.PulseTrain(amplitude, duration, period, start)
    t1 = start + 5 * period
    times = np.concatenate([[0.0], train.edges(0.0, t1), [t1]])
    charge = np.sum(np.diff(times) * np.asarray(train.value((times[1:] + times[:-1]) / 2)))
    assert charge == pytest.approx(5 * duration * amplitude, rel=1e-9, abs=1e-12 - amplitude * min(start, RESOLUTION))
    np.testing.assert_allclose(train.onsets(0.0, t1), start + period * np.arange(5))


def test_right_continuity():
    steps = EXAMPLES["steps"]
    assert [float(steps.value(t)) for t in (49.0, 50.0, 299.999, 300.0, 399.0, 400.0, 5000.0)] == [
        -80,
        -80,
        -80,
        -20,
        -20,
        10,
        10,
    ]
    assert float(EXAMPLES["train"].value(10.0)) == -52.0 and float(EXAMPLES["train"].value(11.0)) == 0.0


def test_composition_in_time():
    then = EXAMPLES["then"]
    assert float(then.value(310.5)) == -52.0 and float(then.value(455.5)) == -40.0 and float(then.value(449.0)) == 0.0
    assert np.array_equal(then.edges(0.0, 700.0), [10.0, 11.0, 310.0, 311.0, 450.0, 455.0, 457.0, 655.0, 657.0])
    assert float(EXAMPLES["plus"].value(10.5)) == -51.5
    assert float(EXAMPLES["repeat"].value(110.0)) == float(EXAMPLES["repeat"].value(290.0)) == -20.0


def test_onsets_of_compositions():
    """Where a pulse begins is known through every composition; a clamp has none."""
    assert np.array_equal(EXAMPLES["then"].onsets(0.0, 700.0), [10.0, 310.0, 455.0, 655.0])
    assert np.array_equal(EXAMPLES["plus"].onsets(0.0, 700.0), [10.0, 310.0, 610.0])
    repeated = P.Repeat(P.Pulses(-52.0, 1.0, [5.0, 50.0]), 100.0)
    assert np.array_equal(repeated.onsets(20.0, 260.0), [50.0, 105.0, 150.0, 205.0, 250.0])
    assert EXAMPLES["steps"].onsets(0.0, 900.0).size == 0


def test_restitution_protocols_have_their_pulses():
    assert np.array_equal(EXAMPLES["s1s2"].times, [5.0, 405.0, 805.0, 1055.0])
    assert np.array_equal(EXAMPLES["dynamic"].times, [5.0, 505.0, 1005.0, 1405.0])


def test_the_value_is_differentiable_in_amplitude_and_level():
    assert jax.grad(lambda a: P.PulseTrain(a, 1.0, 300.0, 10.0).value(10.5))(-52.0) == 1.0
    levels = jnp.array([-80.0, -20.0])
    assert np.array_equal(jax.grad(lambda v: P.VoltageSteps(v, [10.0, 10.0]).value(15.0))(levels), [0.0, 1.0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: P.PulseTrain(-52.0, 0.0, 300.0), "duration = 0.0 ms; allowed: > 0"),
        (lambda: P.PulseTrain(-52.0, 5.0, 3.0), "period = 3.0 ms; allowed: > duration = 5.0 ms"),
        (lambda: P.PulseTrain(np.nan, 1.0, 300.0), "amplitude = nan pA/pF; allowed: finite"),
        (lambda: P.PulseTrain(-52.0, 1.0, 300.0, count=0), "count = 0 pulses; allowed: >= 1"),
        (
            lambda: P.Pulses(-52.0, 1.0, [10.0, 5.0]),
            r"times = .* ms; allowed: finite, ascending and more than duration",
        ),
        (lambda: P.Pulses(-52.0, 1.0, [10.0, 10.5]), "more than duration = 1.0 ms apart"),
        (lambda: P.VoltageSteps([-80.0, 0.0], [10.0]), r"voltages .* durations .*shapes \(2,\) and \(1,\)"),
        (lambda: P.VoltageSteps([-80.0, 0.0], [10.0, -1.0]), "durations = .* ms; allowed: each > 0"),
        (lambda: P.VoltageSteps([-80.0, np.inf], [10.0, 1.0]), "begin = .* mV; allowed: finite"),
        (lambda: P.Sampled([0.0, 2.0, 1.0], [0.0, 0.0, 0.0]), "ts = .* ms; allowed: strictly ascending"),
        (lambda: P.Sampled([0.0, 1.0], [0.0, 0.0, 0.0]), r"got shapes .*3,"),
        (lambda: P.s1_s2(-52.0, 1.0, 400.0, 3, 0.5), "s2_interval = 0.5 ms; allowed: > duration = 1.0 ms"),
        (lambda: P.dynamic_restitution(-52.0, 1.0, [500.0, 0.5], 2), "periods = .* ms; allowed: each > duration"),
        (
            lambda: P.Plus(P.Constant(0.0), P.Constant(0.0, "current")),
            "cannot combine a voltage protocol with a current",
        ),
        (lambda: P.from_json("{"), "not JSON"),
        (lambda: P.from_json('{"type": "Sine"}'), "type 'Sine'; allowed: Constant"),
        (lambda: P.from_json('{"type": "PulseTrain", "amplitude": 1}'), "protocol: .*missing"),
    ],
)  # fmt: skip
def test_nonsense_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
