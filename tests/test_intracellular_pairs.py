"""Synthetic pairs: the same whatever the chunk, cells kept whole, files, and the ranges of real recordings."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxcardio.intracellular import preparations
from jaxcardio.intracellular.features import action_potential_durations
from jaxcardio.intracellular.pairs import LEVELS, Pairs, joined, split, synthesis_of_pairs, synthesize_pairs
from jaxcardio.intracellular.preparations import drug_named, recipes, simulated
from jaxcardio.intracellular.ranges import ranges
from jaxcardio.pharmacology import hill_block


@pytest.fixture
def brief(monkeypatch):
    """Preparations that have hardly settled: enough for what does not depend on how they beat."""
    monkeypatch.setattr(preparations, "SETTLING", 1000.0)
    monkeypatch.setattr(preparations, "KEPT", 3000.0)


def made_up(n=60, seed=0) -> Pairs:
    draw = np.random.default_rng(seed)
    return Pairs(
        eap=draw.standard_normal((n, 1600)).astype(np.float32),
        iap=draw.random((n, 1600)).astype(np.float32),
        apd=np.sort(draw.uniform(100, 900, (n, 10))),
        sampling_rate=1000.0,
        cell=np.arange(n) // 3,
        drug=np.array(["none", "dofetilide"])[np.arange(n) // 3 % 2],
        concentration=draw.uniform(0, 10, n),
        device=np.array(["nea"] * n),
        signal_to_noise=draw.uniform(12, 70, n),
        noise=draw.uniform(0.002, 0.01, n),
        peak=draw.uniform(0.1, 1, n),
    )


def same(one: Pairs, other: Pairs) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in one.__dataclass_fields__)


def test_a_file_holds_what_was_saved(tmp_path):
    pairs = made_up()
    pairs.save(tmp_path / "pairs.h5")
    assert same(Pairs.load(tmp_path / "pairs.h5"), pairs)


def test_a_damaged_or_foreign_file_is_refused(tmp_path):
    path = tmp_path / "pairs.h5"
    made_up().save(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"pairs\.h5"):
        Pairs.load(path)
    path.write_text("pairs")
    with pytest.raises(ValueError, match=r"pairs\.h5"):
        Pairs.load(path)
    with pytest.raises(ValueError, match="no such file"):
        Pairs.load(tmp_path / "none.h5")


def test_some_of_the_pairs_and_all_of_them_again():
    pairs = made_up()
    halves = pairs[pairs.drug == "none"], pairs[pairs.drug != "none"]
    assert [len(x) for x in halves] == [30, 30]
    assert set(halves[0].drug) == {"none"}
    both = joined(halves)
    assert len(both) == 60
    assert np.array_equal(both.eap[:30], pairs.eap[pairs.drug == "none"])
    assert same(pairs[[3, 1]], joined([pairs[3], pairs[1:2]]))


@pytest.mark.parametrize("by", ["cell", "drug"])
def test_a_split_never_divides_a_cell_or_a_drug(by):
    pairs = made_up()
    parts = split(pairs, by=by, fractions=(0.5, 0.5), seed=1)
    groups = [set(getattr(part, by)) for part in parts]
    assert not groups[0] & groups[1]
    assert sum(map(len, parts)) == len(pairs)
    assert all(len(part) for part in parts)


def test_a_split_by_pairs_would_have_cells_in_both_parts():
    """What the naive split does, so that the test above says something."""
    pairs = made_up()
    order = np.random.default_rng(0).permutation(len(pairs))
    assert set(pairs[order[:48]].cell) & set(pairs[order[48:]].cell)


def test_shares_of_a_split_are_those_of_the_cells_and_small_ones_get_one():
    pairs = made_up()
    assert [len(set(x.cell)) for x in split(pairs)] == [16, 2, 2]
    assert [len(set(x.cell)) for x in split(pairs, fractions=(0.98, 0.01, 0.01))] == [18, 1, 1]
    assert same(split(pairs, seed=5)[0], split(pairs, seed=5)[0])
    assert not same(split(pairs, seed=5)[0], split(pairs, seed=6)[0])


@pytest.mark.parametrize(
    ("do", "said"),
    [
        (lambda: split(made_up(), by="beat"), "by = 'beat'"),
        (lambda: split(made_up(), fractions=(0.5, 0.6)), "fractions"),
        (lambda: split(made_up(), by="device", fractions=(0.5, 0.5)), "of 1 devices"),
        (lambda: joined([]), "several"),
        (lambda: synthesize_pairs(0), "n_preparations = 0"),
        (lambda: synthesize_pairs(1, device="x"), "device = 'x'"),
        (lambda: synthesize_pairs(1, drugs=("aspirin",)), "drug = 'aspirin'"),
        (lambda: synthesize_pairs(1, sampling_rate=50.0), "sampling_rate = 50.0 Hz"),
        (lambda: recipes(-1, [0]), "seed = -1"),
    ],
)
def test_what_cannot_be_is_refused_by_name(do, said):
    with pytest.raises(ValueError, match=said):
        do()


def test_arrays_of_another_number_of_pairs_are_refused():
    fields: dict[str, Any] = vars(made_up())
    with pytest.raises(ValueError, match="noise: 3 pairs"):
        Pairs(**dict(fields, noise=np.ones(3)))


def test_a_recipe_is_of_its_seed_and_number_alone_and_doses_block_5_to_80_percent():
    some = recipes(7, range(200))
    alone = recipes(7, [123])[0]
    assert alone.drug == some[123].drug
    assert alone.concentration == some[123].concentration
    assert all(np.array_equal(alone.scales[name], some[123].scales[name]) for name in alone.scales)
    assert recipes(8, [123])[0].coupling != alone.coupling
    for recipe in some:
        drug = drug_named(recipe.drug)
        if drug is not None:
            share = max(float(hill_block(recipe.concentration, *curve)) for curve in drug.blocks.values())
            assert 0.049 < share < 0.95
    assert {recipe.drug for recipe in some} == set(preparations.TRAINING_DRUGS)


@pytest.mark.slow
def test_a_preparation_is_the_same_to_the_last_bit_alone_and_in_any_block(brief):
    many = {r.number: (V, q) for b in simulated(recipes(0, range(35))) for r, V, q in zip(*b, strict=True)}
    few = {r.number: (V, q) for b in simulated(recipes(0, [34, 3, 20])) for r, V, q in zip(*b, strict=True)}
    for number in few:
        assert np.array_equal(few[number][0], many[number][0])
        assert np.array_equal(few[number][1], many[number][1])


@pytest.mark.slow
def test_pairs_are_the_same_for_every_chunk_and_the_first_of_more(brief):
    few = synthesize_pairs(33, seed=4, beats=1, chunk=1)
    more = synthesize_pairs(40, seed=4, beats=1, chunk=64)
    assert same(more[more.cell % 1_000_000 < 33], few)
    assert len(few)


@pytest.mark.slow
def test_currents_between_the_cells_of_a_strip_are_those_of_its_potentials(brief):
    """Inflow at the middle probe is coupling times the second difference of the three potentials beside it."""
    found = next(simulated(recipes(0, range(2))))
    for recipe, V, inflow in zip(*found, strict=True):
        second = recipe.coupling * ((V[0].astype(float) - V[1]) + (V[2].astype(float) - V[1]))
        np.testing.assert_allclose(inflow[1], second, atol=2e-4)


@pytest.mark.slow
def test_pairs_have_the_ranges_of_real_recordings():
    found = synthesis_of_pairs(96, seed=11)
    pairs = found.pairs
    assert len(pairs) > 120
    assert sum(found.dropped.values()) < 288
    seen = ranges(pairs)
    for one in seen.features:
        low, high = one.real
        assert low <= one.synthetic[1] <= high, one
    for one in seen.correlations:
        assert one.synthetic[1] > 0.88, one
    assert np.quantile(pairs.apd[:, 8], 0.02) < 220
    assert np.quantile(pairs.apd[:, 8], 0.98) > 700
    np.testing.assert_allclose(pairs.iap.max(1), 1.0, atol=1e-6)
    np.testing.assert_allclose(pairs.iap[:, :20].mean(1), 0.1, atol=1e-6)
    again = np.asarray(action_potential_durations(pairs.iap, 1000.0, LEVELS))
    np.testing.assert_allclose(pairs.apd, again, atol=1e-3)
    spikes = pairs.eap[:, 190:210].max(1) - pairs.eap[:, 150:180].mean(1)
    assert (spikes > 0.05).all()


@pytest.mark.slow
def test_the_other_device_is_another_one():
    """Planar electrodes at 10 kHz: windows of the same rate and length, of the same preparations, by other means."""
    pairs = synthesize_pairs(32, seed=11, device="mea", beats=1)
    nea = synthesize_pairs(32, seed=11, beats=1)
    both = np.intersect1d(pairs.cell, nea.cell)
    assert len(both) > 5
    one, other = (x[np.isin(x.cell, both)] for x in (pairs, nea))
    assert set(pairs.device) == {"mea"}
    assert one.eap.shape[1] == 1600
    assert not np.array_equal(one.eap, other.eap)


@pytest.mark.slow
def test_recorded_beats_stand_beside_where_their_table_is_at_hand():
    table = Path(__file__).resolve().parents[2] / "shared" / "data" / "eap_iap_beats.csv"
    if not table.is_file():
        pytest.skip("the recorded beats are not here")
    found = ranges(made_up(), table)
    width = next(one for one in found.features if one.name == "spike_width_s")
    assert width.recorded is not None
    assert 0.008 < width.recorded[1] < 0.02
    assert "spike_width_s" in str(found)
