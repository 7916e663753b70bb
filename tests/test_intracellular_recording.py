"""Recordings: the own layout, its streaming writer, MaxWell's layouts and tables of text."""

import resource
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mea_files import mapping, write_maxwell_2016, write_maxwell_2019, write_with_missing_filter

from jaxcardio.files.reading import open_hdf5
from jaxcardio.intracellular.recording import Block, Event, Recording, RecordingWriter

RATE = 5000.0
VALUES = np.random.default_rng(1).normal(0, 1.5, (3, 40_000)).astype(np.float32)
PLACES = np.array([[0.0, 0.0], [0.0, 30.0], [200.0, 0.0]])
LIMITS = np.array([[-10.0, 10.0], [-5.0, 20.0], [-2.0, 2.0]])
EVENTS = (
    Event(30_000.0, "drug", "dofetilide", 10.0),
    Event(100.0, "electroporation", "pulse", None, ("b",)),
)


def a_recording(**options: Any) -> Recording:
    return Recording.from_samples(
        VALUES, RATE, channels=["a", "b", "c"], kinds=["extracellular", "intracellular", "extracellular"],
        partners=[1, -1, -1], positions=PLACES, start=20.0, events=EVENTS, **options,
    )  # fmt: skip


def assert_same(found: Recording, wanted: Recording) -> None:
    """That all is the same but where the samples are."""
    for name in (
        "sampling_rate",
        "channels",
        "kinds",
        "partners",
        "blocks",
        "events",
        "notes",
        "n_samples",
        "duration",
    ):
        assert getattr(found, name) == getattr(wanted, name), name
    for name in ("positions", "limits"):
        one, other = getattr(found, name), getattr(wanted, name)
        assert (one is None) == (other is None)
        assert one is None or np.array_equal(one, other)
    n = wanted.n_samples
    assert np.array_equal(found.read(0, n), wanted.read(0, n), equal_nan=True)
    assert np.array_equal(found.times(0, n), wanted.times(0, n))


def refused(call: Any, *parts: str) -> None:
    """That a call is a ValueError of one line with these parts."""
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        call()
    for part in parts:
        assert part in str(error.value), str(error.value)
    assert len(str(error.value)) < 1000


# --- samples that are there ------------------------------------------------------------------------------------------


def test_samples_that_are_there_are_described():
    found = a_recording(limits=LIMITS)
    assert (found.n_samples, found.duration) == (40_000, 8000.0)
    assert found.blocks == (Block(0, 40_000, 20.0),)
    assert [x.time for x in found.events] == [100.0, 30_000.0]
    assert np.array_equal(found.read(5, 9, [2, 0]), VALUES[[2, 0], 5:9])
    assert found.read(5, 9).dtype == np.float32
    assert found.times(2, 4).dtype == np.float64
    assert np.allclose(found.times(2, 4), [20.4, 20.6], rtol=0, atol=1e-12)
    assert "3 channels, 40000 samples at 5000 Hz" in repr(found)


def test_what_is_known_cannot_be_changed_and_the_callers_array_is_not_kept():
    values = VALUES.copy()
    found = Recording.from_samples(values, RATE, limits=LIMITS)
    values[:] = 7
    assert np.array_equal(found.read(0, 9), VALUES[:, :9])
    with pytest.raises(AttributeError):
        found.sampling_rate = 1.0  # pyright: ignore[reportAttributeAccessIssue]
    assert found.limits is not None
    with pytest.raises(ValueError, match="read-only"):
        found.limits[0, 0] = 0


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "a rate of 0": ({"sampling_rate": 0.0}, "sampling_rate = 0.0 Hz; allowed: finite, > 0 Hz"),
    "a rate in words": ({"sampling_rate": "5 kHz"}, "sampling_rate = '5 kHz'"),
    "one channel's samples": ({"values": VALUES[0]}, "values: expected shape"),
    "no sample": ({"values": VALUES[:, :0]}, "allowed"),
    "an infinite sample": ({"values": np.array([[1.0, np.inf]]), "channels": ["a"]}, "none infinite, mV"),
    "two names": ({"channels": ["a", "b"]}, "channels: 2 names; allowed: 3"),
    "a name twice": ({"channels": ["a", "b", "a"]}, "channels: a is named twice"),
    "a kind of another kind": ({"kinds": ["eap"] * 3}, "allowed: 3 of 'extracellular' or 'intracellular'"),
    "a partner that is not there": ({"partners": [3, -1, -1]}, "partners = [3, -1, -1]"),
    "positions of two": ({"positions": np.zeros((2, 2))}, "positions: expected shape (3, 2), got (2, 2)"),
    "a limit of nothing": ({"limits": np.zeros((3, 2))}, "limits: lowest >= highest"),
    "limits without end": ({"limits": np.full((3, 2), np.inf)}, "limits: not finite"),
    "an event that is none": ({"events": ["drug"]}, "events"),
    "an event of no time": ({"events": [Event(np.nan, "drug")]}, "events[0].time = nan ms"),
    "a negative concentration": ({"events": [Event(0.0, "drug", "", -1.0)]}, "events[0].concentration = -1.0 nM"),
    "an event elsewhere": ({"events": [Event(0.0, "drug", "", None, ("z",))]}, "events[0].channels"),
    "a start of no time": ({"start": np.inf}, "start = inf ms"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_argument_is_refused_by_name(name):
    changed, part = BAD[name]
    good = {"values": VALUES, "sampling_rate": RATE, "channels": ["a", "b", "c"]}
    refused(lambda: Recording.from_samples(**(good | changed)), part)


def test_samples_and_channels_that_are_not_there_are_refused():
    found = a_recording()
    for first, last in ((-1, 4), (5, 4), (0, 40_001)):
        refused(lambda a=first, b=last: found.read(a, b), "allowed: 0 <= first <= last <= 40000")
        refused(lambda a=first, b=last: found.times(a, b), "allowed: 0 <= first <= last <= 40000")
    refused(lambda: found.read(0, 4, [3]), "channels = 3; allowed: 0 to 2")
    refused(lambda: found.read(0, 4, [-1]), "channels = -1")


# --- the own layout --------------------------------------------------------------------------------------------------


def test_what_is_saved_is_loaded_to_the_last_bit(tmp_path):
    wanted = a_recording(limits=LIMITS)
    wanted.save(tmp_path / "recording.h5")
    assert_same(Recording.load(tmp_path / "recording.h5"), wanted)


def test_missing_samples_stay_missing(tmp_path):
    values = VALUES.copy()
    values[1, 7:9] = np.nan
    wanted = Recording.from_samples(values, RATE)
    wanted.save(tmp_path / "recording.h5")
    assert_same(Recording.load(tmp_path / "recording.h5"), wanted)


@settings(max_examples=25, deadline=None)
@given(pieces=st.lists(st.integers(0, 20_000), min_size=1, max_size=6), promised=st.booleans(), sixteen=st.booleans())
def test_it_makes_no_difference_in_what_pieces_samples_come(tmp_path_factory, pieces, promised, sixteen):
    path = tmp_path_factory.mktemp("pieces") / "recording.h5"
    ends = np.minimum(np.cumsum([1, *pieces]), VALUES.shape[1])
    limits = LIMITS if sixteen else None
    with RecordingWriter(
        path, RATE, ["a", "b", "c"], limits=limits, n_samples=int(ends[-1]) if promised else None
    ) as writer:
        for first, last in zip([0, *ends], ends, strict=False):
            writer.append(VALUES[:, first:last])
        assert writer.n_samples == ends[-1]
    found = Recording.load(path)
    written = np.clip(VALUES, LIMITS[:, :1], LIMITS[:, 1:]) if sixteen else VALUES
    half = np.diff(LIMITS, axis=1) / 65_534 / 2
    assert found.n_samples == ends[-1] and found.blocks == (Block(0, int(ends[-1]), 0.0),)
    assert np.all(np.abs(found.read(0, found.n_samples) - written[:, : ends[-1]]) <= sixteen * 1.001 * half)


def test_sixteen_bits_clip_at_the_limits_as_a_converter_does(tmp_path):
    with RecordingWriter(tmp_path / "clipped.h5", RATE, ["a"], limits=np.array([[-2.0, 6.0]])) as writer:
        writer.append(np.array([[-3.0, -2.0, 0.0, 2.0, 6.0, 1e6]]))
    found = Recording.load(tmp_path / "clipped.h5")
    assert found.limits is not None
    values = found.read(0, 6)[0]
    assert np.array_equal(values[[0, 1, 4, 5]], [-2.0, -2.0, 6.0, 6.0])
    assert values[0] == np.float32(found.limits[0, 0]) and values[4] == np.float32(found.limits[0, 1])
    assert np.allclose(values[2:4], [0.0, 2.0], atol=8 / 65_534 / 2)
    with h5py.File(tmp_path / "clipped.h5") as file:  # as the docstring describes the file
        raw: Any = file
        assert raw["samples"].dtype == np.int16
        assert np.allclose(raw["samples"][0] * raw["gain"][0] + raw["offset"][0], values, atol=1e-6)


def test_sixteen_bits_lose_nothing_when_they_are_saved_again(tmp_path):
    with RecordingWriter(tmp_path / "one.h5", RATE, ["a", "b", "c"], limits=LIMITS, events=EVENTS) as writer:
        writer.append(VALUES)
    one = Recording.load(tmp_path / "one.h5")
    one.save(tmp_path / "two.h5")
    assert_same(Recording.load(tmp_path / "two.h5"), one)
    with h5py.File(tmp_path / "two.h5") as file:
        raw: Any = file
        assert raw["samples"].dtype == np.int16


def test_gaps_and_events_that_come_while_it_is_written(tmp_path):
    with RecordingWriter(tmp_path / "gap.h5", 1000.0, ["a", "b", "c"], start=5.0) as writer:
        writer.append(VALUES[:, :100])
        writer.append(VALUES[:, 100:150], start=105.0)  # joins
        writer.append(VALUES[:, 150:160], start=500.0)
        writer.events.append(Event(300.0, "vehicle", "DMSO"))
        refused(lambda: writer.append(VALUES[:, :5], start=400.0), "sample 160 at 400 ms", "allowed: >= 510 ms")
    found = Recording.load(tmp_path / "gap.h5")
    assert found.blocks == (Block(0, 150, 5.0), Block(150, 160, 500.0))
    assert found.duration == 505.0
    assert np.array_equal(found.times(149, 151), [154.0, 500.0])
    assert found.events == (Event(300.0, "vehicle", "DMSO"),)
    assert_same(Recording.load(tmp_path / "gap.h5"), found)
    found.save(tmp_path / "again.h5")
    assert_same(Recording.load(tmp_path / "again.h5"), found)


def test_a_recording_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "recording.h5"
    a_recording().save(path)
    before = path.read_bytes()

    def interrupted() -> None:
        with RecordingWriter(path, RATE, ["a"]) as writer:
            writer.append(np.zeros((1, 100_000)))
            raise KeyboardInterrupt

    def short() -> None:
        with RecordingWriter(path, RATE, ["a"], n_samples=10) as writer:
            writer.append(np.zeros((1, 9)))

    def long() -> None:
        with RecordingWriter(path, RATE, ["a"], n_samples=10) as writer:
            writer.append(np.zeros((1, 11)))

    def empty() -> None:
        with RecordingWriter(path, RATE, ["a"]):
            pass

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    refused(short, "recording.h5: 9 samples; allowed: 10")
    refused(long, "n_samples = 10 samples, and 11 came")
    refused(empty, "recording.h5: 0 samples; allowed: one or more")
    assert path.read_bytes() == before
    assert [x.name for x in tmp_path.iterdir()] == ["recording.h5"]


def test_what_cannot_be_written_is_refused(tmp_path):
    path = tmp_path / "recording.h5"
    refused(lambda: RecordingWriter(path, RATE, []), "channels")
    refused(lambda: RecordingWriter(path, RATE, ["a"], encoding="int16"), "encoding = 'int16'", "limits (channel, 2)")
    refused(lambda: RecordingWriter(path, RATE, ["a"], n_samples=0), "n_samples = 0 samples")
    refused(lambda: RecordingWriter(tmp_path / "no" / "x.h5", RATE, ["a"]).__enter__(), "there is no folder")
    with RecordingWriter(path, RATE, ["a"], limits=np.array([[-1.0, 1.0]])) as writer:
        refused(lambda: writer.append(np.array([[np.nan]])), "NaN or infinite", "encoding = 'float32'")
        refused(lambda: writer.append(np.zeros((2, 5))), "expected shape (1, samples), got (2, 5)")
        writer.append(np.zeros((1, 5)))
    refused(lambda: writer.append(np.zeros((1, 5))), "the file is not open")


def edited(path: Path, edit: Any) -> Path:
    a_recording(limits=LIMITS).save(path)
    with h5py.File(path, "r+") as file:
        edit(file)
    return path


def renewed(name: str, values: Any) -> Any:
    def edit(file: Any) -> None:
        del file[name]
        file[name] = values

    return edit


DAMAGES: dict[str, tuple[Any, str]] = {
    "an attribute edited": (lambda f: f.attrs.modify("sampling_rate_Hz", 1.0), "digest"),
    "about edited": (lambda f: f.attrs.modify("about", "{}"), "digest"),
    "no samples": (lambda f: f.__delitem__("samples"), "samples: not there"),
    "fewer channels": (renewed("samples", np.zeros((2, 40_000), np.int16)), "samples: int16 of shape (2, 40000)"),
    "samples of 64 bits": (renewed("samples", np.zeros((3, 40_000))), "samples: float64"),
    "fewer samples": (renewed("samples", VALUES[:, :10]), "blocks end at sample 40000; allowed: 10"),
    "no blocks": (lambda f: f.__delitem__("blocks"), "blocks: not there"),
    "blocks without a start": (renewed("blocks/start", np.zeros(0)), "differ in length"),
    "a block that begins later": (renewed("blocks/first", np.array([5])), "samples 5 to 39999; allowed"),
    "a start of no time": (renewed("blocks/start", np.array([np.nan])), "blocks"),
    "sixteen bits without a gain": (renewed("samples", np.zeros((3, 40_000), np.int16)), "gain: not there"),
    "positions of one": (renewed("positions", np.zeros((1, 2))), "positions: expected shape (3, 2), got (1, 2)"),
    "limits that are text": (renewed("limits", "wide"), "limits: text"),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_of_the_own_layout_is_refused(tmp_path, name):
    edit, part = DAMAGES[name]
    path = edited(tmp_path / "damaged.h5", edit)
    refused(lambda: Recording.load(path), "damaged.h5", part)


def test_a_bit_that_flips_in_the_samples_is_seen(tmp_path):
    path = tmp_path / "flipped.h5"
    a_recording().save(path)
    data = bytearray(path.read_bytes())
    place = data.find(VALUES[1, 17_000:17_010].tobytes())
    data[place + 5] ^= 4
    path.write_bytes(data)
    found = Recording.load(path)
    assert np.array_equal(found.read(0, 40_000, [0, 2]), VALUES[[0, 2]])
    refused(lambda: found.read(17_000, 17_010, [1]), "flipped.h5", "samples")


def test_a_file_of_the_own_layout_cut_short_is_refused(tmp_path):
    path = tmp_path / "cut.h5"
    a_recording().save(path)
    whole = path.read_bytes()
    for size in np.linspace(0, len(whole) - 1, 40).astype(int):
        path.write_bytes(whole[:size])
        refused(lambda: Recording.load(path), "cut.h5")


def test_a_file_that_has_changed_or_gone_is_not_read_as_if_it_had_not(tmp_path):
    path = tmp_path / "recording.h5"
    a_recording().save(path)
    found = Recording.load(path)
    Recording.from_samples(2 * VALUES, RATE).save(path)
    refused(lambda: found.read(0, 5), "recording.h5", "has been changed since")
    path.unlink()
    refused(lambda: found.read(0, 5), "recording.h5", "no such file")


def test_the_own_layout_leaves_nothing_to_choose(tmp_path):
    a_recording().save(tmp_path / "x.h5")
    for name, value in (("stream", 0), ("recording", "x"), ("unit", "mV"), ("sampling_rate", 1.0)):
        refused(lambda option={name: value}: Recording.load(tmp_path / "x.h5", **option), f"{name} = ", "x.h5")


def test_what_a_file_is_its_content_tells_not_its_name(tmp_path):
    a_recording().save(tmp_path / "recording.csv")
    assert_same(Recording.load(tmp_path / "recording.csv"), a_recording())
    (tmp_path / "table.h5").write_text("t_ms,a_mV\n0,1\n1,2\n")
    assert Recording.load(tmp_path / "table.h5").n_samples == 2


def test_what_is_no_recording_is_refused_with_what_is(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    refused(lambda: Recording.load(tmp_path / "other.h5"), "other.h5", "with x", "Multi Channel Systems")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["format"] = "jaxcardio trace"
    refused(lambda: Recording.load(tmp_path / "other.h5"), "format 'jaxcardio trace'")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.create_group("3BData")
    refused(lambda: Recording.load(tmp_path / "other.h5"), "3Brain")
    refused(lambda: Recording.load(tmp_path / "nowhere.h5"), "nowhere.h5: no such file")
    refused(lambda: Recording.load(tmp_path), "is a folder")
    (tmp_path / "noise").write_bytes(bytes(range(256)) * 9)
    refused(lambda: Recording.load(tmp_path / "noise"), "noise")


# --- files of any size -----------------------------------------------------------------------------------------------

LONG = """
import resource, sys, time
from jaxcardio.intracellular.recording import Recording
def most(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, begun = most(), time.process_time()
recording = Recording.load(sys.argv[1])
took, loaded = time.process_time() - begun, most()
total = 0.0
for first in range(0, recording.n_samples, 900_000):
    total += abs(recording.read(first, first + 150_000)).max()
print(took, loaded - before, most() - before, total)
"""
"""Of a file: seconds of work and MB that it takes to open, MB in all when parts of it are read."""


def write_long(path: Path, columns: int, options: dict[str, Any]) -> None:
    """60 channels x 30 minutes x 5 kHz: the same chunk everywhere, so that it takes no time to write."""
    from mea_files import Part, Stream, write_mcs

    n = 9_000_000
    chunk = np.random.default_rng(0).integers(-3, 4, (60, columns)).astype(np.int16)
    write_mcs(
        path,
        Part([Stream(chunk[:, :0], stamps=[[0, 0, n - 1]], options=options | {"maxshape": (60, None)})]),
        texts="utf-8",
    )
    with h5py.File(path, "r+") as file:
        data: Any = file["Data/Recording_0/AnalogStream/Stream_0/ChannelData"]
        data.resize(n, axis=1)
        data[:, :columns] = chunk
        mask, packed = data.id.read_direct_chunk((0, 0))
        for first in range(columns, n, columns):
            data.id.write_direct_chunk((0, first), packed, mask)


@pytest.mark.slow
def test_half_an_hour_of_sixty_channels_opens_at_once_and_is_read_in_bounded_memory(tmp_path):
    path = tmp_path / "long.h5"
    write_long(path, 10_000, {"chunks": (60, 10_000), "compression": "gzip", "compression_opts": 1})
    done = subprocess.run(
        [sys.executable, "-c", LONG, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    took, loaded, most, total = map(float, done.stdout.split())
    assert took < 1.0
    assert loaded < 50
    assert most < 200
    assert total > 0


def test_gigabytes_of_samples_are_not_gone_through_for_the_texts_of_a_file(tmp_path):
    """Texts of variable length are looked for before they are read: not where the numbers are."""
    path = tmp_path / "sparse.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("numbers", (2**30,), np.int16, fillvalue=None)
        numbers: Any = file["numbers"]
        numbers[0], numbers[-1] = 1, 1
        file.attrs["text"] = "of variable length"
    begun = time.process_time()
    with open_hdf5(path) as file:
        assert file.text("text") == "of variable length"
    assert time.process_time() - begun < 0.5


def test_a_chunk_that_grows_beyond_its_size_is_refused(tmp_path):
    path = tmp_path / "bomb.h5"
    write_maxwell_2019(path, {"well000/rec0000": np.zeros((2, 5))}, TWO, lsb=6e-6)
    with h5py.File(path, "r+") as file:
        import zlib

        routed: Any = file["wells/well000/rec0000/groups/routed"]
        del routed["raw"]
        data = routed.create_dataset("raw", (2, 100), np.uint16, chunks=(2, 100), compression="gzip")
        data.id.write_direct_chunk((0, 0), zlib.compress(bytes(100_000)))
    found = Recording.load(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    refused(lambda: found.read(0, 100), "bomb.h5", "a gzipped chunk of more than the 404 bytes")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000


# --- MaxWell ---------------------------------------------------------------------------------------------------------

RAW = np.random.default_rng(2).integers(0, 1024, (3, 500)).astype(np.uint16)
TWO = mapping((0, 5, 0.0, 0.0), (1, 6, 17.5, 0.0))
THREE = mapping((0, 12, 17.5, 35.0), (1, 7, 0.0, 70.0), (2, 9, 52.5, 0.0))
LSB = 6.29e-6
"""V."""


def neo_reading(path: Path, stream: int = 0, name: str | None = None) -> tuple[np.ndarray, float]:
    """mV (channel, sample) and Hz, as neo reads a file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rawio: Any = pytest.importorskip("neo.rawio.maxwellrawio")
        reader = rawio.MaxwellRawIO(filename=str(path), rec_name=name)
        reader.parse_header()
        raw = reader.get_analogsignal_chunk(0, 0, stream_index=stream)
        values = reader.rescale_signal_raw_to_float(raw, "float64", stream_index=stream).T / 1e3
        reader.h5_file.close()
    return values, float(reader.get_signal_sampling_rate(stream))


@pytest.mark.parametrize("settings_", [{"lsb": LSB}, {"gain": 512.0}, {"gain": 1024.0}, {}])
@pytest.mark.parametrize("layout", ["2016", "2019"])
def test_both_layouts_of_maxwell_are_read_as_neo_reads_them(tmp_path, layout, settings_):
    path = tmp_path / "recording.h5"
    if layout == "2016":
        write_maxwell_2016(path, RAW, THREE, **settings_)
    else:
        write_maxwell_2019(path, {"well000/rec0000": RAW}, THREE, **settings_)
    found = Recording.load(path)
    step = settings_["lsb"] * 1e3 if "lsb" in settings_ else 3300.0 / (1024 * settings_.get("gain", 512.0))
    assert np.allclose(found.read(0, 500), RAW * step, rtol=1e-6)
    assert (found.channels, found.sampling_rate) == (("12", "7", "9"), 20_000.0)
    assert found.positions is not None and found.limits is not None
    assert np.array_equal(found.positions, [[17.5, 35.0], [0.0, 70.0], [52.5, 0.0]])
    assert np.allclose(found.limits, [0.0, 1023 * step])
    assert bool(found.notes) == (not settings_)
    values, rate = neo_reading(path)
    assert np.allclose(found.read(0, 500), values, rtol=1e-6) and rate == found.sampling_rate
    found.save(tmp_path / "own.h5")
    assert_same(Recording.load(tmp_path / "own.h5"), found)


def test_the_old_layout_takes_the_row_of_the_channels_number(tmp_path):
    """The mapping is in another order than the rows, and has a channel (-1) that is not connected."""
    channels = mapping((2, 12, 17.5, 35.0), (-1, 7, 0.0, 70.0), (0, 9, 52.5, 0.0))
    found = Recording.load(write_maxwell_2016(tmp_path / "x.h5", RAW, channels, lsb=LSB))
    assert found.channels == ("12", "9")
    assert np.allclose(found.read(0, 500), RAW[[2, 0]] * LSB * 1e3, rtol=1e-6)
    assert not np.allclose(found.read(0, 500), RAW[:2] * LSB * 1e3)  # rows as they come


def test_the_later_layout_takes_the_row_of_the_routed_channel(tmp_path):
    channels = mapping((2, 12, 17.5, 35.0), (7, 9, 52.5, 0.0), (0, 7, 0.0, 70.0), (5, 8, 0.0, 0.0))
    path = tmp_path / "x.h5"
    write_maxwell_2019(path, {"well000/rec0000": RAW}, channels, routed=[0, 2, 7], lsb=LSB, sampling=10_000.0)
    found = Recording.load(path)
    assert found.channels == ("12", "9", "7") and found.sampling_rate == 10_000.0
    assert np.allclose(found.read(0, 500), RAW[[1, 2, 0]] * LSB * 1e3, rtol=1e-6)


@pytest.mark.parametrize("linked", [None, "hard", "soft"])
def test_wells_and_recordings_are_chosen_by_name_or_number(tmp_path, linked):
    path = tmp_path / "plate.h5"
    names = ["well000/rec0000", "well000/rec0001", "well003/rec0001"]
    write_maxwell_2019(path, {n: RAW[:2] + k for k, n in enumerate(names)}, TWO, linked=linked, lsb=1e-3)

    def taken(**options: Any) -> float:
        return float(np.rint((Recording.load(path, **options).read(0, 500) - RAW[:2]).mean()))

    assert taken() == taken(stream="well000", recording="rec0000") == taken(stream=0) == 0
    assert taken(recording=1) == taken(recording="rec0001") == 1
    assert taken(stream=3) == taken(stream="well003", recording=1) == 2
    assert "well000/rec0000 is taken, of 3 recordings" in Recording.load(path).notes[0]
    assert not Recording.load(path, stream=3, recording=1).notes
    refused(lambda: taken(stream=1), "plate.h5", "stream = 1; allowed: well000, well003")
    refused(lambda: taken(stream=3, recording=0), "recording = 0; allowed: rec0001")
    if linked is None:
        ours = Recording.load(path, stream=3, recording=1).read(0, 500)
        assert np.allclose(ours, neo_reading(path, 1, "rec0001")[0], rtol=1e-6)


def test_frames_that_are_left_out_are_gaps(tmp_path):
    path = write_maxwell_2019(tmp_path / "x.h5", {"well000/rec0000": RAW}, THREE, lsb=LSB)
    frames = np.arange(500) + 1_000_000
    frames[1:] += 7
    frames[200:] += 40
    frames[499:] += 1
    with h5py.File(path, "r+") as file:
        file["wells/well000/rec0000/groups/routed/frame_nos"] = frames
    found = Recording.load(path)
    assert [(b.first, b.last) for b in found.blocks] == [(0, 1), (1, 200), (200, 499), (499, 500)]
    assert np.allclose(found.times(0, 500), (frames - frames[0]) * 0.05)
    with h5py.File(path, "r+") as file:
        data: Any = file["wells/well000/rec0000/groups/routed/frame_nos"]
        data[...] = frames[::-1]
    refused(lambda: Recording.load(path), "x.h5", "frame_nos")
    with h5py.File(path, "r+") as file:
        data = file["wells/well000/rec0000/groups/routed/frame_nos"]
        data[...] = np.arange(500) + 5
    assert Recording.load(path).blocks == (Block(0, 500, 0.0),)


def test_a_store_without_wells_is_read(tmp_path):
    path = write_maxwell_2019(tmp_path / "x.h5", {"well000/rec0000": RAW}, THREE, linked="soft", lsb=LSB)
    with h5py.File(path, "r+") as file:
        del file["wells"]
    assert np.allclose(Recording.load(path).read(0, 500), RAW * LSB * 1e3, rtol=1e-6)


def test_a_missing_filter_is_named_with_what_to_do(tmp_path):
    path = write_with_missing_filter(tmp_path / "packed.h5")
    refused(
        lambda: Recording.load(path), "packed.h5", "groups/routed/raw", "filter 32099", "HDF5_PLUGIN_PATH", "plugin"
    )


MAXWELL_DAMAGES: dict[str, tuple[Any, str]] = {
    "a version of words": (renewed("version", np.array([b"new"])), "version = 'new'"),
    "an early version": (renewed("version", np.array([b"20150101"])), "version = '20150101'; allowed: 20160704"),
    "a version that is a number": (renewed("version", 20190530), "version: int64 of shape ()"),
    "no wells": (lambda f: f.__delitem__("wells/well000"), "wells: no recording"),
    "no settings": (lambda f: f.__delitem__("wells/well000/rec0000/settings"), "settings: not there"),
    "no mapping": (lambda f: f.__delitem__("wells/well000/rec0000/settings/mapping"), "mapping: not there"),
    "no sampling": (lambda f: f.__delitem__("wells/well000/rec0000/settings/sampling"), "sampling: not there"),
    "a sampling of 0": (renewed("wells/well000/rec0000/settings/sampling", [0.0]), "sampling = 0.0 Hz"),
    "a step of nothing": (renewed("wells/well000/rec0000/settings/lsb", [np.nan]), "settings/lsb = nan V"),
    "no raw": (lambda f: f.__delitem__("wells/well000/rec0000/groups/routed/raw"), "raw: not there"),
    "fewer rows": (renewed("wells/well000/rec0000/groups/routed/raw", RAW[:2]), "2 rows, and a channel in row 2"),
    "no positions": (
        renewed("wells/well000/rec0000/settings/mapping", THREE[["channel", "electrode", "x"]].copy()), "no field y",
    ),
    "a channel twice": (
        renewed("wells/well000/rec0000/settings/mapping", THREE[[0, 1, 1]]), "a channel twice",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MAXWELL_DAMAGES)
def test_a_damaged_file_of_maxwell_is_refused(tmp_path, name):
    edit, part = MAXWELL_DAMAGES[name]
    path = write_maxwell_2019(tmp_path / "damaged.h5", {"well000/rec0000": RAW}, THREE, lsb=LSB)
    with h5py.File(path, "r+") as file:
        edit(file)
    refused(lambda: Recording.load(path), "damaged.h5", part)


def test_a_file_of_maxwell_cut_short_is_refused(tmp_path):
    path = write_maxwell_2019(tmp_path / "cut.h5", {"well000/rec0000": RAW}, THREE, lsb=LSB)
    whole = path.read_bytes()
    for size in np.linspace(0, len(whole) - 1, 40).astype(int):
        path.write_bytes(whole[:size])
        refused(lambda: Recording.load(path), "cut.h5")


# --- tables of text --------------------------------------------------------------------------------------------------

SINE = np.round(np.sin(np.arange(200) / 5), 5)


def table(path: Path, header: str, *columns: np.ndarray) -> Path:
    rows = [",".join(f"{x:.10g}" for x in row) for row in zip(*columns, strict=True)]
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


TS = np.arange(200) * 0.2


@pytest.mark.parametrize(
    ("header", "times", "values"),
    [
        ("t_ms,47_uV,48_mV", TS, (1e3, 1.0)),
        ("Time (s),47 [µV],48 [V]", TS / 1e3, (1e3, 1e-3)),
        ("time_us,47_mV,48_mV", TS * 1e3, (1.0, 1.0)),
        ("t_s,47_nV,48_uV", TS / 1e3, (1e6, 1e3)),
    ],
)
def test_a_table_is_read_in_the_units_of_its_header(tmp_path, header, times, values):
    path = table(tmp_path / "x.csv", header, times, SINE * values[0], -SINE * values[1])
    found = Recording.load(path)
    assert found.channels == ("47", "48")
    assert found.sampling_rate == pytest.approx(5000.0)
    assert np.allclose(found.read(0, 200), [SINE, -SINE], atol=1e-6)
    assert np.allclose(found.times(0, 200), TS)


def test_a_table_without_units_takes_the_callers(tmp_path):
    path = table(tmp_path / "x.csv", "t_ms,A1,A2", TS, SINE * 1e3, -SINE * 1e3)
    refused(lambda: Recording.load(path), "x.csv: 'A1', 'A2' without a unit", "or unit")
    assert np.allclose(Recording.load(path, unit="uV").read(0, 200), [SINE, -SINE], atol=1e-6)
    refused(lambda: Recording.load(path, unit="furlong"), "unit = 'furlong'; allowed: mV, V, uV")


def test_a_table_without_times_takes_the_callers_rate(tmp_path):
    path = table(tmp_path / "x.csv", "A1_mV,A2_mV", SINE, -SINE)
    refused(lambda: Recording.load(path), "x.csv", "has no times", "sampling_rate, in Hz")
    found = Recording.load(path, sampling_rate=2000.0)
    assert (found.sampling_rate, found.blocks) == (2000.0, (Block(0, 200, 0.0),))
    assert np.allclose(found.read(0, 200), [SINE, -SINE])


def test_a_gap_in_a_table_makes_two_blocks(tmp_path):
    times = np.where(np.arange(200) < 120, TS, TS + 33.3)
    found = Recording.load(table(tmp_path / "x.csv", "t_ms,a_mV", times, SINE))
    assert found.sampling_rate == pytest.approx(5000.0)
    assert [(b.first, b.last) for b in found.blocks] == [(0, 120), (120, 200)]
    assert np.allclose(found.times(0, 200), times)


def test_what_is_no_potential_in_a_table_is_left_out_and_missing_samples_are_nan(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("index,t_ms,a_mV,bath_degC,b_mV\n0,0,1,37,2\n1,1,,37,3\n2,2,3,37,4\n")
    found = Recording.load(path)
    assert found.channels == ("a", "b")
    assert np.array_equal(found.read(0, 3), [[1, np.nan, 3], [2, 3, 4]], equal_nan=True)
    assert "'bath_degC'" in found.notes[0]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("t_ms,a_mV\n0,1\n1,2\n1,3\n", "t = 1 after 1; allowed: strictly ascending"),
        ("t_ms,a_mV\n0,1\n1,2\n0.5,3\n", "t = 0.5 after 1"),
        ("t_ms,a_mV\n0,1\n,2\n2,3\n", "sample 1 has no time"),
        ("t_ms,a_mV\n0,1\n1,inf\n2,3\n", "infinite"),
        ("t_ms,a_mV\n0,1\n", "1 rows; allowed: >= 2"),
        ("t_ms,bath_degC\n0,1\n1,2\n", "no column of a potential"),
        ("t_ms,a_parsec\n0,1\n1,2\n", "without a unit"),
        ("t_ms,a (parsec)\n0,1\n1,2\n", "unit = 'parsec'"),
        ("t_ms,a_mV\n0,1\n1,x\n", "row 3, column 2: 'x'"),
        ("t_ms,a_mV\n0,1\n1\n", "row 3: 1 values"),
        ("t_ms,t_s,a_mV\n0,0,1\n1,1,2\n", "times in columns"),
        ("", "no row of numbers"),
        ("t_ms,a_mV\n" + "".join(f"{t:.6g},1\n" for t in np.arange(50.0) ** 1.05), "allowed: even sampling"),
    ],
)
def test_a_table_that_is_none_is_refused(tmp_path, text, part):
    (tmp_path / "x.csv").write_text(text)
    refused(lambda: Recording.load(tmp_path / "x.csv"), "x.csv", part)


def test_a_rate_that_the_times_of_a_table_contradict_is_refused(tmp_path):
    path = table(tmp_path / "x.csv", "t_ms,a_mV", TS, SINE)
    refused(lambda: Recording.load(path, sampling_rate=1000.0), "a sample every 0.2 ms, and sampling_rate = 1000 Hz")
    assert Recording.load(path, sampling_rate=5000.0).sampling_rate == 5000.0
    refused(lambda: Recording.load(path, stream=0), "stream = 0")


def test_a_repeated_name_leaves_the_others_theirs(tmp_path):
    path = tmp_path / "twice.csv"
    path.write_text("Time (ms),47 (uV),47 (uV),ref (uV)\n" + "".join(f"{k},1,2,3\n" for k in range(20)))
    assert Recording.load(path).channels == ("47 (column 2)", "47 (column 3)", "ref")
