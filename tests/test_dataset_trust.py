"""Datasets that something happened to: nothing is believed that is not as it was written, and every error is one line
that names the file. What was made in one mode of JAX is the same in the other."""

import contextlib
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxcardio as jc
from jaxcardio.__main__ import main
from jaxcardio.population import Dataset, MissingShard, ShardError, make_dataset, problems
from jaxcardio.population.manifest import _digest
from jaxcardio.population.recipe import text_digest_of

RECIPE = jc.population.Recipe(
    cell=jc.models.KernikClancy2019(),
    n=24,
    seed=3,
    distribution=jc.population.Uniform(0.3),
    parameters=("Kr_g", "CaL_p"),
    protocol=jc.protocols.VoltageSteps([-80.0, 0.0], [4.0, 8.0]),
    t1=12.0,
    outputs=("I_ion_total",),
)
SHARD = 8


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("made") / "data", RECIPE, shard=SHARD)


@pytest.fixture
def copy(made, tmp_path) -> Path:
    return Path(shutil.copytree(made.folder, tmp_path / "data"))


def manifest_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "manifest.json").read_text())


def write(folder: Path, content: Any) -> None:
    (folder / "manifest.json").write_text(content if isinstance(content, str) else json.dumps(content))


# --- lost shards -----------------------------------------------------------------------------------------------------


def link_to_nowhere(path: Path):
    path.symlink_to("nowhere")


@pytest.mark.parametrize("instead", [None, Path.mkdir, link_to_nowhere, getattr(os, "mkfifo", Path.mkdir)])
def test_a_finished_dataset_that_lost_a_shard_says_so(copy, instead, capsys):
    lost = copy / "shard-00001.h5"
    lost.unlink()
    if instead is not None:
        instead(lost)
    data = Dataset(copy)
    assert data.missing() == list(data.lost) == [1]
    for use in (lambda: next(data.batches(4, seed=0)), lambda: data.kept, lambda: data.table("theta"),
                lambda: data.read([9])):  # fmt: skip
        with pytest.raises(MissingShard, match=r"shard-00001.h5: (the file is missing|is a folder)"):
            use()
    assert len(data.read([0, 23]).cells) == 2
    assert [type(x) for x in problems(copy)] == [MissingShard]
    assert main(["dataset", "info", str(copy)]) == 0
    assert "2 of 3, 1 lost: resume makes them again" in capsys.readouterr().out


def test_a_dataset_that_is_not_finished_says_how_much_there_is(copy):
    content = manifest_of(copy)
    del content["shards"]["00001"]
    write(copy, content)
    data = Dataset(copy)
    with pytest.warns(UserWarning, match="data: not finished, 16 of its 24 cells are made"):
        assert sum(len(b.cells) for b in data.batches(4, seed=0)) == 16
    with pytest.raises(ValueError, match=r"cell 9 is not made yet, .*\(16 of its 24 cells are made\)"):
        data.read([9])


# --- manifests -------------------------------------------------------------------------------------------------------

VALUES = st.none() | st.booleans() | st.integers(-3, 99) | st.floats(allow_nan=False) | st.text(max_size=5)
VALUES |= st.sampled_from([10**30, [], {}, [[]], {"a": 1}, "float64", "0" * 64])


def places(content: Any, path: tuple = ()) -> list[tuple]:
    """The way to every value of a JSON tree."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [path] * bool(path) + [p for key, value in inner for p in places(value, (*path, key))]


def with_value(content: Any, path: tuple, value: Any, drop: bool) -> Any:
    content = json.loads(json.dumps(content))
    *above, last = path
    inner = content
    for key in above:
        inner = inner[key]
    if drop:
        del inner[last]
    else:
        inner[last] = value
    return content


@settings(deadline=None, max_examples=200)
@given(st.data(), VALUES, st.booleans(), st.sampled_from(["as it was", "none", "made again"]))
def test_a_changed_manifest_is_refused_or_says_the_same(made, data, value, drop, digest):
    """Whoever changes it and its digest too finds that the shards are others."""
    content = manifest_of(made.folder)
    path = data.draw(st.sampled_from([p for p in places(content) if p[0] != "versions"]))
    changed = with_value(content, path, value, drop)
    if digest == "none":
        changed.pop("digest", None)
    elif digest == "made again":
        with contextlib.suppress(KeyError):
            changed["digest"] = _digest(changed)
    folder = made.folder.parent / "changed"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for shard in made.folder.glob("shard-*.h5"):
        (folder / shard.name).hardlink_to(shard)
    write(folder, changed)
    try:
        found = Dataset(folder)
        said = [str(x) for x in problems(folder)]
    except ValueError as error:
        found, said = None, [str(error)]
    if found is None:
        assert "\n" not in said[0]
        assert str(folder) in said[0]
        return
    # What it says of the cells that it has is right. Fewer shards in it are only not made yet; a checksum is looked
    # at when every byte is read; `n` alone may be more, if the digest says so too: then they are to be made.
    assert said == [] or (path[-1] == "sha256" and len(said) == 1)
    assert found.shard == SHARD
    assert found.recipe.seed == RECIPE.seed
    for k in set(range(3)) - set(found.missing()):
        cells = found.cells_of(k)
        assert np.array_equal(found.read(cells).theta, made.read(cells).theta)


@pytest.mark.parametrize("text", [
    "[" * 100_000, '{"a":' * 5000, "\udcff", '{"format": "jaxcardio dataset", "format_version": ' + "9" * 5000 + "}",
    '{"format": "jaxcardio dataset", "format": "jaxcardio dataset"}', "", "null", "[]", "NaN",
    '{"format": "jaxcardio dataset", "format_version": [1]}',
])  # fmt: skip
def test_a_text_that_is_no_manifest_is_one_line_that_names_it(tmp_path, text):
    (tmp_path / "manifest.json").write_bytes(text.encode(errors="surrogateescape"))
    for use in (Dataset, problems, lambda folder: make_dataset(folder, RECIPE)):
        with pytest.raises(ShardError, match=r"manifest.json: ") as found:
            use(tmp_path)
        assert "\n" not in str(found.value)


def test_a_manifest_that_is_no_file_is_refused(tmp_path):
    (tmp_path / "folder" / "manifest.json").mkdir(parents=True)
    (tmp_path / "file").write_text("x")
    cases = {"folder": "is a folder", "file": "is a file; allowed: a folder"}
    if hasattr(os, "mkfifo"):
        (tmp_path / "pipe").mkdir()
        os.mkfifo(tmp_path / "pipe" / "manifest.json")
        cases["pipe"] = "a pipe"
    for name, said in cases.items():
        with pytest.raises(ValueError, match=said):
            Dataset(tmp_path / name)
        with pytest.raises(ValueError, match=r"is a f|a pipe"):
            make_dataset(tmp_path / name, RECIPE)


def test_more_files_than_a_folder_should_have_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"shard = 1 cells: 4000000000 files .* allowed: 40000 cells or more"):
        make_dataset(tmp_path / "data", dataclasses.replace(RECIPE, n=4 * 10**9), shard=1)
    assert not (tmp_path / "data").exists()


# --- shards ----------------------------------------------------------------------------------------------------------


def replaced(name, change):
    def harm(file):
        values = file[name][()]
        del file[name]
        file[name] = change(values)

    return harm


def linked(file):
    del file["theta"]
    file["theta"] = h5py.ExternalLink("shard-00000.h5", "theta")


def soft(file):
    del file["theta"]
    file["theta"] = h5py.SoftLink("/cells")


def virtual(file):
    del file["theta"]
    layout = h5py.VirtualLayout((8, 2), "f8")
    layout[:] = h5py.VirtualSource("shard-00000.h5", "theta", (8, 2))
    file.create_virtual_dataset("theta", layout)


@pytest.mark.parametrize("harm", [
    *(lambda file, name=name: file.attrs.__delitem__(name) for name in ("recipe", "shard", "format", "format_version")),
    *(lambda file, x=x: file.attrs.__setitem__("recipe", x) for x in (5, np.arange(3), b"x", "x")),
    *(lambda file, x=x: file.attrs.__setitem__("shard", x) for x in (5, "1", np.arange(3), np.nan)),
    *(lambda file, x=x: file.attrs.__setitem__("format_version", x) for x in (2, "1", np.arange(2))),
    *(lambda file, n=n: file.__delitem__(n) for n in ("cells", "kept", "theta", "outputs", "outputs/I_ion_total")),
    replaced("cells", lambda x: x + 1), replaced("cells", lambda x: x[:-1]), replaced("cells", lambda x: x.astype("S")),
    replaced("kept", lambda x: x[::-1]), replaced("kept", lambda x: x + 1), replaced("kept", lambda x: x[:-1]),
    replaced("kept", lambda x: 0 * x), replaced("kept", lambda x: x.astype(float)),
    replaced("theta", lambda x: x[:-1]), replaced("theta", lambda x: x.T), replaced("theta", lambda x: x * np.nan),
    replaced("theta", lambda x: x.astype(complex)), replaced("theta", lambda x: x.astype("S")),
    replaced("outputs/I_ion_total", lambda x: x[:, :-1]), replaced("outputs/I_ion_total", lambda x: x[:-1]),
    replaced("outputs/I_ion_total", lambda x: x.astype("f8")), replaced("outputs/I_ion_total", lambda x: x / 0),
    lambda file: (file.__delitem__("theta"), file.create_group("theta")), linked, soft, virtual,
])  # fmt: skip
@pytest.mark.filterwarnings("ignore:divide by zero:RuntimeWarning")
def test_a_shard_that_is_another_is_named_even_where_its_length_and_checksum_are_said_to_be_right(copy, harm):
    path = copy / "shard-00001.h5"
    with h5py.File(path, "r+") as file:
        harm(file)
    content = manifest_of(copy)
    content["shards"]["00001"] |= {"bytes": path.stat().st_size, "sha256": jc.population.shards.checksum(path)}
    write(copy, content)
    with pytest.raises(ShardError, match=r"shard-00001.h5: ") as found:
        Dataset(copy).read(np.arange(8, 16))
    assert "\n" not in str(found.value)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**9), st.integers(0, 7))
def test_no_flipped_bit_of_a_shard_changes_a_number(made, place, bit):
    folder = made.folder.parent / "flipped"
    if not folder.exists():
        shutil.copytree(made.folder, folder)
    path, good = folder / "shard-00001.h5", (made.folder / "shard-00001.h5").read_bytes()
    harmed = bytearray(good)
    harmed[place % len(good)] ^= 1 << bit
    path.write_bytes(harmed)
    cells = np.arange(8, 16)
    said = ""
    try:
        data = Dataset(folder)
        read, reasons = data.read(cells), data.table("reasons")
    except ShardError as error:
        said, read, reasons = str(error), made.read(cells), made.table("reasons")
    assert "shard-00001.h5: " in said or not said
    assert "\n" not in said
    if not said:
        assert np.array_equal(read.outputs["I_ion_total"], made.read(cells).outputs["I_ion_total"])
        assert np.array_equal(read.theta, made.read(cells).theta)
        assert np.array_equal(reasons, made.table("reasons"))
    assert len(problems(folder)) == 1


def test_a_shard_with_the_digest_of_earlier_versions_is_read(copy):
    """Then it was that of the text of the recipe, whatever the dtype of its cell."""
    content = manifest_of(copy)
    assert text_digest_of(content["recipe"]) != Dataset(copy).recipe.digest
    for k in range(3):
        path = copy / f"shard-{k:05d}.h5"
        with h5py.File(path, "r+") as file:
            file.attrs["recipe"] = text_digest_of(content["recipe"])
        content["shards"][f"{k:05d}"] |= {"bytes": path.stat().st_size, "sha256": jc.population.shards.checksum(path)}
    del content["digest"]
    write(copy, content)
    assert len(Dataset(copy).read(range(24)).cells) == 24
    assert problems(copy) == []


# --- modes -----------------------------------------------------------------------------------------------------------

MODES = """
    import sys, warnings, json
    import jax
    jax.config.update("jax_enable_x64", sys.argv[1] == "x64")
    warnings.simplefilter("error")
    import jaxcardio as jc
    recipe = jc.population.Recipe.from_json(json.loads(sys.stdin.read()))
    for folder in sys.argv[2:]:
        if folder.endswith("!"):
            jc.population.make_dataset(folder[:-1], recipe, shard=8)
        data = jc.population.Dataset(folder.rstrip("!"))
        assert jc.population.problems(data.folder) == []
        assert sum(len(b.cells) for b in data.batches(5, seed=0)) == 24
        assert len(data.table("theta")) == 24
"""


def run(mode: str, recipe, *folders) -> None:
    words = [sys.executable, "-c", textwrap.dedent(MODES), mode, *map(str, folders)]
    done = subprocess.run(words, input=json.dumps(recipe.to_json()), text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_dataset_made_in_one_mode_is_read_and_resumed_in_the_other(made, tmp_path):
    doubled = make_dataset(tmp_path / "doubled", dataclasses.replace(RECIPE, dtype="float64"), shard=SHARD)
    begun = Path(shutil.copytree(made.folder, tmp_path / "begun"))
    content = manifest_of(begun)
    del content["shards"]["00002"]
    write(begun, content)
    (begun / "shard-00002.h5").unlink()
    run("float32", RECIPE, made.folder, doubled.folder, f"{begun}!", tmp_path / "single!")
    single = Dataset(tmp_path / "single")
    assert single.recipe.digest == made.recipe.digest != doubled.recipe.digest
    assert problems(tmp_path / "single") == []
    for k in range(3):
        name = f"shard-{k:05d}.h5"
        original = (made.folder / name).read_bytes()
        assert original == (begun / name).read_bytes() == (tmp_path / "single" / name).read_bytes()


# --- two at once -----------------------------------------------------------------------------------------------------


def test_two_that_make_one_dataset_at_once_make_it_once(made, tmp_path, capfd):
    folder, errors = tmp_path / "data", []
    working, go = threading.Event(), threading.Event()

    def slowly(done):
        working.set()
        go.wait(60)

    def make(**options):
        try:
            make_dataset(folder, RECIPE, shard=SHARD, **options)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=make, kwargs={"progress": slowly}), threading.Thread(target=make)]
    threads[0].start()
    assert working.wait(60)
    threads[1].start()
    threads[1].join(0.5)
    assert threads[1].is_alive()  # it waits
    go.set()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert f"another process is making it (process {os.getpid()} on " in capfd.readouterr().err
    assert problems(folder) == []
    for path in made.folder.glob("[ms]*"):
        assert path.read_bytes() == (folder / path.name).read_bytes()


def test_what_is_left_is_removed_but_not_what_is_being_written(copy):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    alive = f"shard-00001.h5.{os.getppid()}-00aa11bb.part"
    others = ["mine.part", "shard-1.h5.part", alive]
    left = [f"shard-00001.h5.{dead.pid}-00aa11bb.part", f"manifest.json.{dead.pid}-00aa11bb.part", "manifest.json.part"]
    for name in (*others, *left):
        (copy / name).write_text("x")
    make_dataset(copy, RECIPE, shard=SHARD)
    assert {p.name for p in copy.glob("*.part")} == set(others)


def test_a_recipe_that_shows_to_be_wrong_when_it_runs_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="chunk = -1"):
        make_dataset(tmp_path / "data", RECIPE, shard=SHARD, chunk=-1)
    assert list(tmp_path.iterdir()) == []
