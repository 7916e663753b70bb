"""Tables of text in the dialects that people have: each is the same recording, or a line says what is wrong."""

import numpy as np
import pytest

import jaxcardio as jc

TS = np.round(np.arange(0.0, 2500.0, 0.5), 1)
V = np.round(np.where((TS % 1000 > 100) & (TS % 1000 < 400), 30.0, -80.0) + np.sin(TS), 4)


def rows(times=TS, *columns, separator=",", decimal=".", end="\n", after=""):
    columns = columns or (V,)
    cells = [[f"{x:.10g}" if np.isfinite(x) else "" for x in c] for c in (times, *columns)]
    lines = (separator.join(x).replace(".", decimal) + after for x in zip(*cells, strict=True))
    return end.join(lines) + end


def write(tmp_path, text, name="cell.csv", encoding="utf-8"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


PLAIN = rows()
SECONDS = rows(TS / 1e3, V / 1e3)
DIALECTS = {
    "plain": "t_ms,V_mV\n" + PLAIN,
    "quoted": "\n".join(",".join(f'"{x}"' for x in line.split(",")) for line in ("t_ms,V_mV\n" + PLAIN).splitlines()),
    "BOM, CRLF": ("t_ms,V_mV\n" + PLAIN).replace("\n", "\r\n").encode("utf-8-sig"),
    "CR": ("t_ms,V_mV\n" + PLAIN).replace("\n", "\r"),
    "UTF-16": ("t_ms,V_mV\n" + PLAIN).encode("utf-16"),
    "UTF-16 BE": b"\xfe\xff" + ("t_ms,V_mV\n" + PLAIN).encode("utf-16-be"),
    "UTF-16 LE, no BOM": ("t_ms,V_mV\n" + PLAIN).encode("utf-16-le"),
    "latin-1, microvolts": ("Zeit (ms);Vm (µV)\n" + rows(TS, V * 1e3, separator=";")).encode("latin-1"),
    "semicolons": "t_ms;V_mV\n" + rows(separator=";"),
    "tabs": "t_ms\tV_mV\n" + rows(separator="\t"),
    "spaces": "t_ms V_mV\n" + rows(separator="  "),
    "decimal commas": "t_ms;V_mV\n" + rows(separator=";", decimal=","),
    "decimal commas, tabs": "Time (ms)\tV [mV]\n" + rows(separator="\t", decimal=","),
    "decimal commas, quoted": "t_ms,V_mV\n" + "\n".join(
        ",".join(f'"{x}"' for x in line.split(";")) for line in rows(separator=";", decimal=",").splitlines()
    ),
    "comment": "# t_ms,V_mV\n" + PLAIN,
    "Time_ms": "Time_ms,V_mV\n" + PLAIN,
    "T_ms": "T_ms,V_mV\n" + PLAIN,
    "no header": PLAIN,
    "no header, seconds": SECONDS,
    "volts and seconds": "Time (s),Vm (V)\n" + SECONDS,
    "t_s, V_V": "t_s,V_V\n" + SECONDS,
    "microvolts": "t_ms,V_uV\n" + rows(TS, V * 1e3),
    "microseconds": "t_us,Voltage/mV\n" + rows(TS * 1e3),
    "minutes": "time (min),V (mV)\n" + "".join(f"{float(t) / 6e4!r},{v}\n" for t, v in zip(TS, V, strict=True)),
    "a row of units": "Time,Vm\ns,V\n" + SECONDS,
    "a row of units in brackets": "Time;Vm\n(ms);(mV)\n" + rows(separator=";"),
    "names without units": "time,voltage\n" + SECONDS,
    "lines before": "HEKA export\nCell 3, 12.5 pF\nDate 2026-01-05\n\n\"Time[s]\",\"V-mon[V]\"\n" + SECONDS,
    "ATF": "ATF\t1.0\n2\t2\n\"AcquisitionMode=Gap Free\"\n\"Comment=\"\n\"Time (ms)\"\t\"Trace #1 (mV)\"\n"
    + rows(separator="\t"),
    "trailing separators": "t_ms,V_mV,\n" + rows(after=","),
    "trailing separators below the header": "t_ms,V_mV\n" + rows(after=",,"),
    "empty rows at the end": "t_ms,V_mV\n" + PLAIN + ",\n,\n\n",
    "comments and empty lines between": "t_ms,V_mV\n" + PLAIN.replace("\n100,", "\n\n# stimulus\n100,"),
    "a counter first": ",t_ms,V_mV\n" + "".join(f"{k},{line}\n" for k, line in enumerate(PLAIN.splitlines())),
    "time last": "V_mV,t_ms\n" + rows(V, TS),
    "a current beside": "t_ms,V_mV,I_pA\n" + rows(TS, V, 100 * np.sin(TS)),
    "a current and a gate beside": "t_ms,V_mV,I_Kr_pA_per_pF,m,Ca_i_mM\n" + rows(TS, V, V, V / 100, V / 1e6),
    "exponents": "t_ms,V_mV\n" + "".join(f"{t:.8E},{v:+.8e}\n" for t, v in zip(TS, V, strict=True)),
}  # fmt: skip


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_is_the_same_recording(name, tmp_path):
    path = write(tmp_path, DIALECTS[name])
    trace = jc.read_recording(path)
    assert trace.V.shape == TS.shape
    assert np.allclose(trace.ts, TS, rtol=1e-12, atol=1e-9)
    assert np.allclose(trace.V, V, rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("name", ["cell.txt", "cell.dat", "cell.tsv", "cell", "cell.CSV", "cell.h5"])
def test_the_name_does_not_matter(name, tmp_path):
    assert np.array_equal(jc.read_recording(write(tmp_path, DIALECTS["plain"], name)).V, V)
    jc.Trace.from_samples(TS, V).save(tmp_path / "saved.h5")
    (tmp_path / "saved.h5").rename(tmp_path / "saved.csv")
    assert np.array_equal(jc.read_recording(tmp_path / "saved.csv").V, V)


@pytest.mark.parametrize("empty", ["", "nan", "NaN", "NA", "-", "null"])
def test_missing_samples_are_nan(empty, tmp_path):
    lines = DIALECTS["plain"].splitlines()
    lines[11] = f"5,{empty}"
    trace = jc.read_recording(write(tmp_path, "\n".join(lines)))
    assert np.flatnonzero(np.isnan(trace.V)).tolist() == [10]
    assert np.array_equal(np.delete(trace.V, 10), np.delete(V, 10))
    assert trace.notes == ("1 sample is missing",)


def test_sweeps_are_columns_and_may_be_shorter(tmp_path):
    short = np.where(TS < 2000, V, np.nan)
    text = "t_ms,V_mV_0,V_mV_1\n" + rows(TS, V, short)
    trace = jc.read_recording(write(tmp_path, text))
    assert trace.V.shape == (2, TS.size)
    assert np.array_equal(trace.V[1], short, equal_nan=True)
    one = jc.read_recording(write(tmp_path, text), channel="V_mV_0")
    assert np.array_equal(one.V, V)
    many = rows(TS[:5], *np.tile(V[:5], (3000, 1)))
    assert jc.read_recording(write(tmp_path, many)).V.shape == (3000, 5)


def test_what_is_inferred_is_said(tmp_path):
    notes = " / ".join(jc.read_recording(write(tmp_path, DIALECTS["no header, seconds"])).notes)
    assert "time is in s (inferred" in notes
    assert "V is in V (inferred from values from -0.08" in notes
    assert "no header" in notes
    notes = " / ".join(jc.read_recording(write(tmp_path, DIALECTS["volts and seconds"])).notes)
    assert "time is in s (header)" in notes
    assert "V is in V (header)" in notes
    assert "'I_pA'" in " / ".join(jc.read_recording(write(tmp_path, DIALECTS["a current beside"])).notes)
    assert jc.read_recording(write(tmp_path, DIALECTS["plain"])).notes == ()


def test_a_sampling_rate_is_in_place_of_times(tmp_path):
    ts = np.arange(TS.size) * 0.5
    one = "".join(f"{v}\n" for v in V)
    for text in (one, f"V_mV\n{one}", "V_mV\n" + one.replace(".", ",")):
        trace = jc.read_recording(write(tmp_path, text), sampling_rate=2000.0)
        assert np.allclose(trace.ts, ts)
        assert np.allclose(trace.V, V)
    rounded = write(tmp_path, "t_ms,V_mV\n" + rows(np.floor(TS)))
    with pytest.raises(ValueError, match=r"row 3: t = 0 ms after 0; allowed: strictly ascending.*sampling_rate,"):
        jc.read_recording(rounded)
    assert np.allclose(jc.read_recording(rounded, sampling_rate=2000.0).ts, ts)
    with pytest.raises(ValueError, match="sampling_rate = 1000 Hz"):
        jc.read_recording(rounded, sampling_rate=1000.0)


REFUSED = {
    "V called mV": ("t_ms,V_mV\n" + rows(TS, V / 1e3), "V from -0.08.* mV.*is it in V"),
    "mV called V": ("t_ms,V_V\n" + PLAIN, "V from -8.*e.04 .*mV.*another unit"),
    "uV called mV": ("t_ms,V_mV\n" + rows(TS, V * 1e3), "another unit"),
    "s called ms": ("t_ms,V_mV\n" + rows(TS / 1e3), r"is the time in s\?"),
    "ms called s": ("t_s,V_mV\n" + PLAIN, r"is the time in ms"),
    "an unknown unit": ("t_ms,V (furlong)\n" + PLAIN, "'furlong'; allowed: mV, V, uV"),
    "an unknown unit of time": ("t (fortnights),V_mV\n" + PLAIN, "'fortnights'; allowed: ms, s"),
    "a current alone": ("t_ms,I_pA\n" + PLAIN, "no potential among 'I_pA'"),
    "could be V or mV": ("t_ms,V\n" + rows(TS, V / 100), "without a unit.*V_mV, or potential_unit"),
    "could be s or ms": (
        "t,V_mV\n" + rows(np.arange(500) * 0.01, -80 + 0.1 * np.sin(np.arange(500))),
        "times without a unit.*t_ms, or time_unit",
    ),
    "no times": ("V1_mV,V2_mV\n" + rows(V, V), "has no times.*sampling_rate,"),
    "text in a cell": ("t_ms,V_mV\n0,1\n1,x\n2,1\n", "row 3, column 2: 'x'; allowed: numbers"),
    "infinite": ("t_ms,V_mV\n0,1\n1,inf\n2,1\n", "row 3.*V_mV = inf; allowed: finite"),
    "a stand-in for a missing number": ("t_ms,V_mV\n" + PLAIN.replace("\n5,", "\n5,-1e20,"), "row 12: 3 values"),
    "a fill value": ("t_ms,V_mV\n" + rows(TS, np.where(TS == 5, -1e20, V)), r"row 12: V_mV = -1e\+20 mV.*missing"),
    "no time in a row": ("t_ms,V_mV\n0,1\n,1\n2,1\n", "row 3: no time"),
    "no numbers in a column": ("t_ms,V_mV,V2_mV\n0,1,\n1,1,\n2,1,\n", "V2_mV has no numbers"),
    "descending": ("t_ms,V_mV\n2,1\n1,1\n0,1\n", "row 3: t = 1 ms after 2; allowed: strictly ascending"),
    "too few": ("t_ms,V_mV\n0,1\n1,1\n", "2 samples; allowed: >= 3"),
    "short row": ("t_ms,V_mV\n0,1\n1\n2,1\n", "row 3: 1 values; allowed: 2, as in the header"),
    "a long field": ("t_ms,V_mV\n0," + "1" * 200_000 + "\n1,2\n2,3\n", "row 2.*inf"),
    "a long text": ("t_ms,V_mV\n0,2\n1," + "x" * 200_000 + "\n2,3\n", "row 3, column 2: 'xxx"),
    "NUL": (b"t_ms,V_mV\n0,1\n1,\x002\n2,3\n", "row 3: a byte 0"),
    "two kinds of decimals": ("t_ms;V_mV\n0;1,5\n1;1.5\n2;2,5\n", "row 3, column 2: '1.5'.*decimal comma"),
    "no numbers": ("t_ms,V_mV\nx,y\n", "header 't_ms,V_mV', and no row of numbers"),
    "empty": ("", "allowed: t_ms,V_mV"),
    "dimensionless": ("t_tu,u_1\n" + rows(TS, V / 100), "unit = 'tu', a unit of another quantity"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_right_is_refused_in_one_line(name, tmp_path):
    text, message = REFUSED[name]
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=message) as refused:
        jc.read_recording(path)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 600
