"""Biomarkers of really recorded cells against those that the studies published for the same cells.

The studies (Clark et al. 2023, 2024) state in their public analysis code what the published numbers are. APD90 runs
from the steepest rise of V smoothed over 10 ms to 10 % above the *lowest raw sample* on the way to the *highest raw
sample* of the beat; MP is the lowest raw sample of the whole 10 s; CL is the mean interval between peaks. The extremes
of raw samples carry the extremes of the noise (each about 2 mV here), so the published potentials lie outside ours,
and the published level, lower by as much, is crossed 1 to 4 ms later: more where repolarisation ends in a slow tail.
Both are tested: their definition, closely, and ours, which noise does not bias, to the tolerance that explains.
"""

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
import pytest

import jaxcardio as jc
from jaxcardio import biomarkers as bm

pytestmark = pytest.mark.slow

SMOOTHING = 5.0  # ms, the same for every recording
SAMPLES = 100_000  # 10 s at 10 kHz: all recordings that have published features and beat

IRREGULAR = 0.25
"""Beyond this ratio of published SD to mean APD90, the study's own detection merged beats (see the test of that)."""


class Cell(NamedTuple):
    name: str
    V: np.ndarray
    published: dict[str, float]


def cells_of(file: Path, when: str, suffix: str) -> list[Cell]:
    """Recordings `when` ("pre_drug_spont" ...) of the cells for which an APD90 was published."""
    found = []
    with h5py.File(file) as h:
        for name, group in h.items():
            assert isinstance(group, h5py.Group)
            published = {
                key: float(group.attrs.get(f"published_{key}{suffix}", np.nan))
                for key in ("APD90", "CL", "MP", "dVdt", "Peak")
            }
            published["SD"] = float(group.attrs.get(f"published_APD90{suffix}_SD", np.nan))
            recorded = group.get(when)
            if isinstance(recorded, h5py.Dataset) and np.isfinite(published["APD90"]):
                assert recorded.attrs["sampling_rate_Hz"] == 10_000
                assert recorded.shape == (SAMPLES,)
                found.append(Cell(f"{name} {when[:4].rstrip('_')}", recorded[:], published))
    return found


class Measured(NamedTuple):
    cell: Cell
    beats: int
    apd90: float
    apd90_their_level: float
    cycle_length: float
    mdp: float
    lowest_mdp: float
    dvdt_max: float
    peak: float


def mean(x) -> float:
    x = np.asarray(x)
    return float(x[np.isfinite(x)].mean()) if np.isfinite(x).any() else np.nan


def apd90_at_their_level(beats, i, V) -> float:
    """Mean APD at 10 % of the way from the lowest to the highest raw sample of each beat, ms."""
    V, smooth = np.asarray(V), np.asarray(beats.samples[2][i])
    upstrokes = [int(j) for j, seen in zip(beats.positions.upstroke[i], beats.captured[i], strict=True) if seen]
    durations = []
    for k, (j, following) in enumerate(pairwise(upstrokes)):
        level = V[j:following].min() + 0.1 * np.ptp(V[j:following])
        peak = j + int(np.argmax(smooth[j:following]))
        fallen = smooth[peak:following] <= level
        if fallen.any() and beats.valid[i][k]:
            durations.append((peak + int(np.argmax(fallen)) - j) / 10)
    return float(np.mean(durations)) if durations else np.nan


@pytest.fixture(scope="module")
def measured(recordings: Path) -> list[Measured]:
    cells = cells_of(recordings, "pre_drug_spont", "") + cells_of(recordings, "post_drug_spont", "_Drug")
    ts = np.arange(SAMPLES) / 10
    beats = bm.action_potentials_from(ts, np.stack([c.V for c in cells]), smoothing=SMOOTHING, keep_samples=True)
    return [
        Measured(
            cell,
            int(beats.valid[i].sum()),
            mean(beats.apd90[i]),
            apd90_at_their_level(beats, i, cell.V),
            mean(beats.cycle_length[i]),
            mean(beats.rmp[i]),
            float(np.nanmin(beats.rmp[i])),
            mean(beats.dvdt_max[i]),
            mean(beats.peak[i]),
        )
        for i, cell in enumerate(cells)
    ]


def table(measured: list[Measured]) -> str:
    lines = [
        f"{'cell':27s}{'beats':>5s} {'APD90':>7s}{'their level':>12s}{'published':>10s}{'SD':>6s}"
        f" {'CL':>8s}{'published':>10s} {'MDP':>7s}{'lowest':>8s}{'published':>10s}"
    ]
    for m in measured:
        p = m.cell.published
        lines.append(
            f"{m.cell.name:27s}{m.beats:5d} {m.apd90:7.1f}{m.apd90_their_level:12.1f}{p['APD90']:10.1f}{p['SD']:6.1f}"
            f" {m.cycle_length:8.1f}{p['CL']:10.1f} {m.mdp:7.2f}{m.lowest_mdp:8.2f}{p['MP']:10.2f}"
        )
    return "\n".join(lines)


def regular(measured: list[Measured]) -> list[Measured]:
    chosen = [m for m in measured if m.beats >= 5 and m.cell.published["SD"] < IRREGULAR * m.cell.published["APD90"]]
    assert len(chosen) >= 18, table(measured)
    return chosen


def worst(measured, error):
    return max(((error(m), m.cell.name) for m in measured if np.isfinite(error(m))), default=(0.0, ""))


def test_apd90_of_every_cell_by_the_study_s_own_definition(measured):
    print(table(measured))
    error, cell = worst(regular(measured), lambda m: abs(m.apd90_their_level / m.cell.published["APD90"] - 1))
    assert error < 0.02, f"{cell}: {error:.1%}\n{table(measured)}"


def test_apd90_of_every_cell_without_the_bias_of_noise(measured):
    """4 %, but for one cell under quinidine that creeps to rest at 0.1 mV/ms: there 1 mV of level is 10 ms of APD90."""
    errors = {m.cell.name: m.apd90 / m.cell.published["APD90"] - 1 for m in regular(measured)}
    beyond = {name: error for name, error in errors.items() if abs(error) >= 0.04}
    assert list(beyond) == ["6_040821_2_quinidine post"], table(measured)
    assert abs(beyond["6_040821_2_quinidine post"]) < 0.06, table(measured)
    assert np.median(list(errors.values())) < 0, "theirs are the longer ones, as the noise in their level makes them"


def test_cycle_length_of_every_cell(measured):
    error, cell = worst(regular(measured), lambda m: abs(m.cycle_length / m.cell.published["CL"] - 1))
    assert error < 0.02, f"{cell}: {error:.1%}\n{table(measured)}"


def test_diastolic_potential_of_every_cell(measured):
    """The published one is the lowest raw sample of 10 s: below our lowest beat by the noise, 1.5 to 2.5 mV."""
    for m in regular(measured):
        assert m.cell.V.min() == pytest.approx(m.cell.published["MP"], abs=1e-6), m.cell.name
        assert 0 < m.lowest_mdp - m.cell.published["MP"] < 2.5, f"{m.cell.name}\n{table(measured)}"
        assert 0 < m.mdp - m.cell.published["MP"] < 3.5, f"{m.cell.name}\n{table(measured)}"


def test_the_irregular_one_is_the_study_s_detection(measured):
    """Quinine leaves 7_042621_6 with slow upstrokes of 1 V/s, which the study's limit of 1 V/s mostly misses: it merged
    beats (330 +- 167 ms). No beat of ours is longer than the interval between two of its peaks."""
    left_out = [m for m in measured if m.beats >= 5 and m not in regular(measured)]
    assert [m.cell.name for m in left_out] == ["7_042621_6_quinine post"]
    assert left_out[0].dvdt_max < 2.0
    assert left_out[0].apd90 < left_out[0].cycle_length


def test_silent_cells_have_no_beats(recordings: Path):
    """Membrane noise and oscillations of a few mV, in cells that the studies found silent, are no beats."""
    silent = []
    with h5py.File(recordings) as h:
        for name, group in h.items():
            assert isinstance(group, h5py.Group)
            for when, suffix in (("pre_drug_spont", ""), ("post_drug_spont", "_Drug")):
                recorded = group.get(when)
                if not isinstance(recorded, h5py.Dataset) or recorded.shape != (SAMPLES,):
                    continue
                if f"published_APD90{suffix}" not in group.attrs and np.ptp(recorded[:]) < 15:
                    silent.append((name, recorded[:]))
    assert len(silent) >= 10
    V = np.stack([V for _, V in silent])
    beats = bm.action_potentials_from(np.arange(SAMPLES) / 10, V, smoothing=SMOOTHING)
    assert not np.asarray(beats.captured).any()


# ---- with no option given: noise, widths and thresholds come from the recording itself -------------------------------


class Unaided(NamedTuple):
    cell: Cell
    beats: bm.ActionPotentials
    apd90_their_level: float


def apd_at_their_level(beats: bm.ActionPotentials, V: np.ndarray) -> float:
    """Mean APD at the level of which `apd90_at_their_level` speaks, by our own measurement of that level, ms."""
    at = [int(j) for j, seen in zip(beats.positions.upstroke, beats.captured, strict=True) if seen]
    shares = []
    for k, (j, following) in enumerate(pairwise(at)):
        level = V[j:following].min() + 0.1 * np.ptp(V[j:following])
        shares.append(100 * (beats.peak[k] - level) / beats.apa[k])
    return mean(beats.apd(min(mean(shares), 99.5))) if shares else np.nan


@pytest.fixture(scope="module")
def unaided(recordings: Path) -> list[Unaided]:
    cells = cells_of(recordings, "pre_drug_spont", "") + cells_of(recordings, "post_drug_spont", "_Drug")
    found = []
    for cell in cells:
        beats = bm.action_potentials(jc.Trace.from_samples(np.arange(SAMPLES) / 10, cell.V))
        found.append(Unaided(cell, beats, apd_at_their_level(beats, np.asarray(cell.V))))
    return found


def regular_unaided(unaided: list[Unaided]) -> list[Unaided]:
    chosen = [
        m
        for m in unaided
        if m.beats.valid.sum() >= 5 and m.cell.published["SD"] < IRREGULAR * m.cell.published["APD90"]
    ]
    assert len(chosen) >= 18
    return chosen


def test_without_options_cycle_length_and_apd90_are_the_study_s(unaided):
    cl, cell = worst(regular_unaided(unaided), lambda m: abs(mean(m.beats.cycle_length) / m.cell.published["CL"] - 1))
    assert cl < 0.02, f"{cell}: {cl:.1%}"
    apd, cell = worst(regular_unaided(unaided), lambda m: abs(m.apd90_their_level / m.cell.published["APD90"] - 1))
    assert apd < 0.04, f"{cell}: {apd:.1%}"


def test_without_options_nothing_is_flagged_that_is_not_there(unaided):
    for m in regular_unaided(unaided):
        assert not m.beats.ead.any(), m.cell.name
        whole = m.beats.valid
        assert (m.beats.reason[whole] == bm.Reason.KNOWN).all(), m.cell.name
        assert (m.beats.standard_error("apd90")[whole] < 0.1 * m.beats.apd90[whole]).all(), m.cell.name


def test_without_options_silent_cells_have_no_beats_and_say_why(recordings: Path):
    with h5py.File(recordings) as h:
        silent = [
            recorded[:]
            for group in h.values()
            for when, suffix in (("pre_drug_spont", ""), ("post_drug_spont", "_Drug"))
            if isinstance(group, h5py.Group) and f"published_APD90{suffix}" not in group.attrs
            if isinstance(recorded := group.get(when), h5py.Dataset) and recorded.shape == (SAMPLES,)
            if np.ptp(recorded[:]) < 15
        ]
    assert len(silent) >= 10
    beats = bm.action_potentials(jc.Trace.from_samples(np.arange(SAMPLES) / 10, np.stack(silent)))
    assert not beats.captured.any()
    assert (beats.reason == bm.Reason.NO_RISE).all()
