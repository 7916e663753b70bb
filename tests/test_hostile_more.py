"""What came of trying jaxcardio as a stranger would: 240 files, texts and names, each read right or refused in one
line that names it, and nothing lost. (`test_hostile_files` has what can be done to the files that jaxcardio writes.)"""

import contextlib
import json
import os
import shutil
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

import jaxcardio as jc
from jaxcardio import hidden_state, twin
from jaxcardio.__main__ import main
from jaxcardio.population import Dataset, make_dataset, problems
from jaxcardio.protocols import VoltageSteps, from_json
from jaxcardio.twin.protocols import from_operator_json, to_operator_json

TS = np.round(np.arange(0.0, 2500.0, 0.5), 1)
V = np.round(np.where((TS % 1000 > 100) & (TS % 1000 < 400), 30.0, -80.0) + np.sin(TS), 4)
HEAD = "t_ms,V_mV\n"


def table(times=TS, *columns, number="{:.10g}".format, separator=","):
    rows = zip(times, *(columns or (V,)), strict=True)
    return "".join(separator.join(map(number, row)) + "\n" for row in rows)


PLAIN = table()
LINES = PLAIN.splitlines()


def with_row(k: int, row: str) -> str:
    """The plain table with another k-th row."""
    return HEAD + "\n".join([*LINES[:k], row, *LINES[k + 1 :]]) + "\n"


def refused(call, *parts: str) -> str:
    """The one line with which a call is refused, that has all these parts."""
    begun = time.perf_counter()
    with pytest.raises(ValueError, match=r"^[^\n]*$") as error:
        call()
    said = str(error.value)
    for part in parts:
        assert part in said
    assert len(said) < 1000
    assert time.perf_counter() - begun < 5
    return said


# --- tables of text --------------------------------------------------------------------------------------------------

SAME = {
    "a minus of typesetters": HEAD + PLAIN.replace("-", "\u2212"),
    "a byte-order mark between": HEAD + "\n".join([*LINES[:50], "\ufeff" + LINES[50], *LINES[51:]]),
    "two byte-order marks": "\ufeff\ufeff" + HEAD + PLAIN,
    "sep=,": "sep=,\n" + HEAD + PLAIN,
    "sep=;": "sep=;\nt_ms;V_mV\n" + table(separator=";"),
    "spaces that do not break": "Time\u00a0(ms),V\u00a0(mV)\n" + PLAIN.replace(",", ",\u00a0"),
    "spaces of no width": "t_ms\u200b,V_mV\u200b\n" + PLAIN,
    "names with commas": '"Time, s","Potential, mV"\n' + table(TS / 1e3, V),
    "the time twice": "t_ms,t_ms,V_mV\n" + table(TS, TS, V),
    "numerals of another script": HEAD + PLAIN.translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")),
    "pages": HEAD + PLAIN.replace("\n", "\x0c\n", 3),
    "a comment at the end": HEAD + PLAIN + "# end\n",
    "a name in two lines": '"t_ms","V\n_mV"\n' + PLAIN,
    "units twice": "t_ms,V_mV\nms,mV\n" + PLAIN,
    "ATF with other counts": 'ATF\t1.0\n7\t5\n"Comment="\n"Time (ms)"\t"Trace #1 (mV)"\n' + table(separator="\t"),
    "ATF with decimal commas": 'ATF\t1.0\n1\t2\n"Comment="\n"Time (ms)"\t"Trace #1 (mV)"\n'
    + table(separator="\t").replace(".", ","),
}
FIRST_ROWS = ["=A2*2", "#DIV/0!", "#VALUE!", "1\u00b2", "0x1F", "1.5D+01", "TRUE", "\x1b[31m", "OVER", "1'000", "–80"]
BAD_TABLES: dict[str, tuple[str | bytes, str]] = {
    **{
        f"{x!r} in row {k + 2}": (with_row(k, f"{k / 2:g},{x}"), f"row {k + 2}, column 2")
        for x in FIRST_ROWS
        for k in (0, 2)
    },
    "a comment in a row": (with_row(2, "1,-80,spike!"), "row 4: 3 values"),
    "a time in words": (with_row(2, "start,-80"), "row 4, column 1: 'start'"),
    "no number in the first row": (with_row(0, "x,1"), "row 2, column 1: 'x'"),
    "hours": (
        "Time,Vm (mV)\n" + "".join(f"12:30:{5 + t / 1e3:07.4f},{v}\n" for t, v in zip(TS, V, strict=True)),
        "12:30:05",
    ),
    "dates": ("Date,Time (s),Vm (mV)\n" + "".join(f"2026-01-05,{t},-80\n" for t in TS), "2026-01-05"),
    "thousands": (HEAD + "".join(f'"{t:,.1f}",-80\n' for t in TS), "row 2002, column 1: '1,000.0'"),
    "German thousands": (
        "t_ms;V_mV\n" + "".join(f"{t:,.1f};-80.5\n".translate(str.maketrans(",.", ".,")) for t in TS),
        "1.000,0",
    ),
    "Swiss thousands": ("t_ms;V_mV\n" + "".join(f"{t:,.1f};-80.5\n".replace(",", "'") for t in TS), "1'000.0"),
    "formulas": (HEAD + "".join(f'="{x}",="-80"\n' for x in TS), '="0.0"'),
    "two files joined": (HEAD + PLAIN + HEAD + PLAIN, "row 5002, column 1: 't_ms'"),
    "sweeps below each other": (HEAD + PLAIN + PLAIN, "row 5002: t = 0 ms after 2499.5"),
    "a conflict of git": (HEAD + "\n".join([*LINES[:50], "<<<<<<< HEAD", *LINES[50:]]), "row 52: 1 values"),
    "means below": (HEAD + PLAIN + "Mean,-45\n", "row 5002, column 1: 'Mean'"),
    "Ctrl-Z": (HEAD + PLAIN + "\x1a", "row 5002"),
    "cut in a row": (HEAD + "\n".join(LINES)[:-9], "row 5001: 1 values"),
    "V in the row of units": (
        "t_ms,V_mV\nms,V\n" + table(TS, V / 1e3),
        "column 2: 'V_mV', and 'V' in the row of units",
    ),
    "ms in the row of units": ("t_s,V_mV\nms,mV\n" + PLAIN, "column 1: 't_s', and 'ms'"),
    "different times": ("t_ms,t_ms,V_mV\n" + table(TS, TS + 1, V), "different times"),
    "1e300 ms": (HEAD + "0,1\n1e300,2\n2e300,3\n", "ts from 0 to 2e+300 ms; allowed: -1e+15"),
    "1.7e308 ms": (HEAD + "-1.7e308,1\n0,2\n1.7e308,3\n", "allowed: -1e+15"),
    "days": ("Time,V_mV\n" + table(46000 + TS / 86400e3, V, number="{:.16g}".format), "times without a unit"),
    "nV": (HEAD + table(TS, V * 1e6), "another unit"),
    "a scale in the unit": ("t_ms,V (x0.1 mV)\n" + PLAIN, "'x0.1 mV'"),
    "on its side": ("t_ms," + ",".join(map(str, TS)) + "\nV_mV," + ",".join(map(str, V)) + "\n", "no row of numbers"),
    "bars": ("t_ms|V_mV\n" + table(separator="|"), "no row of numbers"),
    "web page": ("<html>\n<td>1</td>\n</html>", "'<html>'"),
    "nothing but a mark": (b"\xef\xbb\xbf", "no row of numbers"),
    "a zip": (b"PK\x03\x04" + bytes(3000), "a byte 0"),
    "columns without end": (
        "t_ms," + ",".join(f"V{i}_mV" for i in range(500_000)) + "\n",
        "row 1: a line of more than 4 MiB",
    ),
    "100,001 columns": ((",".join(["-80"] * 100_001) + "\n") * 3, "row 1: 100001 columns; allowed: <= 100000"),
}


def read(tmp_path, content, name="x.csv", **options):
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return jc.read_recording(path, **options)


@pytest.mark.parametrize("name", SAME)
def test_a_table_is_read_as_it_is_meant(tmp_path, name):
    trace = read(tmp_path, SAME[name])
    assert np.allclose(trace.ts, TS, rtol=1e-12, atol=1e-9)
    assert np.allclose(trace.V, V, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_table_that_cannot_be_right_is_refused_where_it_is_wrong(tmp_path, name):
    content, said = BAD_TABLES[name]
    refused(lambda: read(tmp_path, content), said, str(tmp_path))


def test_missing_samples_at_the_beginning_are_missing(tmp_path):
    trace = read(tmp_path, with_row(0, "0,").replace("\n0.5,-79.5206\n", "\n0.5,\n"))
    assert np.flatnonzero(np.isnan(trace.V)).tolist() == [0, 1]
    assert np.allclose(trace.ts, TS)


def test_many_columns_are_read_in_a_time_like_their_number(tmp_path):
    begun = time.perf_counter()
    names = ",".join(f"V{i}_mV" for i in range(20_000))
    trace = read(tmp_path, f"t_ms,{names}\n" + "".join(f"{t},{','.join(['-80'] * 20_000)}\n" for t in range(3)))
    assert trace.V.shape == (20_000, 3)
    assert time.perf_counter() - begun < 5


# --- HDF5 and WFDB ---------------------------------------------------------------------------------------------------


def test_hdf5_that_contradicts_itself_or_hides_its_data(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["V"], file["t"], file["deep/V"] = V, TS, V
        file["V"].attrs.update(unit="mV", units="V")
        file["t"].attrs["unit"] = "ms"
    refused(lambda: jc.read_recording(path), "V: unit = 'mV', units = 'V'; allowed: one unit", str(path))
    with h5py.File(path, "r+") as file:
        del file["V"]
    refused(lambda: jc.read_recording(path), "it has: deep, t", str(path))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (" 2000", " x", "sampling rate 'x'"),
        (" 2000", " -5", "sampling rate '-5'"),
        (" 2000", " 0", "sampling rate '0'"),
        (" 2000", " 2", "is the time in ms"),
        ("100(0)", "0(0)", "has no gain"),
        (" 100(0)/mV 16 0 0 0 0 Vm", "", "has no gain"),
        ("/mV", "/V", "another unit"),
        ("w.dat", "../w.dat", "signal line"),
        (" 5000", " 9999", "Samples"),
    ],
)
def test_a_wfdb_header_that_lies_is_refused(tmp_path, old, new, said):
    pytest.importorskip("wfdb")
    (tmp_path / "w.dat").write_bytes((V * 100).astype("<i2").tobytes())
    good = "w 1 2000 5000\nw.dat 16 100(0)/mV 16 0 0 0 0 Vm\n"
    (tmp_path / "w.hea").write_text(good)
    assert np.allclose(jc.read_recording(tmp_path / "w.hea").V, V, atol=0.01)
    (tmp_path / "w.hea").write_text(good.replace(old, new))
    refused(lambda: jc.read_recording(tmp_path / "w.hea"), said, "w.hea")


# --- protocols as text -----------------------------------------------------------------------------------------------

PULSES = {"type": "PulseTrain", "amplitude": -52, "duration": 1, "period": 1000, "start": 10}
STEPS = {"type": "Segments", "begin": [-80, 0], "end": [-80, 0], "durations": [10, 10], "kind": "voltage"}
CLAMP = to_operator_json(VoltageSteps([-80.0, 0.0], [10.0, 10.0]))
BAD_PROTOCOLS = [
    (CLAMP, "without a type"),
    ("{}", "without a type"),
    *(
        (json.dumps(PULSES | {k: v}), k)
        for k, v in [
            ("type", ["PulseTrain"]),
            ("type", "pulsetrain"),
            ("amplitude", True),
            ("amplitude", [-52]),
            ("amplitude", "-52"),
            ("amplitude", {"type": "Constant", "level": 1}),
            ("amplitude", 10**400),
            ("period", "nan"),
            ("duration", 2000),
            ("count", 0),
            ("count", "3"),
            ("count", None),
            ("kind", "VOLTAGE"),
            ("kind", ["current"]),
            ("k" * 10_000, 1),
        ]
    ),
    *(
        (json.dumps(STEPS | {k: v}), k)
        for k, v in [
            ("durations", [1e308, 1e308]),
            ("durations", [10, -10]),
            ("durations", 10),
            ("begin", [[-80], [0, 1]]),
            ("begin", ["-80", 0]),
            ("begin", [None, 0]),
            ("begin", [True, False]),
            ("end", [{}, 0]),
        ]
    ),
    *((text, "not JSON") for text in ("", " \n", "// hi\n{}", "{'type': 1}", json.dumps(PULSES) * 2, "\ufeff{}")),
]


@pytest.mark.parametrize(("text", "said"), BAD_PROTOCOLS)
def test_a_protocol_that_is_none_is_refused(text, said):
    refused(lambda: from_json(text), "protocol: ", said[:40])


def segment(k: int, **fields):
    return lambda t: t["segments"][k].update(fields)


TABLE_EDITS = {
    "units: V": (lambda t: t["units"].update(potential="V"), "potential = 'V'; allowed: 'mV'"),
    "units: s": (lambda t: t["units"].update(time="s"), "time = 's'; allowed: 'ms'"),
    "more segments": (lambda t: t.update(number_of_segments=5), "number_of_segments = 5; allowed: 2"),
    "other numbers": (segment(0, number=2), "number = 2; allowed: 1"),
    "another order": (lambda t: t["segments"].reverse(), "number = 2"),
    "another rate": (lambda t: t.update(sampling_rate_kHz=50), "sampling_rate_kHz = 50; allowed: 10.0"),
    "a length as text": (lambda t: t.update(total_length_ms="20"), "total_length_ms = '20'"),
    "a level as text": (segment(0, level_mV="-80"), "segment 1: level_mV = '-80'; allowed: a number"),
    "a level as truth value": (segment(0, level_mV=True), "segment 1: level_mV = True"),
    "a level as list": (segment(1, level_mV=[1, 2]), "segment 2: level_mV = [1, 2]"),
    "no level": (segment(1, level_mV=None), "segment 2: level_mV = None"),
    "another field": (segment(0, ramp_to_mV=40), "'ramp_to_mV' is no field"),
    "starts in s": (segment(1, start_ms=0.01), "start_ms = 0.01; allowed: 10.0"),
    "no segments": (lambda t: t.update(segments=[]), "segments"),
    "segments as text": (lambda t: t.update(segments="ab"), "segments"),
    "segments as numbers": (lambda t: t.update(segments=[1, 2]), "segments"),
}


@pytest.mark.parametrize("name", TABLE_EDITS)
def test_a_table_for_an_operator_says_one_thing(name):
    edit, said = TABLE_EDITS[name]
    content = json.loads(CLAMP)
    edit(content)
    refused(lambda: from_operator_json(json.dumps(content)), "table", said)


# --- recordings for twins, observations for hidden states ------------------------------------------------------------

COMMAND, CURRENT = np.repeat([-80.0, 0.0, -80.0], 2000), 5 * np.sin(np.arange(6000) / 50)
BAD_RECORDINGS = [
    ({"iu": "pA per pF"}, "unit 'pA per pF'"),
    ({"iu": "pA (x1000)"}, "unit 'pA (x1000)'"),
    ({"iu": "pA/cm2"}, "pA/cm2"),
    ({"cu": "mV (x10)"}, "unit 'mV (x10)'"),
    ({"cu": "mV *1e3"}, "unit 'mV *1e3'"),
    ({"iu": "PA"}, "unit 'PA'"),
    ({"iu": ["pA/pF", "x"]}, "current@unit"),
    ({"iu": "pA", "capacitance_pF": 50e-12}, "current up to"),
    ({"iu": "pA", "capacitance_pF": 5e7}, "current of at most"),
    ({"temperature_K": 37.0}, "temperature = 37.0 K"),
    ({"temperature_K": "310"}, "temperature_K"),
    ({"sampling_rate_Hz": 10.0}, "dt = 100.0 ms"),
    ({"sampling_rate_Hz": 1e9}, "ms long"),
    ({"sampling_rate_Hz": "10 kHz"}, "sampling_rate_Hz"),
    ({"command": COMMAND / 1e3}, "is it in V?"),
    ({"command": COMMAND[:1], "current": CURRENT[:1]}, "command has 1 samples"),
    ({"command": COMMAND[:0], "current": CURRENT[:0]}, "command has 0 samples"),
    ({"current": CURRENT[:-1]}, "one shape"),
    ({"command": COMMAND[:2], "current": CURRENT[:2]}, "ms long"),
]


def write_recording(path: Path, command=COMMAND, current=CURRENT, cu="mV", iu="pA/pF", **attributes) -> Path:
    with h5py.File(path, "w") as file:
        file["command"], file["current"] = command, current
        file["command"].attrs["unit"], file["current"].attrs["unit"] = cu, iu
        file.attrs.update({"sampling_rate_Hz": 1e4, "temperature_K": 310.0} | attributes)
    return path


@pytest.mark.parametrize(("how", "said"), BAD_RECORDINGS)
def test_a_recording_in_another_unit_is_refused(tmp_path, how, said):
    path = write_recording(tmp_path / "r.h5", **how)
    refused(lambda: twin.Recording.load(path), said, str(path))


@pytest.mark.parametrize(
    "how",
    [
        {"iu": "pA / pF", "capacitance_pF": 50.0},
        {"iu": " pA/pF "},
        {"command": COMMAND.astype("f2")},
        {"current": 50 * CURRENT, "iu": "pA", "capacitance_pF": 50.0},
        {"current": CURRENT / 20, "iu": "nA", "capacitance_pF": 50.0},
    ],
)
def test_a_recording_is_the_same_in_any_spelling(tmp_path, how):
    found = twin.Recording.load(write_recording(tmp_path / "r.h5", **how))
    assert np.allclose(found.current, CURRENT)
    assert np.allclose(np.asarray(found.command.value(found.ts)), COMMAND)


CYCLE = np.arange(1600.0) % 800
POTENTIAL = -80 + 110 * np.exp(-((CYCLE / 300) ** 4)) * (CYCLE > 12)
CALCIUM = 1e-4 + 5e-4 * np.exp(-(((CYCLE - 50) / 100) ** 2))
BAD_OBSERVATIONS = [
    ({"V": CALCIUM, "Ca": POTENTIAL}, "Ca_i from -80"),
    ({"vu": "mM", "cu": "mV"}, "unit = 'mM'"),
    ({"Ca": CALCIUM * 1e6, "cu": "uM"}, "Ca_i from 0.1"),
    ({"cu": "nM"}, "Ca_i of at most 6e-10 mM"),
    ({"Ca": 0 * CALCIUM}, "Ca_i of at most 0 mM"),
    ({"V": POTENTIAL / 1e3}, "is V a potential"),
    ({"length": 0.8}, "onset = 10.0 ms"),
    ({"length": 400.0}, "captured"),
    ({"length": 1600.0}, "two cycles"),
    ({"length": 801.0}, "two cycles"),
    ({"dt": 0.5}, "two cycles"),
    ({"dt": 2.0}, "captured"),
    ({"onset": 300.0}, "fastest at 12 ms"),
    ({"onset": 500.0}, "onset = 500.0 ms"),
    ({"V": np.roll(POTENTIAL, 400)}, "fastest at 412 ms"),
    ({"V": -POTENTIAL}, "fastest at"),
    ({"V": np.where(np.arange(1600) < 800, POTENTIAL, -80)}, "captured"),
    ({"length": "800"}, "cycle_length_ms"),
]


@pytest.mark.parametrize(("how", "said"), BAD_OBSERVATIONS)
def test_observations_of_something_else_are_refused(tmp_path, how, said):
    given = {"V": POTENTIAL, "Ca": CALCIUM, "vu": "mV", "cu": "mM", "length": 800.0, "dt": 1.0, "onset": 10.0} | how
    path = tmp_path / "o.h5"
    with h5py.File(path, "w") as file:
        group = file.create_group("control/800_ms")
        group["V"], group["Ca_i"] = given["V"], given["Ca"]
        group["V"].attrs["unit"], group["Ca_i"].attrs["unit"] = given["vu"], given["cu"]
        about = {"cycle_length_ms": given["length"], "sampling_interval_ms": given["dt"]}
        group.attrs.update(about | {"stimulus_onset_ms": given["onset"]})
    refused(lambda: hidden_state.Observations.load(path, "control"), said, str(path))


# --- datasets --------------------------------------------------------------------------------------------------------


def recipe(**other):
    usual = {"n": 12, "seed": 3, "t1": 12.0, "distribution": jc.population.Uniform(0.3)}
    clamp = VoltageSteps([-80.0, 0.0], [4.0, 8.0])
    cell, names = jc.models.KernikClancy2019(), ("Kr_g", "CaL_p")
    return jc.population.Recipe(
        cell=cell, parameters=names, protocol=clamp, outputs=("I_ion_total",), **(usual | other)
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A dataset, and beside it one of another seed."""
    folder = tmp_path_factory.mktemp("datasets")
    make_dataset(folder / "data", recipe(), shard=4)
    make_dataset(folder / "other", recipe(seed=4), shard=4)
    return folder


def shard(folder: Path, k: int) -> Path:
    return folder / f"shard-0000{k}.h5"


def swap(folder: Path) -> None:
    shard(folder, 0).rename(folder / "x")
    shard(folder, 1).rename(shard(folder, 0))
    (folder / "x").rename(shard(folder, 1))


def sparse(path: Path) -> None:
    path.unlink()
    with open(path, "wb") as file:
        file.truncate(10**10)


def link_in_place(path: Path, to: str) -> None:
    path.unlink()
    path.symlink_to(to)


FOREIGN = {
    "shards swapped": (swap, "shard-00000.h5"),
    "a shard of another dataset": (lambda f: shutil.copy(shard(f.parent / "other", 1), shard(f, 1)), "shard-00001.h5"),
    "another manifest": (lambda f: shutil.copy(f.parent / "other/manifest.json", f), "shard-00000.h5"),
    "half a shard": (lambda f: os.truncate(shard(f, 1), 2000), "shard-00001.h5: truncated"),
    "an empty shard": (lambda f: os.truncate(shard(f, 1), 0), "shard-00001.h5: truncated"),
    "a shard of zeros": (lambda f: shard(f, 1).write_bytes(bytes(shard(f, 1).stat().st_size)), "shard-00001.h5"),
    "a shard in capitals": (lambda f: shard(f, 1).rename(f / "SHARD-00001.H5"), "shard-00001.h5: the file is missing"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "no manifest.json"),
    "half a manifest": (lambda f: os.truncate(f / "manifest.json", 200), "manifest.json: not a manifest"),
    "a manifest in UTF-16": (
        lambda f: (f / "manifest.json").write_text((f / "manifest.json").read_text(), "utf-16"),
        "UTF-8",
    ),
    "a manifest of 10 GB": (lambda f: sparse(f / "manifest.json"), "10000000000 bytes; allowed"),
    "a manifest without end": (
        lambda f: link_in_place(f / "manifest.json", "/dev/zero"),
        "is a folder, a device or a pipe",
    ),
    "a link to nowhere": (lambda f: link_in_place(f / "manifest.json", "nowhere"), "manifest.json: no such file"),
}


@pytest.mark.filterwarnings("ignore:.*missing:UserWarning")
@pytest.mark.parametrize("name", FOREIGN)
def test_a_dataset_that_is_not_what_it_was_is_refused(made, name):
    change, said = FOREIGN[name]
    folder = made / "copy"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(made / "data", folder)
    change(folder)
    refused(lambda: Dataset(folder).read(np.arange(12)), said, str(folder))


def test_a_dataset_is_the_same_through_links_and_among_other_files(made, tmp_path):
    shutil.copytree(made / "data", tmp_path / "far")
    for name in ("shard-00009.h5", "notes.txt", ".DS_Store", "shard-00001.h5.1-abcdef01.part"):
        (tmp_path / "far" / name).write_text("x")
    (tmp_path / "near").symlink_to("far")
    shard(tmp_path / "far", 1).rename(tmp_path / "one.h5")
    shard(tmp_path / "far", 1).symlink_to(tmp_path / "one.h5")
    right = Dataset(made / "data").read(np.arange(12))
    assert np.array_equal(Dataset(tmp_path / "near").read(np.arange(12)).theta, right.theta)
    assert problems(tmp_path / "near") == []


@pytest.mark.parametrize(
    ("folder", "said"),
    [
        ("n" * 300, "File name too long"),
        ("/dev/null", "is a file; allowed: a folder"),
        ("/proc/none", "cannot be written"),
    ],
)
def test_a_place_where_no_dataset_can_be_is_refused(folder, said):
    refused(lambda: make_dataset(folder, recipe(), shard=4), said, folder[:20])
    refused(lambda: Dataset(folder), folder[:20])


def test_a_dataset_is_read_while_it_is_made(tmp_path):
    folder = tmp_path / "data"
    maker = threading.Thread(target=lambda: make_dataset(folder, recipe(), shard=2))
    maker.start()
    while maker.is_alive():
        with contextlib.suppress(ValueError):  # there is no manifest yet
            found = Dataset(folder)
            ready = [c for k in set(range(6)) - set(found.missing()) for c in found.cells_of(k)]
            if ready:
                assert np.isfinite(found.read(ready).theta).all()
            assert problems(folder) == []
        time.sleep(0.02)
    maker.join()
    assert Dataset(folder).missing() == []


# --- what is written, and where --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a recording, names that lead to it, and other names that no file can have."""
    folder = tmp_path_factory.mktemp("place")
    before = Path.cwd()
    os.chdir(folder)
    Path("v.csv").write_text(HEAD + PLAIN)
    write_recording(Path("rec.h5"))
    Path("mine.json").write_text(json.dumps(PULSES))
    for name in ("d", "d.csv"):
        Path(name).mkdir()
    links = {
        "s.csv": "v.csv",
        "here": ".",
        "null.csv": "/dev/null",
        "out.csv": "/dev/stdout",
        "a.csv": "b.csv",
        "b.csv": "a.csv",
    }
    for name, to in links.items():
        Path(name).symlink_to(to)
    Path("h.csv").hardlink_to("v.csv")
    Path("h.h5").hardlink_to("rec.h5")
    os.mkfifo("f.csv")
    yield folder
    os.chdir(before)


OUTS = [
    "v.csv",
    "s.csv",
    "h.csv",
    "./v.csv",
    "d/../v.csv",
    "here/v.csv",
    "none/../v.csv",
    "d",
    "d.csv",
    "d/",
    "/dev/null",
    "/dev/stdout",
    "/dev/full",
    "/proc/self/fd/1",
    "-",
    ".",
    "..",
    "/",
    " ",
    ".csv",
    "V.TXT",
    "null.csv",
    "out.csv",
    "a.csv",
    "f.csv",
    "n" * 252 + ".csv",
    "/".join(["n" * 100] * 50) + ".csv",
    "a\0b.csv",
    "~/x.csv",
    "v.csv/x.csv",
    "none/x.csv",
    "/proc/x.csv",
]
WORDS = [
    *(["biomarkers", "v.csv", "--no-plot", "--out", out] for out in OUTS),
    *(
        ["twin", "rec.h5", "--no-plot", *x]
        for x in (
            ["--out", "rec.h5"],
            ["--out", "h.h5"],
            ["--check", "h.h5", "--out", "h.h5"],
            ["--network", "t.h5", "--out", "t.h5"],
            ["--network", "h.h5", "--train"],
            ["--network", "rec.h5"],
            ["--network", "d"],
            ["--out", "/dev/null"],
            ["--out", "x.csv"],
            ["--group", "zz"],
            ["--protocol", "mine.json"],
            ["--protocol", "v.csv"],
            ["--example", "v.csv"],
        )
    ),
    ["twin", "v.csv"],
    ["twin", "--protocol", "mine.json"],
    *(
        ["simulate", "kernik", "--no-plot", "--clamp", x]
        for x in ("/dev/zero", "f.csv", "d", "none.json", "v.csv", "rec.h5")
    ),
    ["hidden-state", "example", "rec.h5"],
    ["population", "plot", "rec.h5"],
    ["population", "plot", "v.csv"],
    ["dataset", "info", "v.csv"],
]


@pytest.mark.parametrize("words", WORDS, ids=lambda words: " ".join(words)[:60])
def test_no_word_on_the_command_line_costs_a_file_or_the_patience(place, words, capsys):
    def state():
        return {name: Path(name).read_bytes() for name in ("v.csv", "rec.h5", "mine.json")}

    before, begun = state(), time.perf_counter()
    try:
        code = main([*words])
    except SystemExit as ended:
        code = ended.code
    said = capsys.readouterr().err.strip()
    assert code == 2
    assert said.count("\n") == 0 and said.startswith("jaxcardio")
    assert state() == before
    assert not list(place.glob("*.part"))
    assert time.perf_counter() - begun < 5
