"""Files of amplifiers and databases: ABF by way of neo, WFDB by way of wfdb, and HDF5 of others."""

import re
import struct
import sys
import warnings

import h5py
import numpy as np
import pytest

import jaxcardio as jc

RATE = 2000.0
TS = np.arange(0.0, 2500.0, 1e3 / RATE)
V = np.where((TS % 1000 > 100) & (TS % 1000 < 400), 30.0, -80.0) + np.sin(TS)
I = 50 * np.sin(TS / 10)
RANGE, RESOLUTION = 10.0, 32768
"""Of the digitiser: volts, and steps within them."""
STEP = 1.01 * 100 * RANGE / RESOLUTION
"""One step of a channel with a scale of 0.01 V/mV, mV."""


def write_abf1(path, channels, sweeps, rate=RATE):
    """An ABF file of version 1: its header has every field at a fixed place. channels: {name: (unit, V per unit)}."""
    count, sweep = len(channels), np.asarray(sweeps, float)  # (sweeps, channels, samples)
    header = bytearray(6144)

    def put(at, kind, *values):
        struct.pack_into(f"<{kind}", header, at, *values)

    scales = [scale for _, scale in channels.values()]
    raw = np.round(sweep * np.array(scales)[:, None] * RESOLUTION / RANGE).astype("<i2").transpose(0, 2, 1)
    put(0, "4sf", b"ABF ", 1.83)
    put(8, "h", 5)  # episodic
    put(10, "i", raw.size)
    put(16, "i", len(raw))
    put(40, "i", len(header) // 512)
    put(92, "ii", (len(header) + raw.nbytes + 511) // 512, len(raw))
    put(100, "h", 0)  # two-byte integers
    put(120, "hf", count, 1e6 / rate / count)
    put(138, "i", raw[0].size)
    put(244, "f", RANGE)
    put(252, "i", RESOLUTION)
    put(378, "16h", *range(16))
    put(410, "16h", *range(count), *[-1] * (16 - count))
    for k, (name, (unit, scale)) in enumerate(channels.items()):
        put(442 + 10 * k, "10s", name.ljust(10).encode())
        put(602 + 8 * k, "8s", unit.ljust(8).encode("latin-1"))
        put(922 + 4 * k, "f", scale)
    for at in (730, 1050):  # gains of the digitiser and of the signal
        put(at, "16f", *[1.0] * 16)
    data = bytes(header) + raw.tobytes()
    data += bytes(-len(data) % 512)
    for k in range(len(raw)):
        data += struct.pack("<ii", k * raw[0].size, raw[0].size)
    path.write_bytes(data)


def write_abf2(path, channels, sweeps, rate=RATE):
    """An ABF file of version 2: a list of sections, and the sections, each at a block of 512 bytes."""
    count, sweep = len(channels), np.asarray(sweeps, float)
    scales = [scale for _, scale in channels.values()]
    raw = np.round(sweep * np.array(scales)[:, None] * RESOLUTION / RANGE).astype("<i2").transpose(0, 2, 1)
    texts = ["", "Clampex", "none", "none", *(x for name, (unit, _) in channels.items() for x in (name, unit))]
    strings = bytes(44) + b"\0".join(x.encode("latin-1") for x in texts[1:]) + b"\0"
    protocol = _abf2_protocol(1e6 / rate)
    adc = b"".join(_abf2_channel(k, scale) for k, scale in enumerate(scales))
    synch = b"".join(struct.pack("<ii", k * raw[0].size, raw[0].size) for k in range(len(raw)))
    sections = {
        0: (protocol, len(protocol), 1),
        1: (adc, len(adc) // count, count),
        9: (strings, len(strings), len(texts)),
        10: (raw.tobytes(), 2, raw.size),
        15: (synch, 8, len(raw)),
    }
    header = bytearray(1024)
    struct.pack_into("<4s4bII", header, 0, b"ABF2", 0, 0, 0, 2, 512, len(raw))
    struct.pack_into("<I", header, 16, 20260105)
    body = b""
    for number, (content, each, entries) in sections.items():
        struct.pack_into("<IIi", header, 76 + 16 * number, (len(header) + len(body)) // 512, each, entries)
        body += content + bytes(-len(content) % 512)
    path.write_bytes(bytes(header) + body)


def _abf2_protocol(interval):
    from neo.rawio.axonrawio import protocolInfoDescription

    known = {"nOperationMode": 5, "fADCSequenceInterval": interval, "fADCRange": RANGE, "lADCResolution": RESOLUTION}
    return _packed(protocolInfoDescription, known, 512)


def _abf2_channel(k, scale):
    from neo.rawio.axonrawio import ADCInfoDescription

    known = {"nADCNum": k, "fADCProgrammableGain": 1.0, "fInstrumentScaleFactor": scale, "fSignalGain": 1.0}
    return _packed(ADCInfoDescription, known | {"lADCChannelNameIndex": 4 + 2 * k, "lADCUnitsIndex": 5 + 2 * k}, 128)


def _packed(description, known, size):
    """Fields one after the other, each zero unless known."""
    packed = b""
    for name, kind in description:
        zero = [b"" if kind[-1] == "s" else b"\0" if kind == "c" else 0]
        zero *= int(kind[:-1]) if kind[:-1] and kind[-1] != "s" else 1
        packed += struct.pack(f"<{kind}", *([known[name]] if name in known else zero))
    return packed.ljust(size, b"\0")


SCALES = {"Vm": ("mV", 0.01), "Im": ("pA", 0.002)}


@pytest.mark.parametrize("write", [write_abf1, write_abf2])
def test_abf(write, tmp_path):
    path = tmp_path / "cell.abf"
    write(path, SCALES, [[V, I]])
    trace = jc.read_recording(path)
    assert np.allclose(trace.ts, TS, rtol=1e-6)
    assert np.allclose(trace.V, V, atol=STEP)
    assert "left out: 'Im (pA)' (no potential)" in trace.notes
    write(path, SCALES, [[V, I], [V[::-1], I], [V, I]])
    trace = jc.read_recording(path)
    assert trace.V.shape == (3, TS.size)
    assert np.allclose(trace.V[1], V[::-1], atol=STEP)
    with pytest.raises(ValueError, match=r"channel 'Im' is a current \(unit pA\)"):
        jc.read_recording(path, channel="Im")
    path.rename(tmp_path / "cell.csv")
    assert np.array_equal(jc.read_recording(tmp_path / "cell.csv").V, trace.V)


@pytest.mark.parametrize("write", [write_abf1, write_abf2])
def test_abf_in_other_units_and_of_two_potentials(write, tmp_path):
    path = tmp_path / "cell.abf"
    write(path, {"Vm": ("V", 10.0), "10 Vm": ("µV", 1e-5)}, [[V / 1e3, V * 1e3]])
    with pytest.raises(ValueError, match=r"2 potentials, 'Vm \(V\)', '10 Vm \(uV\)'; allowed: one of them \(give chan"):
        jc.read_recording(path)
    for channel in ("Vm", "10 Vm", 0, 1, "0"):
        assert np.allclose(jc.read_recording(path, channel=channel).V, V, atol=STEP), channel
    with pytest.raises(ValueError, match="channel = 'Vx'; allowed: 'Vm"):
        jc.read_recording(path, channel="Vx")
    write(path, {"Vm": ("mV", 10.0)}, [[V / 1e3]])
    with pytest.raises(ValueError, match=r"V from -0.0.* mV; allowed.*is it in V"):
        jc.read_recording(path)


@pytest.mark.parametrize(("write", "at"), [(write_abf1, 96), (write_abf2, 76 + 16 * 15 + 8), (write_abf2, 76 + 16 + 8)])
def test_an_abf_that_claims_too_much_is_one_line(write, at, tmp_path):
    path = tmp_path / "cell.abf"
    write(path, SCALES, [[V, I]] * 2)
    content = bytearray(path.read_bytes())
    for count in (2**31 - 1, 2**20, -1):
        struct.pack_into("<i", content, at, count)
        path.write_bytes(content + bytes(2**20))
        assert "sweeps, tags or channels; allowed: 0 to" in refused_in_one_line(path) or count == -1


@pytest.mark.parametrize("write", [write_abf1, write_abf2])
@pytest.mark.parametrize("left", [4, 100, 2000, 5000, 9000])
def test_a_cut_abf_is_one_line(write, left, tmp_path):
    path = tmp_path / "cell.abf"
    write(path, SCALES, [[V, I]] * 2)
    path.write_bytes(path.read_bytes()[:left])
    refused_in_one_line(path)


def refused_in_one_line(path, **options):
    with pytest.raises(ValueError, match=r".") as refused:
        jc.read_recording(path, **options)
    assert str(path) in str(refused.value)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def write_wfdb(folder, signals, units, names):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what wfdb asks pandas for
        import wfdb

        values = np.stack(signals, 1)
        wfdb.wrsamp("cell", RATE, units, names, values, fmt=["16"] * len(names), write_dir=str(folder))


def test_wfdb(tmp_path):
    write_wfdb(tmp_path, [V, I], ["mV", "pA"], ["Vm", "Im"])
    for name in ("cell.hea", "cell.dat", "cell"):
        trace = jc.read_recording(tmp_path / name)
        assert np.allclose(trace.ts, TS, rtol=1e-9)
        assert np.allclose(trace.V, V, atol=0.01)
        assert "left out: 'Im (pA)' (no potential)" in trace.notes
    gap = np.where(np.arange(V.size) == 77, np.nan, V)
    write_wfdb(tmp_path, [gap / 1e3, gap * 1e3], ["V", "uV"], ["a", "b"])
    with pytest.raises(ValueError, match="2 potentials"):
        jc.read_recording(tmp_path / "cell.hea")
    for channel in ("a", "b"):
        found = jc.read_recording(tmp_path / "cell.hea", channel=channel).V
        assert np.allclose(found, gap, atol=0.01, equal_nan=True)


def test_a_header_that_lies_is_one_line(tmp_path):
    write_wfdb(tmp_path, [V], ["mV"], ["Vm"])
    header = tmp_path / "cell.hea"
    good = header.read_text()
    for bad in (
        good.replace(str(V.size), "99999999999"),
        good.replace("cell.dat", "../cell.dat"),
        good.replace("cell.dat", "/etc/hostname"),
        good.replace("cell.dat", "https://example.org/cell.dat"),
        good.replace("cell.dat", "none.dat"),
        good.replace("mV", "furlong"),
        good.replace(" 16", " 999"),
        "cell 1 0 5000\n",
        "cell 1000000000 1000 0\n",
        good.replace("cell 1 ", "cell 99999999999 "),
        "\n",
        "cell/2 1 1000 5000\na 2500\nb 2500\n",
    ):
        assert bad != good
        header.write_text(bad)
        refused_in_one_line(header)


def test_a_missing_package_is_said(tmp_path, monkeypatch):
    write_abf1(tmp_path / "cell.abf", SCALES, [[V, I]])
    write_wfdb(tmp_path, [V], ["mV"], ["Vm"])
    for module in ("neo", "neo.rawio", "wfdb"):
        monkeypatch.setitem(sys.modules, module, None)
    for name, package in (("cell.abf", "neo"), ("cell.hea", "wfdb")):
        said = refused_in_one_line(tmp_path / name)
        assert package in said
        assert "pip install 'jaxcardio[recordings]'" in said


def write_hdf5(path, V, t=None, unit=None, time_unit=None, key="unit", **attributes):
    with h5py.File(path, "w") as f:
        f.attrs.update(attributes)
        for name, values, its in (("V", V, unit), ("t", t, time_unit)):
            if values is not None:
                data = f.create_dataset(name, data=values)
                if its is not None:
                    data.attrs[key] = its
    return path


@pytest.mark.parametrize(
    ("made", "noted"),
    [
        ({"V": V, "t": TS, "unit": "mV", "time_unit": "ms"}, []),
        ({"V": V / 1e3, "t": TS / 1e3, "unit": "V", "time_unit": "s"}, ["V is in V (header)", "time is in s (header)"]),
        ({"V": V * 1e3, "t": TS * 1e3, "unit": "µV", "time_unit": "us", "key": "units"}, ["V is in µV (header)"]),
        ({"V": V / 1e3, "t": TS / 1e3}, ["V is in V (inferred", "time is in s (inferred"]),
        ({"V": np.stack([V, V]), "t": TS}, ["V is in mV (inferred", "time is in ms (inferred"]),
        ({"V": V, "unit": "mV", "sampling_rate_Hz": RATE}, []),
        ({"V": V.astype(">f4"), "t": TS.astype(">f8"), "unit": "mV", "time_unit": "ms"}, []),
    ],
)
def test_hdf5(made, noted, tmp_path):
    trace = jc.read_recording(write_hdf5(tmp_path / "cell.h5", **made))
    assert np.allclose(trace.ts, TS)
    assert np.allclose(trace.V, made["V"] if made["V"].ndim == 2 else V, rtol=1e-6)
    for note in noted:
        assert any(note in x for x in trace.notes), trace.notes
    assert trace.notes or not noted


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ({"V": V, "t": TS, "unit": "V"}, "another unit"),
        ({"V": V / 1e3, "t": TS, "unit": "mV"}, "is it in V"),
        ({"V": V, "t": TS / 1e3, "time_unit": "ms"}, "is the time in s"),
        ({"V": V, "t": TS, "unit": "pA"}, "V has unit = 'pA', a unit of current; allowed: mV, V, uV"),
        ({"V": V, "t": TS, "unit": np.arange(3)}, "V@unit.*3 values; allowed: one"),
        ({"V": np.where(TS == 50, np.inf, V), "t": TS}, "sample 100: V = inf"),
        ({"V": np.full_like(V, np.nan), "t": TS, "unit": "mV"}, "V has no numbers"),
        ({"V": V, "t": TS[::-1]}, "sample 1: t = .*strictly ascending"),
        ({"V": V, "t": TS[:-1]}, r"\(4999,\) and \(5000,\)"),
        ({"V": np.zeros((2, 2, 5)), "t": TS[:5]}, r"shape \(2, 2, 5\)"),
        ({"V": np.zeros((0, 5)), "t": TS[:5]}, "V has shape .0, 5.; allowed: one cell"),
        ({"V": V, "t": TS, "sampling_rate_Hz": 2.5 * RATE}, "a sample every .* ms, and sampling_rate_Hz"),
        ({"V": V, "sampling_rate_Hz": "fast"}, "sampling_rate_Hz"),
    ],
)
def test_wrong_hdf5(made, message, tmp_path):
    assert re.search(message, refused_in_one_line(write_hdf5(tmp_path / "cell.h5", **made)))
