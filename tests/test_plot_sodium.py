"""Figures of sodium gating: what is drawn is what was measured, every axis has its unit, a page holds all of it."""

import numpy as np
import pytest

import jaxcardio as jc
from jaxcardio.plot import sodium
from jaxcardio.sodium.evaluation.action_potential_clamp import Along
from jaxcardio.sodium.evaluation.beats import LastBeat
from jaxcardio.sodium.evaluation.clamps import Clamps, Curve
from jaxcardio.sodium.evaluation.restitution import Curves, Restitution

RNG = np.random.default_rng(0)
CELL = jc.models.Skibsbye2016()


def random(n: int) -> np.ndarray:
    return RNG.random(n)


@pytest.fixture(scope="module")
def found():
    ts = np.linspace(0.0, 400.0, 50)
    curves = {
        "beats": LastBeat(ts, random(50), random(50)),
        "restitution": Restitution(
            *(Curves(np.array([300.0, 500.0]), random(2), RNG.random((2, 2))) for _ in range(2)),
        ),
        "clamps": Clamps(*(Curve(1 + random(5), random(5), random(5)) for _ in range(3))),
        "ap_clamp": Along(
            ts, random(50), random(50), random(50), *({n: random(50) for n in ("m", "h1", "h2")} for _ in range(2))
        ),
    }
    return jc.sodium.Evaluation((), curves, CELL, 0.1, "RushLarsenMidpoint", 100, 1000.0, "float64")


def lines(ax) -> list[np.ndarray]:
    return [np.asarray(line.get_ydata()) for line in ax.lines]


def test_the_last_beat_and_its_difference(found):
    _, (above, below) = jc.plot.figure(2, 1)
    assert sodium.last_beat(found, above, below) is above
    beat = found.curves["beats"]
    assert any(np.array_equal(y, beat.V) for y in lines(above))
    assert any(np.array_equal(y, beat.reference) for y in lines(above))
    assert any(np.array_equal(y, beat.V - beat.reference) for y in lines(below))
    assert "mV" in above.get_ylabel() and "mV" in below.get_ylabel() and "100 (ms)" in below.get_xlabel()


def test_both_restitutions_with_two_beats_a_cycle_length(found):
    curves = found.curves["restitution"].found
    one = sodium.apd_restitution(found, "S1-S2")
    assert any(np.array_equal(y, curves.s1_s2) for y in lines(one))
    two = sodium.apd_restitution(found, "dynamic")
    assert all(any(np.array_equal(y, column) for y in lines(two)) for column in curves.dynamic.T)
    assert "cycle length (ms)" in two.get_xlabel() and "S1-S2" in one.get_xlabel()


@pytest.mark.parametrize("which", ["current_voltage", "availability", "recovery"])
def test_the_curves_of_the_clamps(found, which):
    ax = sodium.clamp(found, which)
    curve = getattr(found.curves["clamps"], which)
    assert [y.tolist() for y in lines(ax)] == [curve.reference.tolist(), curve.found.tolist()]
    assert ("ms" if which == "recovery" else "mV") in ax.get_xlabel()


def test_gates_along_the_beat_and_where_they_settle(found):
    ax = sodium.gate_along_beat(found, "h2")
    assert any(np.array_equal(y, found.curves["ap_clamp"].gates["h2"]) for y in lines(ax))
    settled = sodium.gate_of_potential({"exact": CELL, "moved": CELL.replace(m_V_half=26.3)}, "m")
    exact, moved = lines(settled)
    V = np.asarray(settled.lines[0].get_xdata())
    assert abs(np.interp(0.5, moved, V) - np.interp(0.5, exact, V) - 10.0) < 0.1
    with pytest.raises(ValueError, match="gate = 'x'; allowed: of m, h1, h2"):
        sodium.gate_along_beat(found, "x")


def test_a_line_a_way_and_a_point_a_step():
    rows = [
        {"way": way, "dt": dt, "rmse_mV": dt**2, "seconds_a_beat": cost / dt}
        for way, cost in (("a", 1.0), ("b", 2.0)) for dt in (0.1, 0.01)
    ]  # fmt: skip
    ax = sodium.error_cost(rows)
    assert [line.get_label() for line in ax.lines] == ["a", "b"]
    assert np.allclose(lines(ax)[1], [200.0, 20.0])
    assert ax.get_xscale() == ax.get_yscale() == "log"


def test_a_page_holds_what_was_done_and_refuses_nothing_at_all(found, tmp_path):
    page = sodium.evaluation(found)
    page.savefig(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 20_000
    drawn = [ax for part in page.subfigs for ax in part.axes]
    assert len(drawn) == 2 + 2 + 3 + 3 and all(ax.get_xlabel() and ax.get_ylabel() for ax in drawn)
    nothing = jc.sodium.Evaluation((), {}, CELL, 0.1, "RushLarsenMidpoint", 100, 1000.0, "float64")
    with pytest.raises(ValueError, match="found = 'no experiment'; allowed: at least one of"):
        sodium.evaluation(nothing)
    with pytest.raises(ValueError, match="allowed: one with the experiment 'beats'"):
        sodium.last_beat(nothing)
