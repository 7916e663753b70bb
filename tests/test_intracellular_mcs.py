"""Multi Channel Systems' HDF5: each of its cases read right, where a reader that takes the short way is wrong."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import pytest
from mea_files import TEXTS, Events, Part, Stream, write_mcs

from jaxcardio.intracellular.recording import Block, Event, Recording

COUNT, LENGTH, TICK = 4, 1000, 200
"""Channels, samples, and us between two of them."""
CODES = np.random.default_rng(0).integers(-9000, 9000, (COUNT, LENGTH)).astype(np.int32)
STEP = 59605e-12 * 1e3
"""mV of a step of 59605 x 10^-12 V."""
TIMES = np.arange(LENGTH) * (TICK / 1e3)
"""ms, of a recording that begins at 0 and has no gap."""


class Reading(NamedTuple):
    values: np.ndarray
    times: np.ndarray


def naive(path: Path) -> Reading:
    """The short way: the first recording, its first stream, the first channel's numbers for all, rows as they come."""
    with h5py.File(path) as file:
        stream: Any = file["Data/Recording_0/AnalogStream/Stream_0"]
        info, data = stream["InfoChannel"][()], stream["ChannelData"][()]
    first = info[0]
    gain = first["ConversionFactor"] * 10.0 ** first["Exponent"]
    return Reading((data - first["ADZero"]) * gain * 1e3, np.arange(data.shape[1]) * (first["Tick"] / 1e3))


def reading(recording: Recording) -> Reading:
    n = recording.n_samples
    return Reading(recording.read(0, n), recording.times(0, n))


def is_right(found: Reading, values: np.ndarray, times: np.ndarray) -> bool:
    """Whether these are the potentials (mV) and times (ms)."""
    return (
        found.values.shape == values.shape
        and np.allclose(found.values, values, rtol=1e-6, atol=1e-9)
        and np.allclose(found.times, times, rtol=0, atol=1e-9)
    )


class Case(NamedTuple):
    """A file, its potentials in mV and its times in ms, and how they are asked for."""

    parts: list[Part]
    values: np.ndarray
    times: np.ndarray
    options: dict[str, Any]


def case(stream: Stream, values: np.ndarray, times: np.ndarray = TIMES) -> Case:
    return Case([Part([stream])], values, times, {})


ZEROS = np.array([0, 32_768, -500, 7], np.int32)
CONVERSIONS, EXPONENTS = np.array([59_605, 100_000, 20_000, 59_605]), np.array([-12, -12, -11, -9])
OTHER = CODES[:, ::-1].copy()
DIGITAL = Stream(
    np.ones((1, LENGTH), np.int32), "Digital Data", "Digital", "Digital", unit="NoUnit", exponent=0, conversion=1
)
FILTERED = Stream(OTHER, "Filter Data", "Filter", "Electrode", source="00000001-0000-0000-0000-000000000000")
GAP = np.where(np.arange(LENGTH) < 400, TIMES, TIMES + 1234.5)
CASES: dict[str, Case] = {
    "offset of each channel": case(Stream(CODES + ZEROS[:, None], zero=ZEROS.tolist()), CODES * STEP),
    "gain of each channel": case(
        Stream(CODES, conversion=CONVERSIONS.tolist()), CODES * CONVERSIONS[:, None] * 1e-12 * 1e3
    ),
    "exponent of each channel": case(
        Stream(CODES, exponent=EXPONENTS.tolist()), CODES * 59_605 * 10.0 ** EXPONENTS[:, None] * 1e3
    ),
    "order of the rows": case(Stream(CODES, order=[2, 0, 3, 1]), CODES * STEP),
    "time of the first sample": case(Stream(CODES, stamps=[[5_000_000, 0, LENGTH - 1]]), CODES * STEP, TIMES + 5000),
    "a gap": case(Stream(CODES, stamps=[[0, 0, 399], [80_000 + 1_234_500, 400, LENGTH - 1]]), CODES * STEP, GAP),
    "the second recording": Case(
        [Part([Stream(OTHER)], "before"), Part([Stream(CODES)], "after")], CODES * STEP, TIMES, {"recording": 1}
    ),
    "the second recording, by its label": Case(
        [Part([Stream(OTHER)], "before"), Part([Stream(CODES)], "after")], CODES * STEP, TIMES, {"recording": "after"}
    ),
    "a digital stream without a unit before it": Case([Part([DIGITAL, Stream(CODES)])], CODES * STEP, TIMES, {}),
    "a filtered stream before it": Case([Part([FILTERED, Stream(CODES)])], CODES * STEP, TIMES, {}),
    "the filtered stream, by type": Case(
        [Part([Stream(CODES), FILTERED])], OTHER * STEP, TIMES, {"stream": "Filter"}
    ),
    "the filtered stream, by label": Case(
        [Part([Stream(CODES), FILTERED])], OTHER * STEP, TIMES, {"stream": "filter data"}
    ),
    "the filtered stream, by number": Case([Part([Stream(CODES), FILTERED])], OTHER * STEP, TIMES, {"stream": 1}),
    "microvolts": case(Stream(CODES, unit="µV", conversion=5, exponent=-1), CODES * 0.5e-3),
    "everything at once": case(
        Stream(
            CODES + ZEROS[:, None], order=[3, 1, 0, 2], zero=ZEROS.tolist(), conversion=CONVERSIONS.tolist(),
            exponent=EXPONENTS.tolist(), stamps=[[7000, 0, 399], [7000 + 80_000 + 1_234_500, 400, LENGTH - 1]],
        ),
        CODES * CONVERSIONS[:, None] * 10.0 ** EXPONENTS[:, None] * 1e3, GAP + 7,
    ),
}  # fmt: skip


def write(path: Path, name: str) -> Case:
    found = CASES[name]
    write_mcs(path, *found.parts)
    return found


@pytest.mark.parametrize("name", CASES)
def test_each_case_is_read_right_and_the_short_way_is_wrong(tmp_path, name):
    path = tmp_path / "recording.h5"
    _, values, times, options = write(path, name)
    assert is_right(reading(Recording.load(path, **options)), values, times)
    assert not is_right(naive(path), values, times)


def test_the_short_way_is_right_where_there_is_nothing_to_get_wrong(tmp_path):
    path = write_mcs(tmp_path / "recording.h5", Part([Stream(CODES)]))
    assert is_right(naive(path), CODES * STEP, TIMES)
    assert is_right(reading(Recording.load(path)), CODES * STEP, TIMES)


@pytest.mark.parametrize("name", [name for name in CASES if name != "microvolts"])
def test_the_makers_own_reader_agrees(tmp_path, name):
    """McsPyDataTools 0.4.3, on potentials and times. (Its registry of units has no sign for micro in bytes.)"""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mcs = pytest.importorskip("McsPy.McsData", reason="McsPyDataTools is not installed")
        path = tmp_path / "recording.h5"
        _, values, _, options = write(path, name)
        ours = reading(Recording.load(path, **options))
        raw = mcs.RawData(str(path))
        recording = raw.recordings[1 if "recording" in options else 0]
        streams = [s for s in recording.analog_streams.values() if s.data_subtype == "Electrode"]
        wanted = "Filter Data" if "stream" in options else "Electrode Raw Data"
        stream = next(s for s in streams if s.label == wanted)
        theirs = [stream.get_channel(k) for k in range(COUNT)]
        times, unit = stream.get_channel_sample_timestamps(0)
        raw.h5_file.close()
    for k, (signal, of) in enumerate(theirs):
        assert str(of) == "volt"
        assert np.allclose(np.asarray(signal) * 1e3, ours.values[k], rtol=1e-6, atol=1e-9)
    assert str(unit) == "microsecond"
    assert np.allclose(np.asarray(times)[:LENGTH] / 1e3, ours.times)
    assert np.allclose(ours.values, values, rtol=1e-6, atol=1e-9)


def test_a_gap_makes_two_blocks_and_stretches_that_join_make_one(tmp_path):
    joined = [[1000, 0, 299], [1000 + 300 * TICK, 300, LENGTH - 1]]
    path = write_mcs(tmp_path / "joined.h5", Part([Stream(CODES, stamps=joined)]))
    assert Recording.load(path).blocks == (Block(0, LENGTH, 1.0),)
    write(tmp_path / "gap.h5", "a gap")
    found = Recording.load(tmp_path / "gap.h5")
    assert found.blocks == (Block(0, 400, 0.0), Block(400, LENGTH, 80.0 + 1234.5))
    assert found.duration == pytest.approx(LENGTH * TICK / 1e3 + 1234.5)
    assert np.allclose(found.times(398, 402), [79.6, 79.8, 1314.5, 1314.7], rtol=0, atol=1e-9)


@pytest.mark.parametrize("texts", TEXTS)
def test_texts_of_every_kind_are_read(tmp_path, texts):
    path = tmp_path / "recording.h5"
    labels = ["E-00303 47", "E-00304 48", "E-00305 Ref", "E-00306 12"]
    events = [Events([1_000_000, 2_500_000], sources="0, 2"), Events([10], "Stimulation", "pulse")]
    write_mcs(path, Part([Stream(CODES, labels=labels)], "first", events), texts=texts)
    found = Recording.load(path, recording="first", stream="Electrode Raw Data")
    assert found.channels == ("47", "48", "Ref", "12")
    assert found.sampling_rate == 5000.0
    assert found.kinds == ("extracellular",) * COUNT and found.partners == (-1,) * COUNT
    of = ("47", "Ref")
    assert found.events == (
        Event(0.01, "stimulus", "pulse", None, None),
        Event(1000.0, "electroporation", "Electroporation", None, of),
        Event(2500.0, "electroporation", "Electroporation", None, of),
    )


def test_labels_that_end_alike_are_kept_whole(tmp_path):
    path = write_mcs(tmp_path / "wells.h5", Part([Stream(CODES, labels=["A1 12", "A2 12", "B1 12", "B2 12"])]))
    assert Recording.load(path).channels == ("A1 12", "A2 12", "B1 12", "B2 12")
    path = write_mcs(tmp_path / "same.h5", Part([Stream(CODES, labels=["x", "x", "y", "z"])]))
    assert Recording.load(path).channels == ("x (ID 0)", "x (ID 1)", "y (ID 2)", "z (ID 3)")


def test_electrodes_are_where_their_names_say(tmp_path):
    """Column, then row, on the grid that the array's name gives: 200 um between electrodes of 30 um."""
    labels = ["E-00303 47", "E-00304 48", "57", "21"]
    path = write_mcs(tmp_path / "recording.h5", Part([Stream(CODES, labels=labels)]))
    found = Recording.load(path)
    assert found.positions is not None
    assert np.array_equal(found.positions, [[600, 1200], [600, 1400], [800, 1200], [200, 0]])
    assert any("60MEA200/30iR" in note for note in found.notes)
    path = write_mcs(tmp_path / "unknown.h5", Part([Stream(CODES, labels=labels)]), mea="somebody's")
    assert Recording.load(path).positions is None


def test_fields_that_nobody_expected_are_left_alone(tmp_path):
    extra = {"Note": np.array([b"a"] * COUNT), "Vector": np.zeros((COUNT, 3)), "Weight": np.ones(COUNT)}
    path = tmp_path / "recording.h5"
    write_mcs(path, Part([Stream(CODES)]))
    with h5py.File(path, "r+") as file:
        stream: Any = file["Data/Recording_0/AnalogStream/Stream_0"]
        old, version = stream["InfoChannel"][()], stream["InfoChannel"].attrs["InfoVersion"]
        fields = [
            ("Note", "S4"),
            ("Vector", "f8", 3),
            *((x, old.dtype[x]) for x in reversed(old.dtype.names)),
            ("Weight", "f4"),
        ]
        new = np.zeros(COUNT, fields)
        for name in old.dtype.names:
            new[name] = old[name]
        for name, values in extra.items():
            new[name] = values
        del stream["InfoChannel"]
        stream.create_dataset("InfoChannel", data=new).attrs["InfoVersion"] = version
    assert is_right(reading(Recording.load(path)), CODES * STEP, TIMES)


def test_limits_are_those_of_the_converter(tmp_path):
    """24 bits with a sign, and 16 bits around an ADZero of 32768."""
    signed = Recording.load(write_mcs(tmp_path / "a.h5", Part([Stream(CODES)])))
    unsigned = Recording.load(
        write_mcs(tmp_path / "b.h5", Part([Stream(CODES + 32_768, zero=32_768, bits=16, conversion=100_000)]))
    )
    assert signed.limits is not None and unsigned.limits is not None
    assert np.allclose(signed.limits, np.array([-(2**23), 2**23 - 1]) * STEP)
    assert np.allclose(unsigned.limits, np.array([-32_768, 32_767]) * 1e-4)
    assert Recording.load(write_mcs(tmp_path / "c.h5", Part([Stream(CODES, bits=-1)]))).limits is None


def test_what_was_chosen_for_the_user_is_said(tmp_path):
    path = write_mcs(
        tmp_path / "recording.h5", Part([FILTERED, Stream(CODES)], "before"), Part([Stream(OTHER)], "after")
    )
    notes = Recording.load(path).notes
    assert any("Recording_0 is taken" in x and "'after'" in x for x in notes)
    assert any("Stream_1" in x and "is taken" in x and "'Filter Data'" in x for x in notes)


def test_a_stream_without_a_unit_is_a_potential_only_if_the_user_says_so(tmp_path):
    path = write_mcs(tmp_path / "recording.h5", Part([DIGITAL, Stream(CODES)]))
    with pytest.raises(ValueError, match=r"recording\.h5.*Stream_0/InfoChannel: Unit = 'NoUnit'.*allowed: a potential"):
        Recording.load(path, stream="Digital")
    assert np.all(Recording.load(path, stream="Digital", unit="mV").read(0, 5) == 1.0)
    with pytest.raises(ValueError, match="Unit = 'V', and unit = 'uV'"):
        Recording.load(path, unit="uV")
    gyro = Stream(CODES, "Gyroscope", "Auxiliary", "Auxiliary", unit="DegreePerSecond", exponent=-9)
    path = write_mcs(tmp_path / "gyro.h5", Part([Stream(CODES), gyro]))
    with pytest.raises(ValueError, match="Unit = 'DegreePerSecond' of Stream_1"):
        Recording.load(path, stream="Auxiliary", unit="V")


STREAM = "Data/Recording_0/AnalogStream/Stream_0"


def without(name: str) -> Callable[[Any], None]:
    def edit(file: Any) -> None:
        del file[name]

    return edit


def with_data(name: str, values: Any) -> Callable[[Any], None]:
    def edit(file: Any) -> None:
        del file[name]
        file[name] = values

    return edit


def with_field(name: str, values: Any) -> Callable[[Any], None]:
    def edit(file: Any) -> None:
        info = file[f"{STREAM}/InfoChannel"][()]
        info[name] = values
        file[f"{STREAM}/InfoChannel"][...] = info

    return edit


def without_field(name: str) -> Callable[[Any], None]:
    def edit(file: Any) -> None:
        info = file[f"{STREAM}/InfoChannel"][()]
        del file[f"{STREAM}/InfoChannel"]
        kept = [x for x in info.dtype.names if x != name]
        table = np.empty(COUNT, [(x, info.dtype[x]) for x in kept])
        for x in kept:
            table[x] = info[x]
        file[f"{STREAM}/InfoChannel"] = table

    return edit


def with_attribute(place: str, name: str, value: Any) -> Callable[[Any], None]:
    def edit(file: Any) -> None:
        file[place].attrs[name] = value

    return edit


def with_link(name: str) -> Callable[[Any], None]:
    def edit(file: Any) -> None:
        del file[name]
        file[name] = h5py.ExternalLink("other.h5", "/x")

    return edit


def with_list(file: Any) -> None:
    del file[f"{STREAM}/InfoChannel"]
    kinds = [("ChannelID", "i4"), ("Note", h5py.vlen_dtype(np.int32))]
    file.create_dataset(f"{STREAM}/InfoChannel", (COUNT,), np.dtype(kinds))


def never_written(file: Any) -> None:
    del file[f"{STREAM}/ChannelData"]
    file.create_dataset(f"{STREAM}/ChannelData", (COUNT, LENGTH), np.int32)


def huge(file: Any) -> None:
    del file[f"{STREAM}/ChannelData"], file[f"{STREAM}/ChannelDataTimeStamps"]
    file.create_dataset(f"{STREAM}/ChannelData", (COUNT, 2**40), np.int32, chunks=(COUNT, 1000))
    file[f"{STREAM}/ChannelDataTimeStamps"] = np.array([[0, 0, 2**40 - 1]])


DAMAGES: dict[str, tuple[Callable[[Any], None], str]] = {
    "no Data": (without("Data"), "Data: not there"),
    "no recording": (without("Data/Recording_0"), "no group Recording_0"),
    "no streams": (without("Data/Recording_0/AnalogStream"), "no AnalogStream"),
    "no stream": (without(STREAM), "no group Stream_0"),
    "no InfoChannel": (without(f"{STREAM}/InfoChannel"), "Stream_0/InfoChannel: not there"),
    "no ChannelData": (without(f"{STREAM}/ChannelData"), "Stream_0/ChannelData: not there"),
    "no time stamps": (without(f"{STREAM}/ChannelDataTimeStamps"), "ChannelDataTimeStamps: not there"),
    "a link away": (with_link(f"{STREAM}/ChannelData"), "a link to another file"),
    "numbers for a table": (with_data(f"{STREAM}/InfoChannel", np.zeros(3)), "allowed: a table"),
    "lists in the table": (with_list, "field Note of lists"),
    "an empty table": (with_data(f"{STREAM}/InfoChannel", np.empty(0, [("ChannelID", "i4")])), "no channel"),
    "flat samples": (with_data(f"{STREAM}/ChannelData", np.zeros(9, np.int32)), "allowed: whole numbers"),
    "samples with fractions": (with_data(f"{STREAM}/ChannelData", np.zeros((4, 9))), "allowed: whole numbers"),
    "texts for samples": (with_data(f"{STREAM}/ChannelData", np.array([[b"x"]])), "ChannelData: text"),
    "fewer samples": (with_data(f"{STREAM}/ChannelData", CODES[:, :900]), "1000 samples, and ChannelData has 900"),
    "more samples": (with_data(f"{STREAM}/ChannelData", np.zeros((4, 1001), "i4")), "ChannelData has 1001"),
    "samples that are not there": (never_written, "never written"),
    "samples that cannot be there": (huge, "allowed: what fits in it"),
    "a row too far": (with_field("RowIndex", [0, 1, 2, 4]), "RowIndex = [0, 1, 2, 4]; allowed: 0 to 3"),
    "a row twice": (with_field("RowIndex", [0, 1, 2, 2]), "each at most once"),
    "a negative row": (with_field("RowIndex", [0, 1, 2, -1]), "RowIndex = [0, 1, 2, -1]"),
    "no interval": (with_field("Tick", 0), "Tick = [0] us; allowed: > 0"),
    "several intervals": (with_field("Tick", [200, 200, 100, 200]), "Tick = [100, 200] us"),
    "a factor of 0": (with_field("ConversionFactor", 0), "ConversionFactor = 0"),
    "an exponent beyond": (with_field("Exponent", -2_000_000), "Exponent = -2000000"),
    "no unit": (with_field("Unit", b""), "Unit = '' of Stream_0"),
    "a unit of nothing": (with_field("Unit", b"parsec"), "Unit = 'parsec'"),
    **{
        f"no field {name}": (without_field(name), f"no field {name}")
        for name in ("ChannelID", "RowIndex", "Label", "Unit", "Exponent", "ADZero", "Tick", "ConversionFactor")
    },
    "stamps of two columns": (with_data(f"{STREAM}/ChannelDataTimeStamps", np.zeros((1, 2), int)), "(any, 3)"),
    "no stamp": (with_data(f"{STREAM}/ChannelDataTimeStamps", np.zeros((0, 3), int)), "0 samples"),
    "stamps that leave some out": (
        with_data(f"{STREAM}/ChannelDataTimeStamps", [[0, 0, 399], [90_000, 401, 999]]), "one that begins at 400",
    ),
    "stamps that go back": (
        with_data(f"{STREAM}/ChannelDataTimeStamps", [[50_000, 0, 399], [0, 400, 999]]), "sample 400 at 0 ms",
    ),
    "stamps in reverse": (with_data(f"{STREAM}/ChannelDataTimeStamps", [[0, 999, 0]]), "ChannelDataTimeStamps"),
    "another protocol": (with_attribute("/", "McsHdf5ProtocolType", "CMOS_MEA"), "allowed: 'RawData'"),
    "a later protocol": (with_attribute("/", "McsHdf5ProtocolVersion", 9), "McsHdf5ProtocolVersion = 9"),
    "a number for a protocol": (with_attribute("/", "McsHdf5ProtocolType", 3), "McsHdf5ProtocolType = 3"),
    "a list for a label": (with_attribute(STREAM, "Label", [1, 2]), "2 values; allowed: one"),
    "events that are flat": (
        with_data("Data/Recording_0/EventStream/Stream_0/EventEntity_0", np.zeros(3, int)), "EventEntity_0: shape (3,)",
    ),
}  # fmt: skip


def refused(path: Path, *parts: str, **options: Any) -> None:
    """That loading and reading are a ValueError of one line that names the file."""

    def load_and_read() -> None:
        found = Recording.load(path, **options)
        found.read(0, found.n_samples)

    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        load_and_read()
    for part in (path.name, *parts):
        assert part in str(error.value), str(error.value)
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_file_is_refused_by_name(tmp_path, name):
    edit, part = DAMAGES[name]
    path = write_mcs(tmp_path / "damaged.h5", Part([Stream(CODES)], events=[Events([5])]))
    with h5py.File(path, "r+") as file:
        edit(file)
    refused(path, part)


def test_what_is_not_there_is_refused_with_what_is(tmp_path):
    path = write_mcs(
        tmp_path / "recording.h5", Part([Stream(CODES), FILTERED], "first"), Part([Stream(CODES)], "second")
    )
    refused(path, "recording = 2", "Recording_1 ('second')", recording=2)
    refused(path, "recording = 'third'", recording="third")
    refused(path, "stream = 'Analog'", "Filter Data", stream="Analog")
    refused(path, "stream = 7", stream=7)
    refused(path, "sampling_rate = 5000.0", sampling_rate=5000.0)
    two = write_mcs(tmp_path / "two.h5", Part([Stream(CODES, "left"), Stream(CODES, "right")]))
    refused(two, "2 streams fit", "'left'", "'right'")
    assert Recording.load(two, stream="right").n_samples == LENGTH


@pytest.mark.parametrize("texts", TEXTS)
def test_a_file_cut_short_is_refused_wherever_it_is_cut(tmp_path, texts):
    whole = write_mcs(tmp_path / "whole.h5", Part([Stream(CODES)], events=[Events([5])]), texts=texts).read_bytes()
    path = tmp_path / "cut.h5"
    for size in [0, 4, 8, 100, 511, *np.linspace(600, len(whole) - 1, 40).astype(int)]:
        path.write_bytes(whole[:size])
        refused(path)


def test_chunks_make_no_difference(tmp_path):
    """Compressed or not, of whatever shape, with parts that do not begin or end where chunks do."""
    layouts: list[dict[str, Any]] = [
        {}, {"chunks": (COUNT, 64)}, {"chunks": (1, 300), "compression": "gzip"},
        {"chunks": (3, 77), "compression": "gzip", "shuffle": True, "fletcher32": True},
    ]  # fmt: skip
    for k, options in enumerate(layouts):
        path = write_mcs(tmp_path / f"{k}.h5", Part([Stream(CODES, options=options, order=[2, 0, 3, 1])]))
        found = Recording.load(path)
        assert np.allclose(found.read(13, 777, [3, 0, 3]), (CODES * STEP)[[3, 0, 3], 13:777], rtol=1e-6)
        assert found.read(5, 5).shape == (COUNT, 0)


def test_a_chunk_that_is_missing_or_damaged_is_named(tmp_path):
    path = write_mcs(
        tmp_path / "holes.h5", Part([Stream(CODES[:, :0], options={"chunks": (4, 100), "maxshape": (4, None)})])
    )
    with h5py.File(path, "r+") as file:
        stream: Any = file[STREAM]
        stream["ChannelData"].resize(LENGTH, axis=1)
        stream["ChannelData"][:, :500] = CODES[:, :500]
        del stream["ChannelDataTimeStamps"]
        stream["ChannelDataTimeStamps"] = np.array([[0, 0, LENGTH - 1]])
    found = Recording.load(path)
    assert np.allclose(found.read(0, 500), CODES[:, :500] * STEP, rtol=1e-6)
    with pytest.raises(ValueError, match=r"holes\.h5.*ChannelData: columns 500 to 599 were never written"):
        found.read(450, 600)


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}])
def test_samples_that_grew_in_a_file_of_the_latest_format_are_all_found(tmp_path, options):
    """There HDF5 itself loses track of where the chunks of the second and later rows are."""
    path = write_mcs(tmp_path / "grown.h5", Part([Stream(CODES)]))
    with h5py.File(path, "r+", libver=("v110", "v110")) as file:
        stream: Any = file[STREAM]
        del stream["ChannelData"]
        data = stream.create_dataset(
            "ChannelData", (COUNT, 0), "i4", chunks=(1, 100), maxshape=(COUNT, None), **options
        )
        data.resize(LENGTH, axis=1)
        data[:, :900] = CODES[:, :900]
        data[:2, 900:] = CODES[:2, 900:]
    found = Recording.load(path)
    assert np.allclose(found.read(0, 900), CODES[:, :900] * STEP, rtol=1e-6)
    assert np.allclose(found.read(0, LENGTH, [1]), CODES[1:2] * STEP, rtol=1e-6)
    with pytest.raises(ValueError, match="columns 900 to 999 were never written"):
        found.read(0, LENGTH, [2])
