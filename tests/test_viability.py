"""Claims about screening: every cell that is not viable is known, with all of its reasons, whatever is beside it."""

import json
from typing import Any

import equinox as eqx
import numpy as np
import pytest
from synthetic import train

from jaxcardio.models import KernikClancy2019
from jaxcardio.population import Reason, Rules, Screening, judge, measure, member, sample, screen
from jaxcardio.population.viability import BIOMARKERS, UNITS
from jaxcardio.protocols import VoltageSteps
from jaxcardio.simulation.trace import Status, Trace

# --- a made-up population with one known offender of each kind --------------------------------------------------------

TS = np.arange(0.0, 8000.0)
DISCARD = 2000.0
FEET = 250.0 + 1000.0 * np.arange(8) + np.array([0.0, 31.7, -12.3, 44.1, 7.9, -28.6, 13.3, 2.2])
FALLS = 400.0 + np.array([3.1, -7.7, 12.9, 1.3, -4.4, 8.8, 0.6, 2.3])
PLATEAU = -10.0


def beating(feet=FEET, falls=FALLS):
    return train(TS, feet, falls, rest=-75.0, peak=30.0)


def stuck_from(t, V, swing=0.0):
    """V that from t on stays at the plateau, and swings there with the given amplitude, mV."""
    return np.where(t > TS, V, PLATEAU + swing * np.sin(TS / 50))


CELLS = {
    "good": (beating(), Reason(0)),
    "silent": (np.full_like(TS, -70.0), Reason.NO_BEAT),
    "one beat, whose rest was not seen": (beating(FEET[3:4], FALLS[3:4]), Reason.NO_BEAT),
    "stuck throughout": (np.full_like(TS, PLATEAU), Reason.NO_BEAT | Reason.NO_REPOLARISATION),
    "beats, then stuck": (stuck_from(5300.0, beating()), Reason.NO_REPOLARISATION),
    "beats, then swings": (stuck_from(5300.0, beating(), 10.0), Reason.NO_REPOLARISATION),
    "long": (beating(falls=FALLS + 300), Reason.OUT_OF_RANGE),
    "long, then stuck": (
        stuck_from(5300.0, beating(falls=FALLS + 300)),
        Reason.OUT_OF_RANGE | Reason.NO_REPOLARISATION,
    ),
    "not a number": (np.where(TS < 3000.0, beating(), np.nan), Reason.RUN_FAILED),
    "infinite": (np.where(TS < 3000.0, beating(), -np.inf), Reason.RUN_FAILED),
}
NAMES = list(CELLS)
RULES = Rules(ranges={"apd90": (100.0, 600.0), "cycle_length": (300.0, np.inf)})


def measured_of(potentials, failed):
    trace = Trace.from_samples(TS, np.stack(potentials))
    status = np.where(failed, int(Status.NON_FINITE), int(Status.OK))
    return measure(eqx.tree_at(lambda x: x.status, trace, status), DISCARD)


@pytest.fixture(scope="module")
def measured():
    potentials, reasons = zip(*CELLS.values(), strict=True)
    return measured_of(potentials, [Reason.RUN_FAILED in r for r in reasons])


def judged(measured, rules=RULES) -> Screening:
    return Screening(judge(measured, rules), measured, rules, "made-up")


def test_each_offender_has_exactly_its_reasons(measured):
    found = judged(measured)
    assert {name: Reason(int(r)) for name, r in zip(NAMES, found.reasons, strict=True)} == {
        name: reason for name, (_, reason) in CELLS.items()
    }
    assert np.array_equal(found.viable, [name == "good" for name in NAMES])


def test_what_is_measured_is_what_was_made(measured):
    assert set(measured) == set(UNITS)
    good = {k: x[NAMES.index("good")] for k, x in measured.items()}
    assert good["beats"] == 5  # six after 2000 ms, of which the first follows none
    assert good["apd90"] == pytest.approx(1 + 0.9 * FALLS[3:].mean(), abs=0.6)  # 1 ms samples
    assert good["cycle_length"] == pytest.approx(np.diff(FEET)[2:].mean(), abs=0.5)
    assert good["mdp"] == pytest.approx(-75.0, abs=1e-9)
    assert good["peak"] == pytest.approx(30.0, abs=0.5)


def test_why_says_each_reason_with_value_unit_and_range(measured):
    found = judged(measured)

    def why(name):
        return found.why(NAMES.index(name))

    assert why("good") == []
    assert why("silent") == ["complete beats = 0, fewer than 1"]
    assert why("long") == [f"apd90 = {found.biomarkers['apd90'][NAMES.index('long')]:.4g} ms, outside 100 to 600 ms"]
    assert len(why("long, then stuck")) == 2
    assert why("beats, then stuck") == ["does not repolarise: V above -60 mV for the last 2000 ms"]
    assert "infinite or NaN" in why("not a number")[0]
    for i, reasons in enumerate(found.reasons):
        assert len(found.why(i)) == int(reasons).bit_count()
    with pytest.raises(ValueError, match=r"i = 10; allowed: 0 to 9"):
        found.why(10)


def test_counts_and_table_report_every_reason(measured):
    found = judged(measured)
    assert found.counts() == {
        "does not beat": 3,
        "does not repolarise": 4,
        "its run failed": 2,
        "a biomarker out of range": 2,
    }
    text = found.table()
    assert "made-up: 1 of 10 cells viable" in text
    for text_of_count in ("3 does not beat", "2 its run failed", "100 to 600", "300 to inf"):
        assert text_of_count in text
    for name, unit in BIOMARKERS.items():
        assert any(name in line and unit in line for line in text.splitlines())


def test_without_a_viable_cell_the_table_has_no_numbers(measured):
    assert "made-up: 0 of 10 cells viable" in judged(measured, Rules(min_beats=99)).table()


@pytest.mark.parametrize(
    ("rules", "viable"),
    [
        (Rules(), {"good", "long"}),
        (Rules(min_beats=0), {"good", "long", "silent", "one beat, whose rest was not seen"}),
        (Rules(min_beats=6), set()),
        (Rules(repolarises=False), {"good", "long", "beats, then stuck", "beats, then swings", "long, then stuck"}),
        (Rules(ranges={"apd90": (600.0, 800.0)}), {"long"}),
        (Rules(min_beats=0, ranges={"apd90": (600.0, 800.0)}), {"long", "silent", "one beat, whose rest was not seen"}),
        (Rules(ranges={"mdp": (-np.inf, -80.0)}), set()),
    ],
)
def test_rules_rule(measured, rules, viable):
    found = judged(measured, rules)
    assert {name for name, kept in zip(NAMES, found.viable, strict=True) if kept} == viable


def test_a_biomarker_that_could_not_be_measured_is_outside(measured):
    """As the cycle length of a paced cell of which only one beat is complete."""
    one = {k: x[[NAMES.index("good")]] for k, x in measured.items()} | {"cycle_length": np.array([np.nan])}
    assert judge(one, Rules()) == 0
    assert judged(one).why(0) == ["cycle_length could not be measured; allowed: 300 to inf ms"]


FAST = beating(100.0 * np.arange(1, 79), np.full(78, 60.0))


@pytest.mark.parametrize("beside", [CELLS["silent"][0], FAST, np.full_like(TS, np.nan)], ids=["silent", "fast", "NaN"])
def test_a_cell_is_measured_bitwise_the_same_whatever_is_beside_it(measured, beside):
    """A neighbour's beats make more rows, which must not change the order in which those of a cell are summed."""
    names = ["long", "good", "beats, then swings"]
    other = measured_of([CELLS[name][0] for name in names] + 7 * [beside], 3 * [False] + 7 * [np.isnan(beside).any()])
    for i, name in enumerate(names):
        for k in UNITS:
            assert other[k][i] == measured[k][NAMES.index(name)], (name, k)


# --- real runs -------------------------------------------------------------------------------------------------------

SHORT: dict[str, Any] = dict(t1=4000.0, discard=1500.0)
BROKEN = 2


@pytest.fixture(scope="module")
def cells():
    cell = KernikClancy2019()
    return sample(cell, n=8, seed=0, spread=0.2, parameters=cell.SIX_CURRENTS)


@pytest.fixture(scope="module")
def found(cells):
    return screen(cells, chunk=8, **SHORT)


def test_a_screening_of_real_cells_finds_both_kinds(found):
    assert found.model == "KernikClancy2019"
    assert 0 < found.viable.sum() < 8
    assert np.isfinite(found.biomarkers["apd90"][found.viable]).all()
    for i in np.flatnonzero(~found.viable):
        assert found.why(i)


def test_chunks_change_no_verdict(cells, found):
    done = []
    other = screen(cells, chunk=3, progress=done.append, **SHORT)
    assert np.array_equal(other.reasons, found.reasons)
    for k in UNITS:
        np.testing.assert_allclose(other.biomarkers[k], found.biomarkers[k], rtol=1e-7, err_msg=k)
    assert done[-1] == 1.0


def test_a_cell_that_fails_is_named_and_its_neighbours_are_bitwise_unchanged(cells, found):
    broken = cells.replace(Na_o=np.where(np.arange(8) == BROKEN, np.nan, cells.Na_o))
    other = screen(broken, Rules(ranges={"peak": (0.0, 60.0)}), chunk=8, **SHORT)
    assert other.reasons[BROKEN] == Reason.RUN_FAILED
    assert "infinite or NaN" in other.why(BROKEN)[0]
    rest = np.arange(8) != BROKEN
    assert np.array_equal(other.reasons[rest], found.reasons[rest])
    for k in UNITS:
        assert np.array_equal(other.biomarkers[k][rest], found.biomarkers[k][rest], equal_nan=True), k


def test_viable_cells_are_viable_when_screened_alone(cells, found):
    kept = member(cells, np.flatnonzero(found.viable))
    assert screen(kept, chunk=3, **SHORT).viable.all()


# --- rules as JSON, and what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize("rules", [Rules(), RULES, Rules(0, False, {"mdp": (-np.inf, -60.0), "apd50": (1.0, 2.0)})])
def test_json_gives_equal_rules(rules):
    assert Rules.from_json(json.loads(json.dumps(rules.to_json(), allow_nan=False))) == rules


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Rules(min_beats=-1), "min_beats = -1 beats; allowed: a whole number >= 0"),
        (lambda: Rules(min_beats=1.5), "min_beats = 1.5 beats"),  # pyright: ignore[reportArgumentType]
        (lambda: Rules(repolarises="no"), "repolarises = 'no'; allowed"),  # pyright: ignore[reportArgumentType]
        (lambda: Rules(ranges={"apd9": (1.0, 2.0)}), "ranges: a screening has no biomarker named 'apd9'; did you mean"),
        (lambda: Rules(ranges={"apd90": (2.0, 1.0)}), r"ranges: apd90 = \(2.0, 1.0\) ms; allowed: \(lowest, highest\)"),
        (lambda: Rules(ranges={"mdp": (np.nan, 1.0)}), r"ranges: mdp = \(nan, 1.0\) mV"),
        (lambda: Rules(ranges={"mdp": -70.0}), "ranges: mdp = -70.0 mV"),  # pyright: ignore[reportArgumentType]
        (lambda: Rules(ranges=[1.0]), r"ranges = \[1.0\]; allowed: biomarker"),  # pyright: ignore[reportArgumentType]
        (lambda: Rules.from_json({"beats": 1}), "rules = {'beats': 1}; allowed: min_beats, ranges, repolarises"),
        (lambda: Rules.from_json({**RULES.to_json(), "ranges": {"mdp": [1]}}), r"ranges: mdp = \[1\] mV"),
        (lambda: screen(KernikClancy2019(), **SHORT), "cells: expected a population"),
    ],
)
def test_wrong_rules_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (dict(t1=0.0), "t1 = 0.0 ms; allowed: > 0"),
        (dict(discard=3000.0), "discard = 3000.0 ms; allowed: 0 to t1 - 2000 = 2000 ms"),
        (dict(save_at=[1.0]), "save_at: not an argument here"),
        (dict(chunk=0), "chunk = 0 cells; allowed"),
        (dict(protocol=VoltageSteps(np.array([-80.0]), np.array([10.0]))), "protocol: a voltage clamp; allowed"),
    ],
)
def test_wrong_arguments_are_named(cells, changed, message):
    with pytest.raises(ValueError, match=message):
        screen(cells, **SHORT | changed)
