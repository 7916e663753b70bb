"""Figures of reconstructed action potentials: what is drawn is what was found, with its intervals, units and doubts."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from jaxcardio import plot
from jaxcardio.intracellular import monitoring as results
from jaxcardio.intracellular.beats import LEVELS, Dropped, ReconstructedBeats
from jaxcardio.intracellular.monitoring import Effect, Example, Monitoring, Period, Rhythm
from jaxcardio.intracellular.pairs import Pairs
from jaxcardio.intracellular.ranges import Range, Ranges
from jaxcardio.intracellular.reasons import Reason
from jaxcardio.intracellular.recording import Event
from jaxcardio.intracellular.unet import Estimate
from jaxcardio.plot import intracellular

TS = np.arange(1600) - 200.0
"""Of a window, ms from the peak."""
OUTSIDE = ("extracellular",) * 5
ADDED = Event(20_000.0, "drug", "dofetilide", 10.0)


def iap(length: float) -> np.ndarray:
    return 0.1 + 0.9 / (1 + np.exp(-TS / 2)) / (1 + np.exp((TS - length) / 40))


def eap(wave_at: float | None) -> np.ndarray:
    spike = np.exp(-((TS / 4) ** 2)) - 0.4 * np.exp(-(((TS - 8) / 6) ** 2))
    noise = np.random.default_rng(0).normal(0, 0.01, len(TS))
    return spike + noise + (0 if wave_at is None else 0.15 * np.exp(-(((TS - wave_at) / 60) ** 2)))


@pytest.fixture
def beats() -> ReconstructedBeats:
    """Channels A of three beats, B of one, which is unfamiliar, and C of none."""
    times = np.array([[500.0, 1500.0, 2500.0], [600.0, np.nan, np.nan], [np.nan] * 3])
    there = np.isfinite(times)
    traces = np.where(there[..., None], iap(400.0), np.nan).astype(np.float32)
    value = np.where(there[..., None], np.linspace(100.0, 460.0, len(LEVELS)), np.nan)
    return ReconstructedBeats(
        ("A", "B", "C"), OUTSIDE[:3], times, traces, traces - np.float32(0.03), traces + np.float32(0.05), 1000.0,
        Estimate(value, value - 20, value + 30), np.where(there, 40.0, np.nan),
        there & (np.arange(3) == 1)[:, None], (Dropped("C", None, Reason.FLAT),), "{}",
    )  # fmt: skip


@pytest.fixture
def monitoring() -> Monitoring:
    """Five channels of 40 s, the last one without beats; a drug at 20 s makes APDs a tenth longer."""
    rng = np.random.default_rng(0)
    times = np.tile(np.arange(40) * 1000.0 + 500, (5, 1))
    times[4] = np.nan
    after = times >= ADDED.time
    share = np.where(after, 1.1, 1.0) + np.where(np.isfinite(times), 0.0, np.nan)
    base = np.linspace(100.0, 460.0, len(LEVELS)) * (1 + 0.1 * np.arange(5)[:, None])
    value = base[:, None] * share[..., None] + rng.normal(0, 1, (5, 40, len(LEVELS)))
    means = [
        np.array([value[k, which[k]].mean(0) if which[k].any() else np.full(len(LEVELS), np.nan) for k in range(5)])
        for which in (times < ADDED.time, after)
    ]
    change = means[1] - means[0]
    levels = len(LEVELS)
    mean = np.nanmean(change[:4], 0)
    p = np.array([0.2, 0.03, 0.002, 1e-4, *[1e-5] * 6])
    test = results.Test(mean, mean - 9, mean + 9, 0.1 * mean, p, p, np.full(levels, 4), np.ones((5, levels)))
    nothing = np.full(levels, np.nan)
    inside = {name: nothing.copy() for name in ("effect", "lower", "upper", "percent", "p", "p_corrected")}
    none_inside = results.Test(**inside, n_channels=np.zeros(levels, int), channel_p=np.full((5, levels), np.nan))
    potentials = {name: change[:, 8] + shift for name, shift in (("tangent", 3.0), ("threshold", np.nan))}
    period = Period(ADDED, (0.0, 20_000.0), (20_000.0, 40_000.0))
    count = np.array([20, 20, 20, 20, 0])
    effect = Effect(
        period, Estimate(change, change - 9, change + 9), count, count, means[0], test, none_inside, potentials
    )
    examples = [
        Example(k, at, iap(n), iap(n) - 0.02, iap(n) + 0.02, eap(n))
        for k in range(4) for at, n in ((19_500.0, 400.0), (39_500.0, 440.0))
    ]  # fmt: skip
    none = np.zeros(times.shape, bool)
    return Monitoring(
        channels=("A", "B", "C", "D", "E"), kinds=OUTSIDE, times=times,
        durations=Estimate(value, value - 20, value + 30),
        field_potentials={}, early=none, unfamiliar=none.copy(), effects=(effect,), examples=tuple(examples),
        rhythm=tuple(Rhythm(None, np.zeros((0, 2))) for _ in range(5)),  # pyright: ignore[reportArgumentType]
        conduction=None, events=(ADDED,), dropped=(), sampling_rate=1000.0, begin=0.0, end=40_000.0, about="{}",
    )  # fmt: skip


def lines(ax) -> list[np.ndarray]:
    return [np.asarray(line.get_ydata()) for line in ax.lines]


def texts(ax) -> str:
    return "\n".join([*(x.get_text() for x in ax.texts), ax.get_title(loc="left")])


def test_a_beat_has_its_interval_and_the_window_above(beats, tmp_path):
    _, (above, below) = plot.figure(2, 1)
    window = eap(400.0)
    assert intracellular.beat(beats, "A", 1, below, above=above, eap=window) is below
    assert any(np.array_equal(y, beats.iap[0, 1]) for y in lines(below))
    (band,) = below.collections
    y = band.get_paths()[0].vertices[:, 1]
    assert y.min() == pytest.approx(np.min(beats.lower[0, 1])) and y.max() == pytest.approx(np.max(beats.upper[0, 1]))
    assert np.array_equal(lines(above)[0], window)
    assert np.asarray(below.lines[0].get_xdata())[200] == 0.0, "the peak is at 0"
    assert "(ms)" in below.get_xlabel() and "normalised" in below.get_ylabel() and "mV" in above.get_ylabel()
    assert texts(below) == "channel A, 1.50 s: APD50 260 ms (240 to 290), APD90 420 ms (400 to 450)"


def test_a_beat_that_is_not_to_be_trusted_is_marked(beats):
    assert "APD90 ~420 ms" in texts(intracellular.beat(beats, "B"))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"channel": "X"}, "channel = 'X'; allowed: one of A, B, C"),
        ({"channel": "A", "index": 3}, "index = 3; allowed: 0 to 2"),
        ({"channel": "C"}, "index = 0; allowed: none: channel C has no beat"),
        ({"channel": "A", "eap": np.zeros(5)}, "above = None; allowed: axes"),
        ({"channel": "A", "above": plot.figure()[1], "eap": np.zeros(5)}, r"eap = \(5,\); allowed: a window of 1600"),
    ],
)
def test_a_beat_that_is_not_there_is_refused(beats, how, said):
    with pytest.raises(ValueError, match=said):
        intracellular.beat(beats, **how)


def test_a_page_holds_a_beat_of_each_channel_that_has_one(beats, tmp_path):
    page = intracellular.beats_of_channels(beats)
    page.savefig(tmp_path / "page.png")
    assert [texts(ax).split(",")[0] for ax in page.axes] == ["A", "B"]
    assert len(intracellular.beats_of_channels(beats, most=1).axes) == 1
    none = dataclasses.replace(beats, times=np.full((3, 3), np.nan))
    (text,) = intracellular.beats_of_channels(none).texts
    assert "no beat was reconstructed" in text.get_text() and "dead" in text.get_text()


def test_durations_over_time_with_intervals_and_the_addition(monitoring):
    monitoring.unfamiliar[1, 3] = True
    ax = intracellular.apd_over_time(monitoring, "B", (50, 90))
    drawn = {line.get_label(): line for line in ax.lines}
    for level in (50, 90):
        points = drawn[f"APD{level}"]
        value = monitoring.apd(level).value[1]
        assert np.array_equal(points.get_ydata(), np.delete(value, 3)), "the unfamiliar one is drawn by itself"
        assert np.allclose(points.get_xdata(), np.delete(monitoring.times[1], 3) / 1000)
    segments = ax.collections[0].get_segments()
    assert np.allclose(segments[0][:, 1], monitoring.apd(50).value[1, 0] + np.array([-20, 30]))
    grey = [line for line in ax.lines if line.get_color() == intracellular.GREY and len(line.get_ydata())]
    assert [y.get_ydata()[0] for y in grey] == [monitoring.apd(level).value[1, 3] for level in (50, 90)]
    assert any(list(line.get_xdata()) == [20.0, 20.0] for line in ax.lines) and "dofetilide 10 nM" in texts(ax)
    assert "time (s)" in ax.get_xlabel() and "(ms)" in ax.get_ylabel()


@pytest.mark.parametrize("unit", ["ms", "%"])
def test_boxes_are_the_channels_changes(monitoring, unit):
    ax = intracellular.drug_changes(monitoring, unit=unit)
    effect = monitoring.effects[0]
    changes = effect.change.value if unit == "ms" else 100 * effect.change.value / effect.control
    for at, level in enumerate((40, 50, 70, 90)):
        values = changes[:4, LEVELS.index(level)]
        assert any(len(y) == 4 and np.allclose(y, values) for y in lines(ax)), "a point a channel"
        median = [y for y in lines(ax) if len(y) == 2 and np.allclose(y, np.median(values))]
        assert median, at
    assert texts(ax).count("***") == 4 and "dofetilide 10 nM, 4 channels" in texts(ax)
    assert f"({unit})" in ax.get_ylabel()
    weaker = texts(intracellular.drug_changes(monitoring, levels=(10, 20, 30)))
    assert [line for line in weaker.split("\n") if line][:3] == ["n.s.", "*", "**"]


def test_channels_that_measure_inside_are_no_part_of_the_boxes(monitoring, tmp_path):
    effect = monitoring.effects[0]
    effect.inside.effect[:] = 33.0
    mixed = dataclasses.replace(monitoring, kinds=("intracellular", *OUTSIDE[1:]))
    ax = intracellular.drug_changes(mixed)
    values = effect.change.value[1:4, LEVELS.index(90)]
    assert any(len(y) == 3 and np.allclose(y, values) for y in lines(ax))
    assert "3 channels" in texts(ax) and [33.0] in [list(y) for y in lines(ax)]
    assert "A (inside)" in intracellular.apd_over_time(mixed, "A").get_ylabel()
    page = intracellular.overview(mixed)
    assert "channel B" in page.subfigs[0].axes[0].get_ylabel(), "the first one that is reconstructed"


def test_a_change_that_was_not_tested_has_no_star(monitoring):
    monitoring.effects[0].test.p_corrected[:] = np.nan
    assert texts(intracellular.drug_changes(monitoring)).count("no test") == 4


@pytest.mark.parametrize(
    ("how", "said"),
    [({"effect": 1}, "effect = 1; allowed: 0 to 0"), ({"levels": (95,)}, "levels = 95 %; allowed: 10, 20")],
)
def test_changes_that_are_not_there_are_refused(monitoring, how, said):
    with pytest.raises(ValueError, match=said):
        intracellular.drug_changes(monitoring, **how)
    quiet = dataclasses.replace(monitoring, effects=())
    with pytest.raises(ValueError, match="allowed: none: the recording names no addition"):
        intracellular.drug_changes(quiet)


def test_a_map_of_the_array_counts_from_the_first_electrode():
    positions = 200.0 * np.stack(np.meshgrid(np.arange(4), np.arange(3)), -1).reshape(-1, 2)
    times = 5000.0 + positions[:, 0] / 100
    times[5] = np.nan
    ax = intracellular.conduction_map(positions, times, names=[str(k) for k in range(12)])
    drawn = next(c for c in ax.collections if len(c.get_offsets()) == 11)
    assert np.allclose(drawn.get_array(), np.delete(times, 5) - 5000.0)
    assert np.allclose(drawn.get_offsets(), np.delete(positions, 5, 0))
    assert "(µm)" in ax.get_xlabel() and ax.figure.axes[-1].get_ylabel() == "activation time (ms)"
    assert {str(k) for k in range(12)} <= {t.get_text() for t in ax.texts}
    line = intracellular.conduction_map(np.array([[0.0, 0], [200, 0], [400, 0]]), np.arange(3.0))
    assert len(line.collections) == 1, "electrodes on a line have no isochrones"
    with pytest.raises(ValueError, match="times: 3; allowed: 12, one for each of positions"):
        intracellular.conduction_map(positions, np.zeros(3))
    with pytest.raises(ValueError, match="a time for one channel at least"):
        intracellular.conduction_map(positions, np.full(12, np.nan))


def test_landmarks_lie_on_the_windows_and_a_missing_wave_is_said():
    windows = np.stack([eap(500.0), eap(None)])
    ax = intracellular.features(windows, 1000.0)
    marks = {
        line.get_label(): (line.get_xdata()[0], line.get_ydata()[0]) for line in ax.lines if line.get_marker() != "None"
    }
    assert abs(marks[r"$V_{max}$"][0]) <= 2 and marks[r"$V_{max}$"][1] == pytest.approx(1.0, abs=0.1)
    assert 300 < marks["bp3"][0] < 500
    assert texts(ax).count("no repolarisation wave") == 1
    single = intracellular.features(windows[:1], 1000.0, unit="uV")
    assert "no repolarisation wave" not in texts(single) and single.get_ylabel() == "eAP (uV)"


def test_changes_beside_those_of_the_field_potential(monitoring):
    ax = intracellular.beside_field_potentials(monitoring)
    effect = monitoring.effects[0]
    tangent = ax.lines[0]
    assert np.allclose(tangent.get_xdata(), effect.change.value[:4, 8] + 3)
    assert np.allclose(tangent.get_ydata(), effect.change.value[:4, 8])
    assert [line.get_label() for line in ax.lines][:2] == ["tangent, 4 channels", "threshold, 0 channels"]


def test_ranges_lie_where_the_published_ones_say():
    feature = Range("delay_s", (0.4, 0.9), (0.4, 0.65, 1.15), (np.nan, np.nan, np.nan))
    correlation = Range("r(delay, APD90)", (0.91, 0.97), (0.93, 0.93, 0.93), (0.82, 0.82, 0.82))
    left, right = intracellular.ranges(Ranges((feature,), (correlation,), 0.7))
    spread, median = left.lines
    assert np.allclose(spread.get_xdata(), [0.0, 1.5]) and np.allclose(median.get_xdata(), [0.5])
    assert [label.get_text() for label in left.get_yticklabels()] == ["delay (s), 0.4 to 0.9"]
    assert [line.get_xdata()[0] for line in right.lines] == [0.93, 0.82]
    assert "70 % of the pairs" in texts(left)
    with pytest.raises(ValueError, match="axes = 1; allowed: two"):
        intracellular.ranges(Ranges((feature,), (), 0.7), [left])


def test_predictions_against_the_truth():
    truth = np.stack([iap(n) for n in (300.0, 400.0, 500.0)]).astype(np.float32)
    found = truth + np.float32(0.02)

    class Network:
        def __call__(self, eap):
            return SimpleNamespace(median=found)

    n = np.ones(3)
    pairs = Pairs(truth, truth, np.ones((3, 10)), 1000.0, np.array([1, 1, 2]), np.array(["none"] * 3), n,
                  np.array(["nea"] * 3), n, n, n)  # fmt: skip
    ax = intracellular.predicted_against_actual(Network(), pairs)  # pyright: ignore[reportArgumentType]
    assert texts(ax) == "3 pairs of 2 cells: r = 1.0000, mean absolute error 0.0200"
    assert ax.collections[0].get_array().sum() == found.size


@pytest.mark.slow
def test_a_page_of_a_monitored_recording(monitoring, tmp_path):
    page = intracellular.overview(monitoring)
    page.savefig(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 50_000
    axes = [ax for part in page.subfigs for ax in part.axes]
    drawn = "\n".join(texts(ax) for ax in axes)
    assert "channel B" in drawn and "every channel" in drawn and "dofetilide 10 nM, 4 channels" in drawn
    assert page._suptitle.get_text() == "5 channels, 40 s, 160 beats; dofetilide 10 nM at 20 s"
    inside = axes[1]
    assert [line.get_label() for line in inside.lines] == ["control, 20 s", "dofetilide 10 nM, 40 s"]
    assert np.allclose(lines(inside)[1], monitoring.examples[1].iap)
    assert not any(ax.get_xlabel() == "x (µm)" for ax in axes), "no map without positions"
    with_map = intracellular.overview(monitoring, positions=200.0 * np.arange(10.0).reshape(5, 2))
    assert any(ax.get_xlabel() == "x (µm)" for part in with_map.subfigs for ax in part.axes)
    assert "channel C" in intracellular.overview(monitoring, "C").subfigs[0].axes[0].get_ylabel()
    with pytest.raises(ValueError, match="channel = 'X'; allowed: one of A, B, C, D, E"):
        intracellular.overview(monitoring, "X")


def test_a_page_without_an_addition_or_without_a_beat(monitoring, tmp_path):
    quiet = dataclasses.replace(monitoring, effects=(), events=())
    intracellular.overview(quiet).savefig(tmp_path / "quiet.png")
    none = dataclasses.replace(monitoring, times=np.full((5, 40), np.nan))
    (text,) = intracellular.overview(none).texts
    assert text.get_text() == "no beat was reconstructed"
