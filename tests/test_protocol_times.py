"""Claims about the times of protocols: as exact at 1e9 ms as at 0, nothing left out that a solver may not step over."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from jaxcardio import protocols as P
from jaxcardio.clock import LATEST, RESOLUTION

FAR = 5 * RESOLUTION
"""From an end, by which rounding decides on which side an edge is, ms."""
BASES = st.sampled_from([0.0, 1e6, 1e8, 1e9])
PERIODS = st.sampled_from([333.3, 1000 / 3, 599.9, 0.3, 0.7, 1000.0]) | st.floats(0.3, 5000)
STARTS = st.sampled_from([0.0, 0.3, 1 / 3, -0.7, 10.0, -2.0]) | st.floats(-2000, 2000)


def trains(base=0.0):
    def make(period, part, start, count):
        return P.PulseTrain(-52.0, max(0.01, part * period), period, base + start, count)

    return st.builds(make, PERIODS, st.floats(0.02, 0.9), STARTS, st.integers(1, 50) | st.just(np.inf))


def pieces(base=0.0):
    levels = st.floats(-80, 40).map(lambda x: round(x, 1))
    rows = st.lists(st.tuples(levels, levels, st.sampled_from([0.1, 0.3, 1 / 3, 59.7, 340.6])), min_size=1, max_size=6)
    return st.builds(lambda rows, s: P.Segments(*np.array(rows).T[:3], start=base + s, kind="current"), rows, STARTS)


def pulses(base=0.0):
    gaps = st.lists(st.sampled_from([0.7, 1 / 3, 250.0]) | st.floats(0.3, 900), min_size=1, max_size=8)
    return st.builds(lambda gaps, s: P.Pulses(-30.0, 0.2, base + s + np.cumsum(gaps), "current"), gaps, STARTS)


def recordings(base=0.0):
    @st.composite
    def make(draw):
        n = draw(st.integers(2, 40))
        levels = draw(st.lists(st.sampled_from([0.0, -52.0, 0.1, 7.0]), min_size=n, max_size=n))
        dt = draw(st.sampled_from([0.05, 0.1, 1 / 3, 2.0]))
        ts = base + draw(STARTS) + dt * np.arange(n)
        return P.Sampled(ts, levels, "current", [ts[n // 2]])

    return make()


@st.composite
def protocols(draw, base=0.0, depth=2) -> P.AbstractProtocol:
    """Any protocol that does something near the time `base`."""
    how = draw(st.sampled_from(["train", "pulses", "pieces", "sampled", "then", "plus", "repeat", "shifted"]))
    if depth == 0 or how in ("train", "pulses", "pieces", "sampled"):
        plain = {"pulses": pulses, "pieces": pieces, "sampled": recordings}
        return draw(plain.get(how, trains)(base))
    one = protocols(base, depth - 1)
    anew = protocols(0.0, depth - 1)
    if how == "then":
        return P.Then(draw(one), draw(anew), base + draw(STARTS))
    if how == "plus":
        return P.Plus(draw(one), draw(one))
    return P.Repeat(draw(anew), draw(PERIODS)) if how == "repeat" else P.Shifted(draw(protocols(base + 7.5, 0)), 7.5)


def same_times(one, other, t1):
    """One list of times in (0, t1) up to the resolution, but for those so near the ends that rounding decides."""
    one, other = (np.asarray(x)[(np.asarray(x) > FAR) & (np.asarray(x) < t1 - FAR)] for x in (one, other))
    assert one.shape == other.shape
    np.testing.assert_allclose(one, other, rtol=0, atol=2 * RESOLUTION)


def away_from(edges, t1, n=200):
    """Times in (0, t1) at which rounding does not decide on which side of an edge they are."""
    t = np.sort(np.random.default_rng(0).uniform(0, t1, n))
    edges = np.concatenate([[0.0], edges, [t1]])
    return t[np.abs(t[:, None] - edges).min(axis=1) > FAR]


@given(st.data(), BASES, st.floats(-500, 3000) | st.sampled_from([0.0, 0.3, 1000.0, 10.0]))
@settings(max_examples=120, deadline=None)
def test_since_is_the_same_protocol_in_small_numbers(data, base, noise):
    protocol, t0, length = data.draw(protocols(base)), base + noise, 700.0
    since = protocol.since(t0)
    assert since.kind == protocol.kind and since.shortest() >= protocol.shortest() * (1 - 1e-6)
    same_times(since.edges(0.0, length), protocol.edges(t0, t0 + length) - t0, length)
    same_times(since.onsets(0.0, length), protocol.onsets(t0, t0 + length) - t0, length)
    t = away_from(since.edges(0.0, length), length)
    # On a line of 50 pA/pF in 0.05 ms, half an ulp of 1e9 ms is 1e-4 pA/pF.
    np.testing.assert_allclose(since.value(t), protocol.value(t0 + t), rtol=0, atol=1e-3 if base > 1e6 else 1e-5)
    if base:
        times = [abs(x) for leaf in jax.tree.leaves(since) for x in np.ravel(leaf) if np.isfinite(x)]
        assert max(times) < 5e5


@given(trains(), st.integers(0, 10**5), st.integers(0, 300))
@settings(max_examples=60, deadline=None)
def test_since_is_the_same_to_the_last_bit_in_whole_numbers(train, beats, later):
    whole = P.PulseTrain(-52.0, 1.0, np.ceil(train.period) + 1, np.rint(train.start))
    late, early = (whole.since(float(t)) for t in (later + beats * whole.period + 2000, later + 2000))
    assert [float(x) for x in jax.tree.leaves(late)] == [float(x) for x in jax.tree.leaves(early)]


@given(st.data(), BASES, st.floats(0.01, 3000) | st.sampled_from([0.9, 9332.7, 1000.0]))
@settings(max_examples=80, deadline=None)
def test_edges_onsets_and_corners_are_inside_and_apart(data, base, length):
    protocol = data.draw(protocols(base))
    t0 = base + data.draw(STARTS)
    for times in (protocol.edges(t0, t0 + length), protocol.corners(t0, t0 + length)):
        assert times.dtype == np.float64 and (np.diff(times) > RESOLUTION).all()
        assert ((times > t0 + RESOLUTION) & (times < t0 + length - RESOLUTION)).all()
    onsets = protocol.onsets(t0, t0 + length)
    assert (np.diff(onsets) > 0).all()
    assert ((onsets >= t0 - 2 * RESOLUTION) & (onsets < t0 + length)).all()


@pytest.mark.parametrize("base", [0.0, 1e6, 1e8, 1e9])
@pytest.mark.parametrize("start", [0.0, 0.3, 1 / 3, -0.7, -1e6])
@pytest.mark.parametrize("period", [333.3, 1000 / 3, 599.9, 0.3, 0.7, 1000.0])
def test_n_periods_have_n_onsets_and_no_edge_at_their_end(period, start, base):
    train = P.PulseTrain(-52.0, period / 3, period, start)
    repeat = P.Shifted(P.Repeat(P.PulseTrain(-52.0, period / 3, 2 * period), period), -start)
    first = start + period * max(0.0, np.ceil((base - start) / period))
    for n, protocol in itertools.product((1, 2, 7, 28), (train, repeat)):
        t1 = first + n * period
        assert len(protocol.onsets(first, t1)) == n and len(protocol.edges(first, t1)) == 2 * n - 1
        halves = [protocol.onsets(first, first + period), protocol.onsets(first + period, t1)]
        assert np.array_equal(np.concatenate(halves), protocol.onsets(first, t1)) or n == 1


@given(st.data(), BASES)
@settings(max_examples=80, deadline=None)
def test_on_the_host_a_time_is_at_its_edge(data, base):
    """At an edge, a rounding before it and just after it, the value is the new one."""
    protocol = data.draw(trains(base) | pulses(base) | pieces(base))
    edges = protocol.edges(base - 1000.0, base + 1000.0)[:500]
    assume(len(edges))
    after = protocol.value(edges + 2 * RESOLUTION)
    for t in (edges, np.nextafter(edges, -np.inf), edges - RESOLUTION / 3):
        np.testing.assert_allclose(protocol.value(t), after, rtol=0, atol=1e-2 if protocol.shortest() < 1 else 1e-4)


@pytest.mark.parametrize("period", [333.3, 1000 / 3, 599.9])
@pytest.mark.parametrize("start", [0.0, 0.1, 1 / 3, 10_000.1])
def test_a_train_is_on_at_each_of_2000_onsets(period, start):
    train = P.PulseTrain(-52.0, 1.0, period, start)
    onsets = train.onsets(start, start + 2000 * period)
    assert len(onsets) == 2000
    assert (train.value(onsets) == -52.0).all() and (train.value(onsets + 1.0) == 0.0).all()


def test_steps_of_decimals_leave_no_gap():
    durations = np.tile([0.1, 0.3, 0.7, 59.7, 1340.6], 80)
    levels = np.arange(400.0)
    for start in (0.0, 0.1, 1 / 3, 10_000.1):
        steps = P.VoltageSteps(levels, durations, start)
        edges = steps.edges(start - 1, start + durations.sum() + 1)
        assert np.array_equal(steps.value(edges[:-1]), levels)


@given(protocols(), BASES, st.floats(0, 3000))
@settings(max_examples=60, deadline=None)
def test_json_gives_an_equal_protocol(protocol, t0, noise):
    for one in (protocol, protocol.since(t0 + noise)):
        text = P.to_json(one)
        back = P.from_json(text)
        assert back is not None and type(back) is type(one) and back.kind == one.kind and P.to_json(back) == text
        t = np.linspace(0.0, 800.0, 301)
        assert np.array_equal(back.value(t), one.value(t))
        assert np.array_equal(back.edges(0.0, 800.0), one.edges(0.0, 800.0))


def test_compiled_in_float32_a_late_beat_is_as_exact_as_the_first():
    train = P.PulseTrain(-52.0, 1.0, 1000.0, 10.0)
    recorded = P.Repeat(P.Sampled([0.0, 9.9, 10.0, 11.0, 11.1], [0.0, 0.0, 7.0, 7.0, 0.0], "current"), 1000.0)
    steps = P.Repeat(P.VoltageSteps([-80.0, 20.0, -80.0], [100.0, 0.5, 50.0]), 1000.0)
    t = np.linspace(0.0, 3000.0, 5000, dtype=np.float32)
    for protocol in (train, recorded, steps):
        late, early = (
            jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), protocol.since(t0)) for t0 in (1e9 + 5, 1e3 + 5)
        )
        compiled = jax.jit(lambda p, t: p.value(t))
        assert np.array_equal(compiled(late, t), compiled(early, t))
        host = protocol.value(1e9 + 5 + t.astype(float))
        assert np.mean(compiled(late, t) != host.astype(np.float32)) < 0.01


# --- one pulse -------------------------------------------------------------------------------------------------------


def test_a_train_of_infinite_period_is_one_pulse():
    one = P.PulseTrain(-52.0, 2.0, np.inf, 10.0)
    t = np.array([-5.0, 9.9, 10.0, 11.9, 12.0, 1e9])
    expected = [0.0, 0.0, -52.0, -52.0, 0.0, 0.0]
    assert np.array_equal(one.value(t), expected)
    assert np.array_equal(jax.jit(lambda p, t: p.value(t))(one, t), expected)
    assert np.array_equal(one.edges(0.0, 1e9), [10.0, 12.0]) and np.array_equal(one.onsets(-1e9, 1e9), [10.0])
    assert np.array_equal(one.since(11.0).edges(0.0, 1e9), [1.0]) and one.since(11.0).value(0.5) == -52.0
    assert np.array_equal(one.since(3.0).onsets(0.0, 1e9), [7.0])
    assert one.since(13.0).edges(0.0, 1e9).size == 0 and one.since(13.0).value(1.0) == 0.0
    back = P.from_json(P.to_json(one))
    assert isinstance(back, P.PulseTrain) and back.period == np.inf


def test_a_train_that_is_over_is_no_stimulus():
    over = P.PulseTrain(-52.0, 1.0, 300.0, 10.0, count=3).since(1e9)
    assert over.kind == "current" and over.value(5.0) == 0.0 and over.edges(0.0, 1e9).size == 0
    assert P.PulseTrain(-52.0, 1.0, 300.0, 10.0, count=3).since(610.5).onsets(0.0, 1e6).size == 0
    assert P.PulseTrain(-52.0, 1.0, 300.0, 10.0, count=3).since(310.5).onsets(0.0, 1e6) == [299.5]


def test_traced_times_are_shifted():
    found = jax.jit(lambda d: P.PulseTrain(-52.0, d, 1000.0, 10.0).since(1000.0).value(jnp.array([10.5, 13.0])))(2.0)
    assert np.array_equal(found, [-52.0, 0.0])
    slope = jax.grad(lambda v: P.VoltageSteps([-80.0, v], [10.0, 10.0]).since(15.0).value(1.0))(20.0)
    assert slope == 1.0


# --- what an adaptive solver must not step over ----------------------------------------------------------------------


def linear(protocol: P.AbstractProtocol, t0: float, t1: float, t):
    stops = np.concatenate([[t0], protocol.corners(t0, t1), [t1]])
    return np.interp(t, stops, protocol.value(stops))


@given(st.data(), BASES, st.floats(-3, 3))
@settings(max_examples=80, deadline=None)
def test_straight_lines_between_corners_are_the_recording(data, base, noise):
    recording: Any = data.draw(recordings(base))
    t0, t1 = recording.ts[0] + noise, recording.ts[-1] + 3.3
    assume(t1 - t0 > 0.1)
    t = np.linspace(t0, t1, 1501)
    # A corner within the resolution of an end is none: that much, times 52 pA/pF in 0.05 ms.
    np.testing.assert_allclose(linear(recording, t0, t1, t), recording.value(t), rtol=0, atol=3e-3)
    straight = P.Sampled(recording.ts, 0.7 * (recording.ts - recording.ts[0]) - 30.0)
    assert straight.corners(recording.ts[0] + 0.01, recording.ts[-1]).size == 0
    np.testing.assert_allclose(straight.corners(t0 - 9, t1), recording.ts[[0, -1]])


def test_corners_of_a_recording_are_its_bends():
    samples = np.zeros(20_000)
    samples[10_000:10_020] = -52.0
    pulse = P.Sampled(np.arange(20_000) * 0.05, samples, "current")
    np.testing.assert_allclose(pulse.corners(0.0, 999.0), [499.95, 500.0, 500.95, 501.0])
    for whole in (P.Plus(pulse, pulse), P.Then(P.Constant(0.0, "current"), pulse, 7.0), P.Shifted(pulse, -7.0)):
        by = 0.0 if isinstance(whole, P.Plus) else 7.0
        np.testing.assert_allclose(whole.corners(0.0, 999.0), by + pulse.corners(0.0, 999.0))
    np.testing.assert_allclose(P.Repeat(pulse, 600.0).corners(550.0, 1150.0), 600 + pulse.corners(0.0, 999.0))
    assert all(p.corners(0.0, 1e9).size == 0 for p in (P.PulseTrain(-52.0, 1.0, 1e3), P.voltage_ramp(-80.0, 0.0, 9.0)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("scale", [1e-9, 1e-6, 1.0])
def test_a_gentle_curve_is_all_corners(dtype, scale):
    """Where every bend is below rounding, they still add up to a curve."""
    ts = np.arange(20_000) * 0.05
    curve = P.Sampled(ts, (30 * scale * np.sin(ts * scale**0.5 / 160)).astype(dtype) + dtype(-50.0))
    np.testing.assert_allclose(linear(curve, 0.0, ts[-1], ts), curve.value(ts), rtol=0, atol=1e-9)


class Own(P.AbstractProtocol):
    """A protocol of a user's own."""

    function: Any
    finest: float = np.inf
    at: tuple[float, ...] = ()

    @property
    def kind(self):
        return "current"

    def value(self, t):
        return self.function(t)

    def edges(self, t0, t1):
        return np.array([t for t in self.at if t0 < t < t1])

    def onsets(self, t0, t1):
        return np.zeros(0)

    def shortest(self):
        return self.finest


def test_a_protocol_of_ones_own_is_looked_at_as_often_as_it_says():
    sine = Own(np.sin, 2.0)
    np.testing.assert_allclose(sine.corners(5.0, 12.0), [7.0, 9.0, 11.0])
    np.testing.assert_allclose(P.Repeat(sine, 6.0).corners(0.0, 12.0), [2.0, 4.0, 8.0, 10.0])
    np.testing.assert_allclose(sine.since(1e6).value(0.5), np.sin(1e6 + 0.5))
    assert sine.since(0.0) is sine
    assert np.array_equal(Own(np.sin, at=(3.0,)).since(2.0).edges(0.0, 9.0), [1.0])
    assert Own(lambda t: 5 + 0 * t).corners(1e9, 1e9 + 5e3).size == 0
    assert Own(np.sin, at=(3.0,)).corners(0.0, 9.0).size == 0
    with pytest.raises(ValueError, match=r"Own: it has no edges .* shortest\(\), edges\(\) or corners\(\)"):
        Own(jnp.sin).corners(0.0, 9.0)
    with pytest.raises(ValueError, match="Own: it has no edges"):
        Own(lambda t: np.where((t > 500) & (t < 500.02), 1.0, 0.0)).corners(0.0, 999.0)
    with pytest.raises(ValueError, match="the time too long to look"):
        Own(lambda t: 5 + 0 * t).corners(0.0, 1e9)
    with pytest.raises(ValueError, match="Own: it has no edges"):
        jax.jit(lambda x: x + Own(jnp.sin).corners(0.0, 9.0).size)(1.0)
    with pytest.raises(ValueError, match=r"Own.shortest\(\) = 0.0 ms; allowed: > 1e-06"):
        Own(np.sin, 0.0).corners(0.0, 9.0)


@pytest.mark.parametrize(
    ("find", "name"),
    [
        (lambda: P.PulseTrain(-52.0, 0.1, 0.3).edges(0.0, 1e9), "period = 0.3 ms: 3.33e.09 pulses"),
        (lambda: P.PulseTrain(-52.0, 0.1, 0.3).onsets(0.0, 1e9), "period = 0.3 ms: 3.33e.09 onsets"),
        (lambda: P.Repeat(P.Constant(0.0), 1e-3).edges(0.0, 1e9), "period = 0.001 ms: 1e.12 cycles"),
        (lambda: P.Repeat(P.PulseTrain(-52.0, 0.1, 1.0), 1e4).edges(0.0, 1e9), "period = 10000.0 ms: 2e.09 edges"),
        (lambda: Own(np.sin, 1e-3).corners(0.0, 1e9), r"Own.shortest\(\) = 0.001 ms: 1e.12 corners"),
    ],
)
def test_more_than_fit_in_memory_are_refused(find, name):
    with pytest.raises(ValueError, match=rf"^{name} from 0.0 to 1000000000.0 ms; allowed: at most 1e\+08"):
        find()


def test_what_began_long_ago_costs_nothing():
    assert len(P.PulseTrain(-52.0, 0.1, 0.3, -4e9).onsets(0.0, 30.0)) == 100
    assert len(P.PulseTrain(-52.0, 0.1, 0.3, -4e9).edges(0.0, 30.0)) >= 199
    assert len(P.Repeat(P.PulseTrain(-52.0, 0.1, 0.3), 4e9).edges(3e9, 3e9 + 30.0)) >= 199


# --- what is refused -------------------------------------------------------------------------------------------------

TRAIN = P.PulseTrain(-52.0, 1.0, 1000.0)
ANY: Any = P
"""For what the types forbid."""
NO_NUMBERS: list[Any] = [
    np.nan,
    np.inf,
    -np.inf,
    "5",
    b"5",
    None,
    1j,
    True,
    [1.0, 2.0],
    np.ones((1, 1)),
    [[1.0]],
    {},
    TRAIN,
]
MAKERS: dict[str, Any] = {
    "level": lambda x: P.Constant(x),
    "amplitude": lambda x: P.PulseTrain(x, 1.0, 9.0),
    "amplitude ": lambda x: P.Pulses(x, 1.0, [9.0]),
    "duration": lambda x: P.PulseTrain(-5.0, x, 9.0),
    "duration ": lambda x: P.Pulses(-5.0, x, [9.0]),
    "duration  ": lambda x: P.s1_s2(-5.0, x, 9.0, 2, 5.0),
    "duration   ": lambda x: P.dynamic_restitution(-5.0, x, [9.0], 2),
    "start": lambda x: P.PulseTrain(-5.0, 1.0, 9.0, x),
    "start ": lambda x: P.VoltageSteps([1.0], [2.0], x),
    "start  ": lambda x: P.s1_s2(-5.0, 1.0, 9.0, 2, 5.0, x),
    "at": lambda x: P.Then(TRAIN, TRAIN, x),
    "period": lambda x: P.Repeat(TRAIN, x),
    "t0": lambda x: P.Shifted(TRAIN, x),
    "s1_period": lambda x: P.s1_s2(-5.0, 1.0, x, 2, 5.0),
    "s1_count": lambda x: P.s1_s2(-5.0, 1.0, 9.0, x, 5.0),
    "s2_interval": lambda x: P.s1_s2(-5.0, 1.0, 9.0, 2, x),
    "beats": lambda x: P.dynamic_restitution(-5.0, 1.0, [9.0], x),
}
NO_LISTS: list[Any] = [
    "5",
    None,
    5.0,
    [np.nan, 1.0],
    [1.0, np.inf],
    ["1", "2"],
    [None, 1.0],
    [1j, 2.0],
    [[1.0, 2.0]],
    [True, False],
    [1, [2]],
]
LISTS: dict[str, Any] = {
    "times": lambda x: P.Pulses(-5.0, 0.1, x),
    "durations": lambda x: P.VoltageSteps([1.0, 2.0], x),
    "begin": lambda x: P.Segments(x, [1.0, 2.0], [1.0, 2.0]),
    "end": lambda x: P.Segments([1.0, 2.0], x, [1.0, 2.0]),
    "durations ": lambda x: P.Segments([1.0, 2.0], [1.0, 2.0], x),
    "ts": lambda x: P.Sampled(x, [1.0, 2.0]),
    "samples": lambda x: P.Sampled([1.0, 2.0], x),
    "jumps": lambda x: P.Sampled([1.0, 2.0], [1.0, 2.0], jumps=x),
    "periods": lambda x: P.dynamic_restitution(-5.0, 0.1, x, 2),
}


@pytest.mark.parametrize(("name", "value"), [*itertools.product(MAKERS, NO_NUMBERS)], ids=lambda x: str(x)[:20])
def test_what_is_no_number_is_refused_by_name(name, value):
    with pytest.raises(ValueError, match=rf"^{name.strip()} = [^\n]*; allowed: [^\n]*$"):
        MAKERS[name](value)


@pytest.mark.parametrize(("name", "value"), [*itertools.product(LISTS, NO_LISTS)], ids=lambda x: str(x)[:20])
def test_what_is_no_list_of_numbers_is_refused(name, value):
    with pytest.raises(ValueError, match=r"^[^\n]*(allowed|expected)[^\n]*$") as error:
        LISTS[name](value)
    assert name.strip() in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ANY.s1_s2(-5.0, 1.0, 9.0, 2.5, 5.0), "s1_count = 2.5 pulses; allowed: >= 1, whole"),
        (lambda: ANY.dynamic_restitution(-5.0, 1.0, [9.0], 1.5), "beats = 1.5 pulses a period; allowed: >= 1, whole"),
        (lambda: P.dynamic_restitution(-5.0, 1.0, [], 2), r"periods = \[\] ms; allowed: each > duration"),
        (lambda: P.PulseTrain(-5.0, 1e-7, 9.0), "duration = 1e-07 ms; allowed: > 0, by more than 1e-06"),
        (lambda: P.PulseTrain(-5.0, 1.0, 9.0, -1e12), "start = -1000000000000.0 ms; allowed: finite, within"),
        (lambda: P.Pulses(-5.0, 1.0, [1e10]), "times = .* ms; allowed: .* within"),
        (lambda: P.Pulses(-5.0, 1.0, []), "times = .* ms; allowed: at least one"),
        (lambda: P.Pulses(-5.0, 1.0, np.arange(1000.0)), r"times = [^\n]* ms; allowed: finite, ascending"),
        (lambda: P.VoltageSteps([1.0], [1e10]), "durations = .* ms; allowed: .* together at most"),
        (lambda: P.Sampled([0.0, 1e10], [1.0, 2.0]), "ts = .* ms; allowed: strictly ascending"),
        (lambda: P.Sampled([0.0, 1e-7], [1.0, 2.0]), "ts = .* ms; allowed: strictly ascending, by more than 1e-06 ms"),
        (lambda: P.Repeat(TRAIN, 5e-6), "period = 5e-06 ms; allowed: > 0: 1e-05 to"),
        (lambda: P.Repeat(TRAIN, 0.0), "period = 0.0 ms; allowed: > 0"),
        (lambda: ANY.Plus(TRAIN, 5), "second = 5; allowed: a protocol"),
        (lambda: ANY.Repeat("x", 5.0), "once = 'x'; allowed: a protocol"),
        (lambda: ANY.Then(None, TRAIN, 5.0), "first = None; allowed: a protocol"),
        (lambda: ANY.Shifted(P.Constant, 5.0), "inner = .*; allowed: a protocol"),
        (lambda: ANY.voltage_ramp("1", 2.0, 3.0), "V0 = '1' mV; allowed: one number"),
        (lambda: ANY.VoltageSteps("12", "34"), "voltages = '12' mV; allowed: "),
        (lambda: TRAIN.since(1e10), "t0 = 10000000000.0 ms; allowed: within"),
        (lambda: P.Constant(1.0).since(np.nan), "t0 = nan ms"),
        (lambda: jax.jit(lambda a: P.PulseTrain(a, 1.0, 9.0).value(0.0))(jnp.ones(2)), "amplitude = .*one number"),
    ],
)  # fmt: skip
def test_nonsense_is_refused(make, message):
    with pytest.raises(ValueError, match=rf"^{message}"):
        make()


@pytest.mark.parametrize("count", [2.5, 0, -3, np.nan, "3", None, True, -np.inf, [2, 3]])
def test_a_count_is_whole(count):
    with pytest.raises(ValueError, match=r"^count = .* pulses; allowed: >= 1, whole or inf"):
        P.PulseTrain(-5.0, 1.0, 9.0, count=count)
    assert P.PulseTrain(-5.0, 1.0, 9.0, count=np.inf).count == np.inf


@pytest.mark.parametrize("period", [np.nan, "9", None, [9.0], 1.0, 0.0, -np.inf, 1.0 + 1e-7, 9j])
def test_a_period_is_longer_than_its_pulse(period):
    with pytest.raises(ValueError, match=r"^period = .* ms; allowed: > duration = 1.0 ms.*; inf for one pulse"):
        P.PulseTrain(-5.0, 1.0, period)


@pytest.mark.parametrize("kind", ["zap", "", 5, None, ["current"]])
def test_a_kind_is_one_of_two(kind):
    for make in (
        lambda: P.Constant(1.0, kind),
        lambda: P.PulseTrain(-5.0, 1.0, 9.0, kind=kind),
        lambda: P.Pulses(-5.0, 1.0, [9.0], kind),
        lambda: P.Segments([1.0], [1.0], [1.0], kind=kind),
        lambda: P.Sampled([1.0, 2.0], [1.0, 2.0], kind),
    ):
        with pytest.raises(ValueError, match=r"^kind = .*; allowed: 'current' or 'voltage'$"):
            make()


CONSTANT = '{"type": "Constant", "level": %s}'
TEXTS = [
    "5", "[1, 2]", '"text"', "true", "NaN", "", "{", "{}", '{"type": 5}', '{"type": ["Constant"]}', '{"level": 1}',
    *(CONSTANT % x for x in ("null", '"5"', "NaN", "Infinity", '"inf"', "[1]", "true", "{}", "1e999")),
    CONSTANT % ("9" * 400), CONSTANT % ("9" * 5000),
    '{"type": "Constant"}',
    '{"type": "Constant", "level": 1, "levle": 2}',
    '{"type": "Constant", "level": 1, "level": 2}',
    '{"type": "Constant", "level": 1, "kind": "zap"}',
    '{"type": "Constant", "level": 1, "kind": null}',
    '{"type": "Repeat", "once": null, "period": 5}',
    '{"type": "Repeat", "once": [1], "period": 5}',
    '{"type": "Then", "first": 5, "second": {"type": "Constant", "level": 1}, "at": 5}',
    '{"type": "PulseTrain", "amplitude": -5, "duration": [1, 2], "period": 5}',
    '{"type": "PulseTrain", "amplitude": -5, "duration": 1, "period": 5, "count": 2.5}',
    '{"type": "Pulses", "amplitude": -5, "duration": 1, "times": 5}',
    '{"type": "Pulses", "amplitude": -5, "duration": 1, "times": ["5"]}',
    '{"type": "Pulses", "amplitude": -5, "duration": 1, "times": [{"type": "Constant", "level": 1}]}',
    '{"type": "Sampled", "ts": [0, 1], "samples": [0, 1], "jumps": [NaN]}',
    '{"type": "Sampled", "ts": [0, [1]], "samples": [0, 1]}',
    "[" * 100_000, '{"type": ' * 100_000,
    '{"type": "Repeat", "period": 5, "once": ' * 150 + CONSTANT % 1 + "}" * 150,
]  # fmt: skip


@pytest.mark.parametrize("text", TEXTS, ids=lambda x: x[:40])
def test_whatever_is_wrong_with_a_text_is_said_in_one_line(text):
    with pytest.raises(ValueError, match=r"^protocol: [^\n]+$") as error:
        P.from_json(text)
    assert str(error.value).count("protocol: ") == 1 and len(str(error.value)) < 500


def test_a_text_that_unfolds_without_bound_is_refused():
    text = CONSTANT % 1
    for _ in range(14):
        text = f'{{"type": "Plus", "first": {text}, "second": {text}}}'
    with pytest.raises(ValueError, match="allowed: at most 10000"):
        P.from_json(text)


def test_what_can_be_written_can_be_read():
    protocol = TRAIN
    for _ in range(99):
        protocol = P.Repeat(protocol, 1e4)
    back = P.from_json(P.to_json(protocol))
    assert back is not None and back.value(0.5) == -52.0
    with pytest.raises(ValueError, match="protocol: 101 protocols, 101 levels deep; allowed: at most 10000, 100 deep"):
        P.to_json(P.Repeat(protocol, 1e4))


def test_an_array_is_copied():
    for make in (
        lambda x: P.Pulses(-52.0, 1.0, x),
        lambda x: P.VoltageSteps(x, x),
        lambda x: P.Segments(x, x, x),
        lambda x: P.Sampled(x, x, jumps=x),
        lambda x: P.PulseTrain(x[0].reshape(()), x[0].reshape(()), x[1].reshape(())),
        lambda x: P.Constant(x[:1].reshape(())),
    ):
        x = np.array([10.0, 500.0])
        protocol = make(x)
        before = P.to_json(protocol)
        x[:] = 15.0
        assert P.to_json(protocol) == before


@example(1000 / 3, 0.3)
@given(PERIODS, STARTS)
@settings(max_examples=20, deadline=None)
def test_times_at_the_ends_of_the_clock(period, start):
    train = P.PulseTrain(-52.0, period / 3, period, start)
    for t0 in (-LATEST, LATEST - 3 * period):
        assert len(train.onsets(t0, t0 + 3 * period)) in (0, 2, 3, 4)
        since = train.since(t0)
        assert len(since.onsets(0.0, 3 * period)) in (0, 2, 3, 4)
    late = P.PulseTrain(-52.0, period / 3, period, LATEST).since(-LATEST)
    assert late.value(2 * LATEST + period / 9) == -52.0 and late.value(2 * LATEST - 1.0) == 0.0
