"""Datasets: the same bytes whatever happened on the way, and distrust of every file that is read."""

import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import tracemalloc
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest

import jaxcardio as jc
from jaxcardio.files import locking
from jaxcardio.population import shards

KERNIK = jc.models.KernikClancy2019()
CLAMP = jc.protocols.VoltageSteps([-80.0, 0.0, -40.0], [4.0, 8.0, 4.0])
RECIPE = jc.population.Recipe(
    cell=KERNIK,
    n=40,
    seed=3,
    distribution=jc.population.Uniform(0.3),
    parameters=("Kr_g", "CaL_p", "f_g"),
    protocol=CLAMP,
    t1=16.0,
    outputs=("I_ion_total", "I_CaL"),
)


def contents(folder) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(Path(folder).iterdir()) if p.name != "lock"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished dataset that no test changes."""
    return jc.population.make_dataset(tmp_path_factory.mktemp("made") / "data", RECIPE, shard=16)


@pytest.fixture
def copy(made, tmp_path) -> Path:
    return Path(shutil.copytree(made.folder, tmp_path / "data"))


# --- what is in it ---------------------------------------------------------------------------------------------------


def test_a_cell_that_is_read_is_the_cell_that_is_made_again(made):
    wanted = [39, 0, 17, 16, 0]
    read, again = made.read(wanted), made.recipe.make(wanted).batch
    assert read.cells.tolist() == wanted
    assert np.array_equal(read.theta, again.theta)
    for name in RECIPE.outputs:
        assert np.array_equal(read.outputs[name], again.outputs[name])
    alone = jc.simulate(RECIPE.cells([17]), CLAMP, t1=16.0, outputs=["I_CaL"]).ys.I_CaL[0]
    np.testing.assert_allclose(read.outputs["I_CaL"][2], alone, rtol=1e-4, atol=1e-5)


def test_theta_says_how_the_cells_differ_from_the_one_they_were_sampled_around(made):
    cells, theta = RECIPE.cells(range(40)), made.table("theta")
    assert np.abs(theta).max() < 0.3
    np.testing.assert_allclose(jc.population.relative_change(cells, KERNIK, RECIPE.parameters), theta, atol=1e-6)


def test_shards_of_another_size_hold_the_same_cells(made, tmp_path):
    other = jc.population.make_dataset(tmp_path / "data", RECIPE, shard=25)
    assert len(other.missing()) == 0
    assert all(np.array_equal(a, b) for a, b in zip(jax.tree.leaves(made.read(range(40))),
                                                    jax.tree.leaves(other.read(range(40))), strict=True))  # fmt: skip


@pytest.mark.slow
def test_a_screened_dataset_keeps_viable_cells_and_the_reasons_against_the_others(tmp_path):
    recipe = dataclasses.replace(
        RECIPE, n=24, parameters=KERNIK.SIX_CURRENTS, distribution=jc.population.Uniform(0.4),
        rules=jc.population.Rules(ranges={"apd90": (50.0, 1000.0)}), screening_t1=4000.0, screening_discard=1000.0,
    )  # fmt: skip
    data = jc.population.make_dataset(tmp_path / "data", recipe, shard=24)
    found = jc.population.screen(recipe.cells(range(24)), recipe.rules, t1=4000.0, discard=1000.0)
    assert np.array_equal(data.table("reasons"), found.reasons)
    assert np.array_equal(data.kept, np.flatnonzero(found.viable))
    assert 0 < len(data.kept) < 24
    np.testing.assert_array_equal(data.table("apd90"), found.biomarkers["apd90"])
    with pytest.raises(ValueError, match=r"indices: cell \d+ is not kept \(does not"):
        data.read(np.flatnonzero(~found.viable)[:1])
    info = data.info()
    assert info["kept"] == len(data.kept)
    assert info["bytes_per_kept_cell"] > 2 * 17 * 4


def test_a_cell_whose_run_fails_is_dropped_with_its_reason_and_no_other_cell_changes(made, tmp_path):
    class OneFails(jc.population.Uniform):
        def factors(self, names, *, seed, indices):
            factors = super().factors(names, seed=seed, indices=indices)
            factors[np.asarray(indices) == 5] = np.nan
            return factors

    bad = dataclasses.replace(RECIPE, distribution=OneFails(0.3)).make(np.arange(40))
    assert bad.reasons[5] == jc.population.Reason.RUN_FAILED
    assert bad.status[5] == jc.Status.NON_FINITE
    others = np.delete(np.arange(40), 5)
    assert np.array_equal(bad.batch.cells, others)
    assert np.array_equal(bad.batch.outputs["I_CaL"], made.read(others).outputs["I_CaL"])


def test_a_system_without_file_locks_and_core_affinity_makes_the_same_bytes(made, tmp_path, monkeypatch):
    """macOS has no `sched_getaffinity`, Windows neither that nor `fcntl`."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(locking, "fcntl", None)
    jc.population.make_dataset(tmp_path / "data", RECIPE, shard=16)
    assert contents(tmp_path / "data") == contents(made.folder)


def test_a_recipe_survives_json():
    recipe = dataclasses.replace(
        RECIPE, cell=jc.hold(jc.models.TenTusscher2004(variant="epi"), "K_i").cell, parameters=("g_Kr",),
        protocol=jc.protocols.PulseTrain(-52.0, 1.0, 500.0), distribution=jc.population.LogNormal(0.2), dt=0.02,
        rules=jc.population.Rules(min_beats=0), screening_protocol=jc.protocols.PulseTrain(-52.0, 1.0, 1000.0),
        outputs=("V",), dtype="float64",
    )  # fmt: skip
    again = jc.population.Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again.to_json() == recipe.to_json()
    assert again.digest == recipe.digest != dataclasses.replace(recipe, seed=4).digest
    assert dataclasses.replace(recipe, n=7).digest == recipe.digest
    assert jax.tree.structure(again.cell) == jax.tree.structure(recipe.cell)


# --- interruptions ---------------------------------------------------------------------------------------------------


def test_an_interrupted_dataset_goes_on_and_ends_with_the_same_bytes(made, tmp_path):
    random = np.random.default_rng(0)
    for _ in range(30):
        stop = random.uniform(0.05, 1.2)

        def interrupt(done, stop=stop):
            if done >= stop:
                raise KeyboardInterrupt

        before = len(list((tmp_path / "data").glob("shard-*.h5")))
        try:
            jc.population.make_dataset(tmp_path / "data", RECIPE, shard=16, progress=interrupt)
            break
        except KeyboardInterrupt:
            data = jc.population.Dataset(tmp_path / "data")
            assert 3 - len(data.missing()) >= before  # what was finished stays finished
    assert contents(tmp_path / "data") == contents(made.folder)


def test_what_a_kill_leaves_behind_does_not_matter(made, copy):
    """A half-written file, and a whole one that the manifest does not know of yet."""
    manifest = json.loads((copy / "manifest.json").read_text())
    del manifest["shards"]["00001"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    (copy / "shard-00001.h5.part").write_bytes(b"half")
    (copy / "manifest.json.part").write_text("{")
    assert jc.population.Dataset(copy).missing() == [1]
    jc.population.make_dataset(copy, RECIPE, shard=16)
    assert contents(copy) == contents(made.folder)


SCRIPT = """
    import jax, sys
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_compilation_cache_dir", sys.argv[1])
    # Only the first process fills the cache: one that is killed while it writes there leaves half a program.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0 if sys.argv[3] == "fill" else 1e9)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    if len(sys.argv) > 4:
        jax.distributed.initialize(sys.argv[4], num_processes=2, process_id=int(sys.argv[5]))
    import jaxcardio as jc
    recipe = jc.population.Recipe.from_json(__import__("json").loads(sys.stdin.read()))
    data = jc.population.make_dataset(sys.argv[2], recipe, shard=16)
"""


def start(cache, folder, *others):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(cache), str(folder), *others],
        stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps(LONG.to_json()))
    process.stdin.close()
    process.stdin = None
    return process


LONG = dataclasses.replace(RECIPE, n=800, t1=4000.0, outputs=("I_ion_total",))


@pytest.mark.slow
def test_twenty_kills_at_random_moments_leave_the_same_dataset(tmp_path):
    cache, folder = tmp_path / "cache", tmp_path / "killed"
    assert start(cache, tmp_path / "whole", "fill").wait(300) == 0
    random = np.random.default_rng(1)
    kills, lost = 0, []
    while kills < 20:
        process = start(cache, folder, "read")
        try:
            process.wait(random.uniform(2.0, 6.0))
            shutil.rmtree(folder)  # it was finished: begin anew, so that every kill hits something
            continue
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
        kills += 1
        if (folder / "manifest.json").exists():
            listed = set(json.loads((folder / "manifest.json").read_text())["shards"])
            written = {p.stem[-5:] for p in folder.glob("shard-*.h5")}
            assert listed <= written
            lost.append(len(written - listed))
    assert max(lost) <= 1
    assert start(cache, folder, "read").wait(300) == 0
    assert contents(folder) == contents(tmp_path / "whole")


@pytest.mark.slow
def test_two_processes_make_the_dataset_that_one_makes(tmp_path):
    with socket.socket() as s:
        s.bind(("localhost", 0))
        address = f"localhost:{s.getsockname()[1]}"
    cache = tmp_path / "cache"
    assert start(cache, tmp_path / "one", "fill").wait(300) == 0
    both = [start(cache, tmp_path / "two", "read", address, str(i)) for i in range(2)]
    assert [p.wait(300) for p in both] == [0, 0]
    assert contents(tmp_path / "two") == contents(tmp_path / "one")


# --- distrust --------------------------------------------------------------------------------------------------------


def truncate(path: Path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path: Path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def other_schema(path: Path):
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = np.int64(99)


def other_seed(path: Path):
    shards.write_shard(path, 1, RECIPE.make(np.arange(16, 32)), dataclasses.replace(RECIPE, seed=4))


@pytest.mark.parametrize(("harm", "error", "says"), [
    (truncate, jc.population.TruncatedShard, r"truncated, \d+ of \d+ bytes"),
    (flip, jc.population.DamagedShard, "its checksum is not the one in the manifest|not a readable HDF5"),
    (other_schema, jc.population.ForeignSchema, "of another schema, 'jaxcardio dataset' version 99; allowed: "),
    (other_seed, jc.population.ForeignRecipe, r"cells of another recipe \(seed 4,.* this dataset has seed 3"),
    (Path.unlink, jc.population.MissingShard, "the file is missing"),
])  # fmt: skip
def test_every_harm_has_its_own_error_that_names_the_file(copy, harm, error, says):
    path = copy / "shard-00001.h5"
    assert jc.population.problems(copy) == []
    harm(path)
    harmed = contents(copy)
    (problem,) = jc.population.problems(copy)
    assert type(problem) is error
    with pytest.raises(error, match=f"shard-00001.h5: ({says})"):
        raise problem
    assert contents(copy) == harmed


@pytest.mark.parametrize("harm", [truncate, other_schema, other_seed])
def test_resuming_overwrites_no_file_it_did_not_write(copy, harm):
    for known in (True, False):
        if not known:
            manifest = json.loads((copy / "manifest.json").read_text())
            manifest["shards"].pop("00001")
            (copy / "manifest.json").write_text(json.dumps(manifest))
        else:
            harm(copy / "shard-00001.h5")
        harmed = contents(copy)
        with pytest.raises(jc.population.ShardError, match=r"shard-00001.h5"):
            jc.population.make_dataset(copy, RECIPE, shard=16)
        assert contents(copy) == harmed


def test_a_lost_shard_is_made_again(made, copy):
    (copy / "shard-00002.h5").unlink()
    jc.population.make_dataset(copy, RECIPE, shard=16)
    assert contents(copy) == contents(made.folder)


def test_another_recipe_in_the_folder_is_refused_with_what_differs(copy):
    before = contents(copy)
    with pytest.raises(jc.population.ForeignRecipe, match=r"seed = 3 there, 4 asked for"):
        jc.population.make_dataset(copy, dataclasses.replace(RECIPE, seed=4), shard=16)
    with pytest.raises(jc.population.ForeignRecipe, match=r"shard = 16 there, 8 asked for"):
        jc.population.make_dataset(copy, RECIPE, shard=8)
    assert contents(copy) == before


def test_other_versions_are_told(copy):
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["versions"]["jax"] = "0.1"
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.warns(UserWarning, match="begun with .*0.1.* may differ by rounding"):
        jc.population.make_dataset(copy, RECIPE, shard=16)


@pytest.mark.parametrize(("text", "says"), [
    ("{", "not a manifest"), ("{}", "not the manifest of a jaxcardio dataset"),
    ('{"format": "jaxcardio dataset", "format_version": 9}', "of another schema, version 9; allowed: 1"),
])  # fmt: skip
def test_a_manifest_that_is_none_is_named(tmp_path, text, says):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=rf"manifest.json: {says}"):
        jc.population.Dataset(tmp_path)


def test_no_dataset_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"no dataset there"):
        jc.population.Dataset(tmp_path / "nowhere")


@pytest.mark.parametrize(("change", "message"), [
    (dict(n=0), "n = 0 cells; allowed: a whole number >= 1"),
    (dict(t1=-1.0), "t1 = -1.0 ms; allowed: > 0"),
    (dict(save_every=99.0), "save_every = 99.0 ms; allowed: 0 < save_every <= t1 = 16.0 ms"),
    (dict(dt=0.0), "dt = 0.0 ms; allowed: > 0"),
    (dict(dtype="float16"), "dtype = 'float16'; allowed"),
    (dict(outputs=("I_total",)), "no state or current named 'I_total'"),
    (dict(parameters=("g_Kr",)), "no parameter named 'g_Kr'"),
    (dict(rules=jc.population.Rules(), screening_t1=10.0), "discard = 5000.0 ms; allowed"),
    (dict(cell=jc.models.AlievPanfilov1996(), parameters=("a",), outputs=("u",)), "dt and rules: a dimensionless"),
])  # fmt: skip
def test_a_recipe_that_cannot_be_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(RECIPE, **change)


def test_cells_that_are_not_there_are_refused(made):
    with pytest.raises(ValueError, match="indices = 3 to 40; allowed: 0 to 39"):
        made.recipe.make([3, 40])
    with pytest.raises(ValueError, match="indices: cell 48 is not made yet, or not of this dataset"):
        made.read([48])
    with pytest.raises(ValueError, match="name = 'apd90'; allowed: cells, theta"):
        made.table("apd90")


# --- reading ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [1, 10_000, 10**9])
def test_an_epoch_shows_every_cell_once_with_its_own_data(made, memory):
    batches = list(made.batches(7, seed=1, memory=memory))
    assert [len(b.cells) for b in batches] == [7] * 5 + [5]
    order = np.concatenate([b.cells for b in batches])
    assert sorted(order.tolist()) == list(range(40))
    assert order.tolist() != list(range(40))
    for batch in batches:
        again = made.read(batch.cells)
        assert np.array_equal(batch.theta, again.theta)
        assert np.array_equal(batch.outputs["I_CaL"], again.outputs["I_CaL"])


def test_batches_depend_on_seed_and_epoch_alone(made):
    def order(**options):
        return [b.cells.tolist() for b in made.batches(10, **options)]

    assert order(seed=1, epochs=2) == order(seed=1, epochs=2)
    assert order(seed=1) == order(seed=1, epochs=2)[:4]
    assert order(seed=1) != order(seed=2) != order(seed=1, epochs=2)[4:]


def test_batches_can_be_of_some_cells_and_of_one_size(made):
    some = np.arange(0, 40, 3)
    batches = list(made.batches(4, seed=0, among=some, partial=False))
    assert [len(b.cells) for b in batches] == [4, 4, 4]
    assert set(np.concatenate([b.cells for b in batches])) <= set(some.tolist())


def test_batches_can_be_simulated_and_not_read(made):
    batches = list(made.recipe.batches(16, seed=5, among=np.arange(32)))
    assert sorted(np.concatenate([b.cells for b in batches]).tolist()) == list(range(32))
    read = made.read(batches[0].cells)
    assert np.array_equal(read.outputs["I_CaL"], batches[0].outputs["I_CaL"])


def test_reading_takes_bounded_memory_however_large_the_dataset_is(tmp_path):
    """50 GB of shards, of which the file system stores nothing: rows that were never written read as zero."""
    recipe = dataclasses.replace(RECIPE, n=448_000, t1=7000.0, save_every=0.25, outputs=("I_ion_total",))
    per_shard, entries = 56_000, {}
    folder = tmp_path / "data"
    folder.mkdir()
    for k in range(8):
        with h5py.File(shards.shard_path(folder, k), "w") as file:
            file.attrs.update(
                format=shards.FORMAT, format_version=shards.FORMAT_VERSION, recipe=recipe.digest, seed=3, shard=k
            )
            rows = np.arange(per_shard)
            for name, values in (("cells", k * per_shard + rows), ("kept", rows), ("theta", np.zeros((per_shard, 3)))):
                file[name] = values
            shape = (per_shard, len(recipe.ts))
            file.create_dataset("outputs/I_ion_total", shape, "float32")
        size = shards.shard_path(folder, k).stat().st_size
        entries[f"{k:05d}"] = {"bytes": size, "sha256": "", "kept": per_shard}
    manifest = {"format": shards.FORMAT, "format_version": shards.FORMAT_VERSION, "recipe": recipe.to_json()}
    shards.write_json(folder / "manifest.json", {**manifest, "shard": per_shard, "versions": {}, "shards": entries})
    data = jc.population.Dataset(folder)
    assert len(data.kept) * len(recipe.ts) * 4 > 50e9
    tracemalloc.start()
    for seen, batch in enumerate(data.batches(256, seed=0, memory=64 * 2**20)):
        assert batch.outputs["I_ion_total"].shape == (256, 28_001)
        if seen == 8:
            break
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 300e6
