"""Recordings: what is read is what was written, in any allowed unit; what is wrong is said by name."""

import h5py
import numpy as np
import pytest

import jaxcardio as jc
from jaxcardio.twin import Recording

STEPS = jc.protocols.VoltageSteps([-80.0, -20.0, -80.0], [100.0, 50.0, 100.0])
CURRENT = np.sin(np.arange(2500) / 100.0)


def write(path, *, command=None, current=None, unit=("mV", "pA/pF"), leave_out=(), **attrs):
    ts = 0.1 * np.arange(2500)
    with h5py.File(path, "w") as file:
        file.attrs.update({"sampling_rate_Hz": 1e4, "temperature_K": 310.0} | attrs)
        data = {"command": STEPS.value(ts) if command is None else command, "current": CURRENT}
        data |= {} if current is None else {"current": current}
        for (name, values), one in zip(data.items(), unit, strict=True):
            if name not in leave_out:
                file[name] = values
                file[name].attrs["unit"] = one
        for name in set(leave_out) & set(attrs | {"sampling_rate_Hz": 0, "temperature_K": 0}):
            del file.attrs[name]
    return path


def test_a_recording_survives_a_file(tmp_path):
    made = Recording(STEPS, CURRENT, 0.1, 298.0, 41.5, "a cell")
    made.save(tmp_path / "r.h5")
    read = Recording.load(tmp_path / "r.h5")
    assert read.current == pytest.approx(made.current, abs=1e-7)
    assert (read.dt, read.temperature, read.capacitance) == pytest.approx((0.1, 298.0, 41.5))
    assert np.array_equal(read.command.begin, STEPS.begin)  # pyright: ignore[reportAttributeAccessIssue]
    assert read.command.edges(0, 250) == pytest.approx(STEPS.edges(0, 250))


def test_units_are_converted(tmp_path):
    plain = Recording.load(write(tmp_path / "a.h5"))
    volts = Recording.load(write(tmp_path / "b.h5", command=1e-3 * STEPS.value(plain.ts), unit=("V", "pA/pF")))
    pA = write(tmp_path / "c.h5", current=50 * CURRENT, unit=("mV", "pA"), capacitance_pF=50.0)
    assert volts.command.value(plain.ts) == pytest.approx(plain.command.value(plain.ts))
    assert Recording.load(pA).current == pytest.approx(plain.current)
    assert Recording.load(pA, capacitance=100.0).current == pytest.approx(plain.current / 2)


def test_a_ramp_stays_a_sampled_command(tmp_path):
    ramp = np.linspace(-80.0, 40.0, 2500)
    read = Recording.load(write(tmp_path / "r.h5", command=ramp))
    assert isinstance(read.command, jc.protocols.Sampled)
    assert read.command.value(read.ts) == pytest.approx(ramp)


NAN = np.where(np.arange(2500) == 700, np.nan, CURRENT)
WRONG = {
    "no dataset current; ": {"leave_out": ("current",)},
    "no dataset command": {"leave_out": ("command",)},
    "no attribute sampling_rate_Hz": {"leave_out": ("sampling_rate_Hz",)},
    "no attribute temperature_K": {"leave_out": ("temperature_K",)},
    r"current = nan pA/pF at 70 ms; allowed: finite \(1 samples": {"current": NAN},
    "current has unit 'amps'; allowed: pA/pF": {"unit": ("mV", "amps")},
    "current in pA needs capacitance_pF": {"unit": ("mV", "pA")},
    "is it in pA": {"current": 1e4 * CURRENT},
    "is it in V": {"command": 1e-3 * STEPS.value(0.1 * np.arange(2500))},
    r"command \(2500,\) and current \(2400,\)": {"current": CURRENT[:2400]},
    "10 ms long; allowed: >= 100 ms": {"command": np.zeros(100), "current": np.zeros(100)},
    "temperature = 37.0 K; allowed: 273": {"temperature_K": 37.0},
    "dt = 10.0 ms; allowed: 0 < dt <= 1": {"sampling_rate_Hz": 100.0},
    "capacitance = -1.0 pF; allowed: > 0": {"capacitance_pF": -1.0},
}


@pytest.mark.parametrize("message", WRONG)
def test_what_is_wrong_is_named(tmp_path, message):
    with pytest.raises(ValueError, match=message):
        Recording.load(write(tmp_path / "r.h5", **WRONG[message]))


def test_other_files_and_groups_are_named(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        Recording.load(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(ValueError, match="not a whole HDF5 file"):
        Recording.load(tmp_path / "text.h5")
    with pytest.raises(ValueError, match="no group 'cell 7'; it has /"):
        Recording.load(write(tmp_path / "r.h5"), "cell 7")
