"""One writer: whatever happens while a file is written, the earlier one or the new one is there, whole; no input is
written over; nothing else in the package opens a file for writing."""

import ast
import contextlib
import os
import stat
import sys
from pathlib import Path

import h5py
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxcardio
from jaxcardio.__main__ import main
from jaxcardio.files import writing
from jaxcardio.files.reading import open_hdf5
from jaxcardio.files.writing import check_place, put, write_csv, write_hdf5, write_text, write_whole

PACKAGE = Path(jaxcardio.__file__).parent
ALLOWED = {
    ("files/writing.py", "*"),
    ("files/locking.py", "open"),  # the lock, of which nothing is ever read but who has it
    ("files/hdf5.py", "tree_serialise_leaves"),  # into memory
    ("__main__.py", "open"),  # streams that were closed, opened again on nothing
}
WRITES = {
    *("write_text", "write_bytes", "savefig", "save", "savez", "savez_compressed", "savetxt", "tofile", "touch"),
    *("rename", "copyfile", "copy2", "move", "mkstemp", "NamedTemporaryFile", "symlink_to", "tree_serialise_leaves"),
}


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def mode_of(call: ast.Call, position: int) -> str | None:
    """The mode with which a file is opened; None where the source does not say."""
    given = [k.value for k in call.keywords if k.arg == "mode"] + call.args[position : position + 1]
    if not given:
        return "r"
    return given[0].value if isinstance(given[0], ast.Constant) and isinstance(given[0].value, str) else None


def writes(call: ast.Call) -> str | None:
    """What of this call may write a file, if anything."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    owner = ast.unparse(function.value) if isinstance(function, ast.Attribute) else ""
    if name == "open" and owner == "os":
        return name if any(flag in ast.unparse(call) for flag in ("O_WRONLY", "O_RDWR", "O_CREAT")) else None
    if name == "open" and owner.startswith(("h5py.", "h5o")):
        return None
    if name in ("open", "File", "fdopen"):
        mode = mode_of(call, 0 if name == "open" and owner not in ("", "io") else 1)
        return name if mode is None or set(mode) & set("wax+") else None
    if name == "replace" and owner == "os":
        return name
    if name in WRITES and owner and not (name == "save" and owner not in ("np", "numpy", "jnp")):
        return name
    return None


def test_nothing_opens_a_file_for_writing_but_the_one_writer():
    found = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and (what := writes(node)):
                found.add((path.relative_to(PACKAGE).as_posix(), what))
    assert {x for x in found if x not in ALLOWED and (x[0], "*") not in ALLOWED} == set()
    assert {x for x in found if x[0] == "files/writing.py"}  # the search finds what there is


class Stopped(BaseException):
    pass


@settings(deadline=None, max_examples=60)
@given(
    earlier=st.none() | st.binary(max_size=50),
    pieces=st.lists(st.binary(max_size=50), max_size=5),
    stop=st.none() | st.integers(0, 5),
    error=st.sampled_from([Stopped, KeyboardInterrupt, MemoryError, RuntimeError, ValueError, OSError]),
    mode=st.sampled_from([0o600, 0o644, 0o666, 0o640]),
    link=st.booleans(),
    name=st.sampled_from(["a.txt", "x" * 255, "ä" * 127, "with space", ".hidden", "-"]),
)
def test_the_earlier_file_or_the_new_one(tmp_path_factory, earlier, pieces, stop, error, mode, link, name):
    folder = tmp_path_factory.mktemp("whole")
    target = path = folder / name
    if earlier is not None:
        target.write_bytes(earlier)
        target.chmod(mode)
    if link:
        path = folder / "link"
        path.symlink_to(target.name)

    def write(part: Path) -> int:
        with open(part, "wb") as file:
            for number, piece in enumerate(pieces):
                if number == stop:
                    raise error
                file.write(piece)
        if stop is not None:
            raise error
        return len(pieces)

    if stop is None:
        assert write_whole(path, write) == len(pieces)
        assert target.read_bytes() == b"".join(pieces)
        usual = 0o666 & ~_umask()
        assert stat.S_IMODE(target.stat().st_mode) == (usual if earlier is None else mode)
    else:
        with pytest.raises(error):
            write_whole(path, write)
        assert (target.read_bytes() if target.exists() else None) == earlier
    assert path.is_symlink() == link
    assert {p.name for p in folder.iterdir()} <= {name, "link"}


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
@pytest.mark.parametrize("write", [
    lambda path: write_text(path, "x" * 200_000),
    lambda path: write_csv(path, ([i] * 9 for i in range(20_000))),
    lambda path: write_hdf5(path, lambda file: put(file, "x", np.random.default_rng(0).random(50_000), "mV")),
    lambda path: write_hdf5(path, lambda file: [put(file, f"x/{k}", np.arange(2000.0) + k, "mV") for k in range(20)]),
    lambda path: write_hdf5(path, lambda file: file.create_dataset("x", data=np.arange(50_000.0))),
])  # fmt: skip
def test_a_file_that_may_not_grow_is_one_line_and_costs_nothing(write, capfd):
    import resource

    write("good")
    before = Path("good").read_bytes()
    for limit in (0, 3000, 60_000, 99_000):
        old = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, old[1]))
        try:
            with pytest.raises(OSError, match=r"^path = good: cannot be written \(File too large\); what was there is"):
                write("good")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert Path("good").read_bytes() == before
    assert os.listdir() == ["good"]
    assert capfd.readouterr().err == ""  # HDF5 has nothing to say of its own
    write("good")


def test_what_is_no_file_is_refused_before_anything_is_done():
    Path("folder").mkdir()
    Path("loop").symlink_to("loop")
    Path("file").write_text("x")
    cases = {"folder": "is a folder", "": "is a folder", "nowhere/x": "there is no folder"}
    cases |= dict.fromkeys(["loop", "y" * 300, "a\0b"], "cannot be written") | {"file/x": "Not a directory|no folder"}
    if sys.platform != "win32":
        os.mkfifo("fifo")
        cases |= {"fifo": "a pipe", "/dev/null": "a device", "/dev/stdout": "path = /dev/stdout"}
    for name, said in cases.items():
        for do in (check_place, lambda name: write_whole(name, lambda part: pytest.fail("was called"))):
            with pytest.raises(ValueError, match=said) as found:
                do(name)
            assert "\n" not in str(found.value)
    for wrong in (None, 5, object()):
        with pytest.raises(ValueError, match=r"path = .*; allowed: the name of a file"):
            check_place(wrong)  # pyright: ignore[reportArgumentType]
    assert {p.name for p in Path().iterdir()} <= {"folder", "loop", "file", "fifo"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everything")
def test_a_file_and_a_folder_that_may_not_be_written_are_refused():
    Path("mine").write_text("x")
    Path("mine").chmod(0o400)
    Path("folder").mkdir()
    Path("folder").chmod(0o500)
    for name in ("mine", "folder/x"):
        with pytest.raises(ValueError, match=f"path = {name}: cannot be written"):
            check_place(name)


def test_what_killed_processes_left_goes_after_a_day_and_nothing_else():
    old = ["a.h5.123-0011aabb.part", "a.h5.9-ffffffff.part"]
    kept = ["a.h5.123-0011aabb.part.h5", "b.h5.123-0011aabb.part", "a.h5.part", "a.h5", "a.h5.new-0011aabb.part"]
    for name in (*old, *kept):
        Path(name).write_text("x")
        os.utime(name, (0, 0))
    Path("a.h5.77-00000000.part").write_text("being written")
    check_place("a.h5")
    assert sorted(os.listdir()) == sorted([*kept, "a.h5.77-00000000.part"])


def test_two_that_write_one_file_at_once_leave_one_of_both():
    from concurrent.futures import ThreadPoolExecutor

    texts = [str(k) * 100_000 for k in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            list(pool.map(lambda text: write_text("x.txt", text), texts))
            assert Path("x.txt").read_text() in texts
    assert os.listdir() == ["x.txt"]


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 40), max_size=3), st.sampled_from(["f8", "f4", "i8", "?"]))
def test_every_array_is_read_as_it_was_put_and_any_flipped_bit_of_it_is_an_error(tmp_path_factory, shape, dtype):
    path = tmp_path_factory.mktemp("put") / "x.h5"
    values = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    write_hdf5(path, lambda file: put(file, "group/x", values, "mV"))
    with h5py.File(path) as file:
        found = file["group/x"]
        assert isinstance(found, h5py.Dataset)
        assert np.array_equal(found[()], values)
        assert found.dtype == values.dtype
        assert found.attrs["unit"] == "mV"
        assert bool(values.ndim and values.size) == found.fletcher32
    good = path.read_bytes()
    for place in np.random.default_rng(1).integers(0, len(good), 25):
        harmed = bytearray(good)
        harmed[place] ^= 1 << (place % 8)
        path.write_bytes(harmed)
        with contextlib.suppress(OSError, KeyError, RuntimeError, ValueError), h5py.File(path) as file:
            found = file["group/x"]
            assert isinstance(found, h5py.Dataset)
            assert np.array_equal(found[()], values)


def test_something_is_added_to_hdf5_files_only():
    Path("text.h5").write_text("precious")
    with pytest.raises(ValueError, match=r"text.h5: not an HDF5 file"):
        write_hdf5("text.h5", lambda file: None, add=True)
    assert Path("text.h5").read_text() == "precious"
    write_hdf5("a.h5", lambda file: put(file, "x", np.arange(3.0), "mV"), add=True)
    write_hdf5("a.h5", lambda file: put(file, "y", np.arange(4.0), "mV"), add=True)

    def fail(file: h5py.File) -> None:
        del file["x"]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_hdf5("a.h5", fail, add=True)
    with h5py.File("a.h5") as file:
        assert sorted(file) == ["x", "y"]


# --- verbs -----------------------------------------------------------------------------------------------------------

READS = [  # (words with IN and OUT, suffix of IN, suffix of OUT, what of OUT is written: the file, or the figure by it)
    (["simulate", "tentusscher", "--protocol", "IN", "--out", "OUT"], ".h5", ".h5"),
    (["simulate", "tentusscher", "--protocol", "IN", "--out", "OUT"], ".png", ".h5"),
    (["drug", "E-4031", "--protocol", "IN", "--out", "OUT"], ".h5", ".h5"),
    (["drug", "E-4031", "--protocol", "IN", "--out", "OUT"], ".png", ".h5"),
    (["biomarkers", "IN", "--out", "OUT"], ".h5", ".h5"),
    (["biomarkers", "IN", "--out", "OUT"], ".csv", ".csv"),
    (["biomarkers", "IN", "--out", "OUT"], ".png", ".csv"),
    (["population", "simulate", "OUT", "--protocol", "IN"], ".h5", ".h5"),
    (["population", "screen", "--out", "OUT", "--protocol", "IN"], ".csv", ".csv"),
    (["population", "plot", "IN", "--out", "OUT"], ".png", ".png"),
    (["twin", "IN", "--out", "OUT"], ".h5", ".h5"),
    (["twin", "IN", "--out", "OUT"], ".png", ".h5"),
    (["twin", "other.h5", "--check", "IN", "--out", "OUT"], ".h5", ".h5"),
    (["twin", "other.h5", "--network", "IN", "--out", "OUT"], ".h5", ".h5"),
    (["hidden-state", "explain", "IN", "--out", "OUT"], ".json", ".json"),
    (["hidden-state", "explain", "IN", "--out", "OUT"], ".png", ".json"),
    (["hidden-state", "explain", "other.h5", "--network", "IN", "--out", "OUT"], ".json", ".json"),
    (["hidden-state", "retrain", "IN", "--out", "OUT"], ".json", ".json"),
    (["hidden-state", "retrain", "other.h5", "--network", "IN", "--out", "OUT"], ".json", ".json"),
]


@pytest.mark.parametrize("way", ["same", "symbolic", "hard"])
@pytest.mark.parametrize(("words", "reads", "out"), READS, ids=lambda x: "-".join(x) if isinstance(x, list) else x)
def test_no_input_is_written_over(words: list[str], reads, out, way, capsys):
    source = Path(f"in{reads}")
    source.write_bytes(b"precious")
    target = Path(f"in{out}")
    if way != "same":
        target = Path(f"link{out}")
        place = target.with_suffix(reads)
        place.symlink_to(source) if way == "symbolic" else place.hardlink_to(source)
    names = {"IN": str(source), "OUT": str(target)}
    assert main([names.get(word, word) for word in words]) == 2
    assert "is what is to be read" in capsys.readouterr().err
    assert source.read_bytes() == b"precious"
    assert {p.stem for p in Path().iterdir()} <= {"in", "link"}


@pytest.mark.parametrize("words", [["twin", "--example"], ["hidden-state", "example"]])
def test_an_example_replaces_nothing_but_an_example(words, capsys):
    with h5py.File("foreign.h5", "w") as file:
        file["mine"] = 1.0
    Path("text.h5").write_bytes(b"precious")
    for name in ("foreign.h5", "text.h5"):
        before = Path(name).read_bytes()
        assert main([*words, name]) == 2
        assert f"path = {name}: is there, and is no jaxcardio example" in capsys.readouterr().err
        assert Path(name).read_bytes() == before


def test_a_figure_that_nobody_named_replaces_no_other_picture(capsys):
    brief = ["simulate", "alievpanfilov1996", "--t1", "1", "--save-every", "0.5", "--dt", "0.1", "--out", "a.h5"]
    Path("a.png").write_bytes(b"photograph")
    assert main(brief) == 2
    assert "a.png: is there, and was not drawn by Matplotlib" in capsys.readouterr().err
    assert os.listdir() == ["a.png"]
    Path("a.png").unlink()
    assert [main(brief), main(brief)] == [0, 0]


def test_a_place_is_tested_before_the_work():
    from jaxcardio.training import fit
    from jaxcardio.twin import Experiment, train

    def never(*_):
        pytest.fail("the work was begun")

    with pytest.raises(ValueError, match="path = nowhere/x: there is no folder"):
        fit(None, never, never, never, optimiser=None, epochs=1, checkpoint="nowhere/x")  # pyright: ignore
    with pytest.raises(ValueError, match="path = nowhere/x: there is no folder"):
        train(object.__new__(Experiment), cells=100, checkpoint="nowhere/x")


def test_a_network_keeps_its_bytes_and_leaves_no_part():
    from jaxcardio.files.hdf5 import read_network, write_network

    weights = {"w": jax.numpy.arange(3.0)}
    write_network("n.net", "format", {"a": 1}, weights)
    write_network("n.net", "format", {"a": 2}, weights)
    about, read = read_network("n.net", "format", lambda about: weights)
    assert about["a"] == 2
    assert np.array_equal(read["w"], weights["w"])
    assert os.listdir() == ["n.net"]
    assert writing.LEFT.fullmatch(".12-00ff00ff.part")


def test_files_of_every_size_are_read_back(tmp_path):
    """The address of a dataset, 0xB308 in some of these files, holds that of the texts, 0xB3, one byte later: it is no
    text of as many bytes as the end of the dataset's name says."""
    path = tmp_path / "any.h5"
    for size in range(0x9C00, 0xA000, 8):

        def write(file, size=size):
            file.attrs["format"] = "sizes"
            put(file, "first", np.arange(size // 8), "1")
            for name in ("value", "lower", "upper"):
                put(file, f"group/{name}", np.zeros(8), "ms")

        write_hdf5(path, write)
        with open_hdf5(path) as file:
            assert file.text("format") == "sizes"
            assert file.dataset("group/upper").unit == "ms"
