"""Whole kinds of input: every dialect of a random recording reads as that recording, and no bytes do harm."""

import contextlib
import csv
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import jaxcardio as jc
from jaxcardio.files.columns import describe
from jaxcardio.files.units import UNITS, find_unit, unit_factor

MANY = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
TIMES = {"ms": 1.0, "s": 1e-3, "us": 1e3, "µs": 1e3, "msec": 1.0, "seconds": 1e-3, "min": 1 / 6e4}
POTENTIALS = {"mV": 1.0, "V": 1e-3, "uV": 1e3, "µV": 1e3, "Millivolts": 1.0, "volt": 1e-3, "nV": 1e6}
STYLES = {
    "brackets": "{0} ({1})",
    "square": "{0}[{1}]",
    "underscore": "{0}_{1}",
    "slash": "{0}/{1}",
    "space": "{0} {1}",
}
NAMES = ("Vm", "Voltage", "V", "Membrane potential", "cell", "Trace #1", "Sweep", "V-mon")


@st.composite
def recordings(draw):
    """Times (ms) and potentials (mV) of up to four sweeps, with gaps."""
    samples, sweeps = draw(st.integers(3, 40)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    ts = np.cumsum(rng.uniform(0.05, 5.0, samples)) + draw(st.sampled_from([0.0, -100.0, 1e6]))
    V = rng.uniform(-95.0, 45.0, (sweeps, samples))
    V[:, 0] = -80.0  # no sweep is without a number
    gaps = draw(st.sampled_from(["none", "some", "short"]))
    if gaps == "some":
        V[:, 1:][rng.random((sweeps, samples - 1)) < 0.2] = np.nan
    elif gaps == "short":
        for k in range(sweeps):
            V[k, rng.integers(1, samples + 1) :] = np.nan
    V[0, 1:] = np.where(np.isnan(V[:, 1:]).all(axis=0), -70.0, V[0, 1:])
    return ts, V


@st.composite
def dialects(draw):
    separator = draw(st.sampled_from([",", ";", "\t", " "]))
    quoted = draw(st.booleans()) and separator != " "
    decimal = draw(st.sampled_from([".", ","])) if separator != "," or quoted else "."
    return {
        "separator": separator,
        "decimal": decimal,
        "quoted": quoted,
        "encoding": draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])),
        "end": draw(st.sampled_from(["\n", "\r\n", "\r"])),
        "missing": draw(st.sampled_from(["nan", "NA", "-", "null"] + [""] * (separator != " "))),
        "units": draw(st.sampled_from([*STYLES, "row"])),
        "time_unit": draw(st.sampled_from(sorted(TIMES))),
        "unit": draw(st.sampled_from(sorted(POTENTIALS))),
        "name": draw(st.sampled_from(NAMES)),
        "comment": draw(st.sampled_from(["", "# "])),
        "before": draw(st.sampled_from([[], ["A title"], ["# by someone", "", "Date 2026-01-05 at 12:30"]])),
        "trailing": draw(st.sampled_from(["", "", "here"])) if separator != " " else "",
        "last": draw(st.booleans()),
    }


def written(ts, V, dialect):
    """The bytes of a file in this dialect, and the values that its numbers stand for."""
    times, potentials = ts * TIMES[dialect["time_unit"]], V * POTENTIALS[dialect["unit"]]
    separator, units = dialect["separator"], dialect["units"]
    names = ["Time", *(f"{dialect['name']}{f' {k}' * (len(V) > 1)}" for k in range(len(V)))]
    if separator == " ":
        names = [x.replace(" ", "").replace("#", "") for x in names]
    its = [dialect["time_unit"], *[dialect["unit"]] * len(V)]
    style = STYLES.get("underscore" if separator == " " and units == "space" else units, "{0}")
    lines = [[style.format(name, unit) for name, unit in zip(names, its, strict=True)]]
    if units == "row":
        lines.append(its)
    for row in zip(times, *potentials, strict=True):
        lines.append(
            [dialect["missing"] if np.isnan(x) else repr(float(x)).replace(".", dialect["decimal"]) for x in row]
        )
    if dialect["quoted"]:
        lines = [[f'"{x}"' for x in line] for line in lines]
    joined = [separator.join(line) + separator * bool(dialect["trailing"]) for line in lines]
    joined[0] = dialect["comment"] + joined[0]
    text = dialect["end"].join([*dialect["before"], *joined]) + dialect["end"] * dialect["last"]
    return text.encode(dialect["encoding"])


@MANY
@given(recordings(), dialects())
def test_every_dialect_reads_as_the_same_recording(tmp_path, recording, dialect):
    ts, V = recording
    path = tmp_path / "cell.csv"
    path.write_bytes(written(ts, V, dialect))
    found = jc.read_recording(path)
    V = V[0] if len(V) == 1 else V
    assert found.V.shape == V.shape
    assert np.allclose(found.ts, ts, rtol=1e-14, atol=0)
    assert np.allclose(found.V, V, rtol=1e-14, atol=0, equal_nan=True)


@MANY
@given(recordings())
def test_what_is_written_is_read_again(tmp_path, recording):
    ts, V = recording
    path = tmp_path / "cell.csv"
    jc.Trace.from_samples(ts, V).save(path)
    found = jc.read_recording(path)
    assert np.array_equal(found.ts, ts)
    assert np.array_equal(np.atleast_2d(found.V), V, equal_nan=True)


@MANY
@given(recordings(), st.sampled_from(sorted(TIMES)), st.sampled_from(sorted(POTENTIALS)))
def test_units_that_the_caller_gives_are_those(tmp_path, recording, time_unit, unit):
    ts, V = recording
    path = tmp_path / "cell.csv"
    with open(path, "w", newline="") as file:
        rows = zip(ts * TIMES[time_unit], *(V * POTENTIALS[unit]), strict=True)
        csv.writer(file).writerows([["t_ms", *["V_mV"] * len(V)], *rows])
    found = jc.read_recording(path, time_unit=time_unit, potential_unit=unit)
    assert np.allclose(found.ts, ts, rtol=1e-14, atol=0)
    assert np.allclose(np.atleast_2d(found.V), V, rtol=1e-14, atol=0, equal_nan=True)


@pytest.mark.parametrize("unit", [u for u in UNITS if UNITS[u].quantity in ("time", "potential", "current")])
def test_every_unit_is_found_in_every_style(unit):
    quantity, factor = UNITS[unit]
    name = {"time": "time", "potential": "Vm", "current": "Im"}[quantity]
    for style in STYLES.values():
        column = describe(style.format(name, unit))
        assert (column.kind, column.unit) == (quantity, unit)
    assert describe(name, unit).unit == unit
    for spelled in (unit, f" {unit} ", unit.upper(), unit.replace("u", "µ") if unit.startswith("u") else unit):
        found = find_unit(spelled)
        assert found is not None
        assert found.quantity == quantity
    if quantity != "current":
        assert unit_factor("file", name, unit, quantity) == factor
        with pytest.raises(ValueError, match=r"^file: x has unit = .*; allowed: "):
            unit_factor("file", "x", unit, "potential" if quantity == "time" else "time")


def beating(ts, cycle, apd):
    return np.where((ts % cycle > 0.1 * cycle) & (ts % cycle < 0.1 * cycle + apd), 30.0, -80.0)


@settings(MANY, max_examples=12)
@given(
    st.floats(200.0, 6000.0),
    st.floats(0.05, 0.9),
    st.sampled_from([0.02, 0.05, 0.1, 0.5, 1.0, 2.0]),
    st.sampled_from(["ms", "s"]),
    st.sampled_from(["mV", "V", "uV"]),
    st.floats(0.0, 3.0),
    st.integers(0, 99),
)
def test_units_are_inferred_or_asked_for_never_mistaken(tmp_path, cycle, duty, dt, time_unit, unit, noise, seed):
    ts = np.arange(0.0, min(3 * cycle, 20_000 * dt), dt)
    V = beating(ts, cycle, duty * cycle) + np.random.default_rng(seed).normal(0, noise, ts.size)
    times, potentials = ts * TIMES[time_unit], V * POTENTIALS[unit]
    path = tmp_path / "cell.csv"
    np.savetxt(path, np.stack([times, potentials], 1), delimiter=",", fmt="%.17g")
    with contextlib.suppress(ValueError):
        found = jc.read_recording(path)
        assert np.allclose(found.ts, ts, rtol=1e-12)
        assert np.allclose(found.V, V, rtol=1e-12)
    if ts[-1] >= 2 * cycle:
        found = jc.read_recording(path)  # two beats leave no doubt
        assert any(f"time is in {time_unit}" in note for note in found.notes)
        wrong = {"ms": "s", "s": "ms"}[time_unit]
        with pytest.raises(ValueError, match=r"is the time in"):
            jc.read_recording(path, time_unit=wrong)
    for other in POTENTIALS:
        if abs(np.log10(POTENTIALS[other] / POTENTIALS[unit])) > 1:
            with pytest.raises(ValueError, match=r"another unit|in V"):
                jc.read_recording(path, potential_unit=other)


@MANY
@given(
    st.one_of(
        st.binary(max_size=2000),
        st.text(alphabet="0123456789.,;\t \n\r\"'-+eE#nainf\0µt_msV()[]", max_size=500).map(str.encode),
        st.builds(
            lambda a, b: a + b, st.sampled_from([b"ABF ", b"ABF2", b"\x89HDF\r\n\x1a\n", b"\xff\xfe"]), st.binary()
        ),
    ),
    st.sampled_from(["x.csv", "x.h5", "x.abf", "x.txt", "x.hea", "x.dat"]),
)
def test_no_bytes_do_harm(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    refuses(path)


def refuses(path):
    start, said = time.process_time(), None
    try:
        trace = jc.read_recording(path)
        assert np.isfinite(trace.ts).all()
        assert not np.isinf(trace.V).any()
    except ValueError as error:
        said = str(error)
    path.unlink()
    assert said is None or (str(path) in said and "\n" not in said and len(said) < 1000), said
    assert time.process_time() - start < 5


@MANY
@given(recordings(), dialects(), st.integers(0, 10**9), st.sampled_from(["cut", "flip", "insert", "double"]))
def test_damaged_tables_are_read_or_refused_in_one_line(tmp_path, recording, dialect, place, how):
    ts, V = recording
    content = written(ts, V, dialect)
    k = place % len(content)
    content = {
        "cut": content[:k],
        "flip": content[:k] + bytes([content[k] ^ (1 << place % 8)]) + content[k + 1 :],
        "insert": content[:k] + bytes([place % 256]) + content[k:],
        "double": content[:k] + content,
    }[how]
    path = tmp_path / "cell.csv"
    path.write_bytes(content)
    refuses(path)
