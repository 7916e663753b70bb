"""Files that are not what they should be: each gives the same result as the good one, or one line that names it.

Memory and time are bounded whatever a file claims; no bit that flips in a file of ours gives other numbers.
"""

import contextlib
import dataclasses
import functools
import json
import os
import shutil
import subprocess
import sys
import time
import types
import zlib
from pathlib import Path
from typing import Any

import equinox as eqx
import h5py
import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxcardio as jc
from jaxcardio import hidden_state, json_text, twin
from jaxcardio.__main__ import main
from jaxcardio.cell import hold
from jaxcardio.cli.population import FORMAT as SCREENING
from jaxcardio.cli.population import FORMAT_VERSION as SCREENING_VERSION
from jaxcardio.cli.population import _read_hdf5 as read_screening
from jaxcardio.cli.population import _write_hdf5 as write_screening
from jaxcardio.files.hdf5 import read_hdf5
from jaxcardio.files.reading import Budget, open_hdf5
from jaxcardio.files.records import cell_to_json, rebuilt
from jaxcardio.population.viability import UNITS
from jaxcardio.twin import network as twin_network

CLAMP = jc.protocols.VoltageSteps([-80.0, 0.0, -80.0], [100.0, 100.0, 100.0])
SLOWEST = 5.0
"""s, of any file."""
MOST = 300.0
"""MB above the imports, of any file."""


def make_trace(path: Path) -> None:
    jc.simulate(jc.models.AlievPanfilov1996(), t1=5.0, dt=0.05, save_every=1.0).save(path)


def make_population(path: Path) -> None:
    cells = jc.population.sample(jc.models.AlievPanfilov1996(), n=3, seed=0, spread=0.1, parameters=("k",))
    jc.simulate(hold(cells, "v"), t1=5.0, dt=0.05, save_every=1.0).save(path)


def make_samples(path: Path) -> None:
    jc.Trace.from_samples(np.arange(10.0), np.zeros((2, 10))).save(path)


def make_twin(path: Path) -> None:
    p, w = 3, 5
    twin.Twin(
        base=jc.models.KernikClancy2019(), names=("scale_g_K1", "scale_g_Kr", "scale_g_Ks"), mean=np.arange(p) / 10,
        covariance=np.eye(p), prior_sd=np.full(p, 0.1), information=np.ones(p), directions=np.eye(p), guess=np.zeros(p),
        sigma=0.1, chi2=1.0, check=float("nan"), times=np.arange(w) * 1.0, observed=np.ones(w), fitted=np.ones(w),
        doubts=("a doubt",), settings={"spread": 0.2},
    ).save(path)  # fmt: skip


def make_recording(path: Path) -> None:
    ts = np.arange(0, 300, 0.5)
    first = twin.Recording(CLAMP, np.sin(ts), 0.5, capacitance=50.0)
    first.save(path)
    dataclasses.replace(first, name="other").save(path, "check", mode="a")


def make_observations(path: Path) -> None:
    t = np.arange(0, 1600, 2.0) % 800
    V = -80 + 110 * np.exp(-((t / 300) ** 4)) * (t > 5)
    hidden_state.Observations((hidden_state.Sweep(800.0, V, 1e-4 + 0 * V, dt=2.0),)).save(path, "control")


def make_response(path: Path) -> None:
    """Of a study of twins, of four cells, one not viable, at two doses."""
    fields = {
        name: np.zeros((2, 3), bool if name in ("ead", "failed", "oscillating", "quiescent") else float)
        for name in UNITS
    }
    written = {"record": {"twins": [cell_to_json(jc.models.AlievPanfilov1996())]}}
    jc.population.DoseResponse(
        doses=np.array([0.0, 10.0]), cells=np.array([0, 1, 3]), reasons=np.array([0, 0, 4, 0]),
        example_cells=np.array([2, 0]), example_ts=np.arange(5.0), example_V=np.zeros((2, 2, 5)), drug="E-4031",
        model="AlievPanfilov1996", settings=json.dumps(written), **fields,
    ).save(path)  # fmt: skip


def make_screening(path: Path) -> None:
    found = jc.population.Screening(np.array([0, 4]), {name: np.zeros(2) for name in UNITS}, jc.population.Rules(), "M")
    write_screening(path, found, {})


def make_tissue(path: Path) -> None:
    """A run of a sheet with all that one can have: fibres, a hole, weak edges, a parameter a cell, two stimuli."""
    cell = jc.models.AlievPanfilov1996().replace(k=np.linspace(7.0, 9.0, 12).reshape(3, 4))
    hole = np.arange(12).reshape(3, 4) != 5
    edges = [np.full((2, 4), 0.5), np.full((3, 3), 0.9)]
    sheet = jc.tissue.Tissue(cell, (3, 4), 0.5, (0.2, 0.1), fibres=0.3, mask=hole, coupling=edges)
    pulses = jc.protocols.PulseTrain(-1.0, 1.0, 50.0, 0.5)
    stimuli = [jc.tissue.Stimulus(pulses, np.s_[:, :1]), jc.tissue.Stimulus(pulses, hole)]
    jc.tissue.simulate(sheet, stimuli, t1=3.0, dt=0.05).save(path)


MAKERS = {
    "trace": make_trace,
    "population": make_population,
    "samples": make_samples,
    "twin": make_twin,
    "recording": make_recording,
    "observations": make_observations,
    "response": make_response,
    "screening": make_screening,
    "tissue": make_tissue,
}
LOADERS = {
    "trace": jc.Trace.load,
    "population": jc.Trace.load,
    "samples": jc.Trace.load,
    "twin": twin.Twin.load,
    "recording": lambda path: [twin.Recording.load(path), twin.has_check(path), twin.Recording.load(path, "check")],
    "observations": lambda path: hidden_state.Observations.load(path, "control"),
    "response": lambda path: twin.TwinStudy.load(path).pooled,
    "screening": lambda path: read_hdf5(path, SCREENING, SCREENING_VERSION, read_screening),
    "tissue": jc.tissue.Run.load,
}
KINDS = list(MAKERS)


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> dict[str, Path]:
    """A good file of each kind."""
    folder = tmp_path_factory.mktemp("good")
    for kind, make in MAKERS.items():
        make(folder / f"{kind}.h5")
    return {kind: folder / f"{kind}.h5" for kind in KINDS}


@pytest.fixture(scope="module")
def results(good) -> dict[str, Any]:
    return {kind: LOADERS[kind](path) for kind, path in good.items()}


def same(a: Any, b: Any) -> bool:
    """Whether two results say the same; names aside, which say where a file is."""
    if isinstance(a, eqx.Module):
        (xs, one), (ys, other) = jax.tree.flatten(a), jax.tree.flatten(b)
        return one == other and all(same(np.asarray(x), np.asarray(y)) for x, y in zip(xs, ys, strict=True))
    if dataclasses.is_dataclass(a):
        names = [f.name for f in dataclasses.fields(a) if f.name != "name"]
        return type(a) is type(b) and all(same(getattr(a, n), getattr(b, n)) for n in names)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray | float):
        return np.array_equal(a, b, equal_nan=True)
    return a == b


def complaint(load: Any, path: Path, right: Any) -> str | None:
    """What is wrong with how a file is taken; None where it gives the right result or one line that names it."""
    begun, said = time.perf_counter(), None
    try:
        found = load(path)
        if not same(right, found):
            said = "another result"
    except ValueError as error:
        text = str(error)
        if str(path) not in text or "\n" in text or len(text) > 1000 or "Traceback" in text:
            said = f"said: {text}"
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    if time.perf_counter() - begun > SLOWEST:
        said = f"{time.perf_counter() - begun:.1f} s"
    return said


def elements(path: Path) -> list[str]:
    """Every group and dataset."""
    found: list[str] = []
    with h5py.File(path) as file:
        file.visit(found.append)
    return found


def some_elements(path: Path) -> list[str]:
    """Every group, and of the datasets in each the first and the last."""
    every = elements(path)
    ends = {(above, name < "n"): name for name in every for above in [name.rpartition("/")[0]]}
    return sorted(set(ends.values()) | {name.rpartition("/")[0] for name in every} - {""})


def may_be_one_number(path: Path, name: str) -> bool:
    """Whether a single number belongs there: any other is as good."""
    with h5py.File(path) as file:
        return name.startswith("parameters/") or getattr(file[name], "shape", None) == ()


def attributes(path: Path) -> list[tuple[str, str]]:
    """Of the root and of some of what is in it."""
    with h5py.File(path) as file:
        return [(name, key) for name in ["/", *some_elements(path)] for key in file[name].attrs]


def edited(original: Path, path: Path, edit: Any) -> Path:
    """A copy that somebody has changed, without the digest that would tell at once."""
    shutil.copyfile(original, path)
    with h5py.File(path, "r+") as file:
        edit(file)
        file.attrs.pop("digest", None)
    return path


def replace(file: h5py.File, name: str, **made: Any) -> None:
    """Another dataset in place of this group or dataset, with its attributes."""
    attrs = dict(file[name].attrs)
    del file[name]
    file.create_dataset(name, **made).attrs.update(attrs)


def external(file: h5py.File, name: str) -> None:
    raw = Path(file.filename).with_name("secret.bin")
    raw.write_bytes(bytes(8 * 51))
    replace(file, name, shape=(51,), dtype="f8", external=[(str(raw), 0, 8 * 51)])


def virtual(file: h5py.File, name: str) -> None:
    layout = h5py.VirtualLayout((51,), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "V", (51,))
    del file[name]
    file.create_virtual_dataset(name, layout)


def link(file: h5py.File, name: str, to: Any) -> None:
    del file[name]
    file[name] = to


def filtered(file: h5py.File, name: str, code: int) -> None:
    """A dataset behind a filter (scale-offset, n-bit, one that nobody has)."""
    del file[name]
    how = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    how.set_chunk((8,))
    if code == 6:
        how.set_scaleoffset(h5py.h5z.SO_INT, 0)
    else:
        how.set_filter(code, h5py.h5z.FLAG_OPTIONAL, ())
    kind, space = h5py.h5t.NATIVE_INT64, h5py.h5s.create_simple((51,))
    above = file.require_group(name.rpartition("/")[0] or "/")
    h5py.h5d.create(above.id, name.rpartition("/")[2].encode(), kind, space, how)


def named_type(file: h5py.File, name: str) -> None:
    del file[name]
    file[name] = np.dtype("f8")


EDITS = {
    "deleted": lambda f, n: f.__delitem__(n),
    "renamed": lambda f, n: f.move(n, f"{n}_"),
    "a group": lambda f, n: (f.__delitem__(n), f.create_group(n)),
    "text": lambda f, n: replace(f, n, data=np.array([b"1.5"] * 51)),
    "one text": lambda f, n: replace(f, n, data="1.5"),
    "texts": lambda f, n: replace(f, n, data=["1.5"] * 51, dtype=h5py.string_dtype()),
    "complex": lambda f, n: replace(f, n, data=np.zeros(51, complex)),
    "compound": lambda f, n: replace(f, n, data=np.zeros(51, [("a", "f8"), ("b", "i4")])),
    "truth values": lambda f, n: replace(f, n, data=np.zeros(51, bool)),
    "references": lambda f, n: replace(f, n, data=np.array([f.ref] * 51, dtype=h5py.ref_dtype)),
    "lists": lambda f, n: replace(f, n, shape=(51,), dtype=h5py.vlen_dtype(np.float64)),
    "bytes": lambda f, n: replace(f, n, data=np.zeros(51, "V8")),
    "codes": lambda f, n: replace(f, n, shape=(51,), dtype=h5py.enum_dtype({"a": 0, "b": 1, "c": 2})),
    "long doubles": lambda f, n: replace(f, n, data=np.zeros(51, np.longdouble)),
    "no data": lambda f, n: replace(f, n, data=h5py.Empty("f8")),
    "no numbers": lambda f, n: replace(f, n, data=np.zeros(0)),
    "one number": lambda f, n: replace(f, n, data=123.0),
    "4-D": lambda f, n: replace(f, n, data=np.zeros((1, 1, 1, 51))),
    "7 numbers": lambda f, n: replace(f, n, data=np.zeros(7)),
    "1e12 numbers, never written": lambda f, n: replace(f, n, shape=(10**12,), dtype="f8", chunks=(2**20,)),
    "a chunk of 4 GB": lambda f, n: replace(f, n, shape=(51,), maxshape=(None,), dtype="f8", chunks=(2**29 - 1,)),
    "a soft link to nothing": lambda f, n: link(f, n, h5py.SoftLink("/nowhere")),
    "a soft link to itself": lambda f, n: link(f, n, h5py.SoftLink(f"/{n}")),
    "a soft link to the root": lambda f, n: link(f, n, h5py.SoftLink("/")),
    "a link to another file": lambda f, n: link(f, n, h5py.ExternalLink("/etc/passwd", "/x")),
    "a hard link to the root": lambda f, n: link(f, n, f["/"]),
    "a named type": named_type,
    "a virtual dataset": virtual,
    "data in another file": external,
    "scale-offset": lambda f, n: filtered(f, n, 6),
    "an unknown filter": lambda f, n: filtered(f, n, 31999),
    "gzip three times": lambda f, n: filtered(f, n, 1),
}  # fmt: skip
VALUES: dict[str, Any] = {
    "a number": 3.5,
    "a whole number": 7,
    "NaN": np.nan,
    "infinity": np.inf,
    "a truth value": np.True_,
    "a complex number": 1j,
    "a text": "zz",
    "no text": "",
    "bytes that are no text": np.bytes_(b"\xff\xfe"),
    "many numbers": np.arange(1000.0),
    "many texts": ["mV"] * 100,
    "no numbers": np.zeros(0),
    "no value": h5py.Empty("f8"),
    "a list": "[1, 2]",
    "an object": "{}",
    "half an object": '{"a": ',
    "a deep list": "[" * 100_000,
    "a field twice": '{"held": [], "held": []}',
    "a long text": "x" * 60_000,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", EDITS)
def test_whatever_takes_the_place_of_a_group_or_dataset_is_refused_by_name(good, results, tmp_path, kind, how):
    for name in some_elements(good[kind]):
        if how == "one number" and may_be_one_number(good[kind], name):
            continue
        path = edited(good[kind], tmp_path / "edited.h5", lambda f, name=name: EDITS[how](f, name))
        assert complaint(LOADERS[kind], path, results[kind]) is None, (kind, name, how)


NOT_READ = {"versions", "doc", "name", "truth", "solver", "settings", "drug", "population"}
"""Attributes that are kept for the reader of the file, or as they are."""
OF_THE_EXPERIMENT = {
    "sampling_rate_Hz",
    "temperature_K",
    "capacitance_pF",
    "cycle_length_ms",
    "sampling_interval_ms",
    "stimulus_onset_ms",
    "threshold",
}
"""Numbers that may be others."""


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_takes_the_place_of_an_attribute_is_refused_by_name(good, results, tmp_path, kind):
    def put(file: h5py.File, name: str, key: str, value: Any) -> None:
        file[name].attrs[key] = value

    for name, key in attributes(good[kind]):
        if key in NOT_READ or (key == "model" and kind in ("response", "screening")):
            continue
        path = edited(good[kind], tmp_path / "edited.h5", lambda f, n=name, k=key: f[n].attrs.__delitem__(k))
        with h5py.File(path) as file:
            assert key not in file[name].attrs
        optional = {"capacitance_pF", "outputs"}  # without which a file says less, but nothing else
        if key not in optional:
            assert complaint(LOADERS[kind], path, results[kind]) is None, (kind, name, key, "deleted")
        for what, value in VALUES.items():
            if key in OF_THE_EXPERIMENT and what in ("a number", "a whole number"):
                continue
            path = edited(good[kind], path, lambda f, n=name, k=key, v=value: put(f, n, k, v))
            said = complaint(LOADERS[kind], path, results[kind])
            assert said is None, (kind, name, key, what, said)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_files_with_any_changes_give_the_same_or_one_line(tmp_path_factory, good, results, data):
    kind = data.draw(st.sampled_from(KINDS))
    edits = data.draw(
        st.lists(st.tuples(st.sampled_from(elements(good[kind])), st.sampled_from(list(EDITS))), min_size=1, max_size=3)
    )

    def edit(file: h5py.File) -> None:
        for name, how in edits:
            with contextlib.suppress(Exception):  # there is nothing left to change
                EDITS[how](file, name)

    path = edited(good[kind], tmp_path_factory.mktemp("any") / "any.h5", edit)
    said = complaint(LOADERS[kind], path, results[kind])
    if said == "another result":
        assert any(how == "one number" and may_be_one_number(good[kind], name) for name, how in edits), (kind, edits)
    else:
        assert said is None, (kind, edits)


# --- damaged files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_no_flipped_bit_gives_other_numbers(good, results, tmp_path, kind):
    whole, draws, path = good[kind].read_bytes(), np.random.default_rng(0), tmp_path / "flipped.h5"
    for _ in range(120):
        raw = bytearray(whole)
        place, bit = int(draws.integers(len(raw))), int(draws.integers(8))
        raw[place] ^= 1 << bit
        path.write_bytes(raw)
        assert complaint(LOADERS[kind], path, results[kind]) is None, (kind, place, bit)


@pytest.mark.parametrize("kind", KINDS)
def test_no_part_of_a_file_is_taken_for_it(good, results, tmp_path, kind):
    whole, path = good[kind].read_bytes(), tmp_path / "part.h5"
    for size in (0, 1, 8, 9, 47, 96, 512, len(whole) // 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        assert complaint(LOADERS[kind], path, None) is None, (kind, size)


def test_texts_that_hdf5_would_look_through_for_ever_are_refused(good, tmp_path):
    raw = bytearray(good["response"].read_bytes())
    place = raw.find(b"GCOL") + 16
    raw[place : place + 16] = bytes(16)  # free space of no size: behind it comes itself
    path = tmp_path / "circle.h5"
    path.write_bytes(raw)
    with pytest.raises(ValueError, match=r"circle\.h5: attribute format: the texts of the file are damaged"):
        twin.TwinStudy.load(path)


def test_a_text_that_claims_gigabytes_is_refused_before_hdf5_makes_room(tmp_path):
    path = tmp_path / "claim.h5"
    with h5py.File(path, "w") as file:
        file.attrs["a"] = "some text"
    raw = path.read_bytes()
    reference = np.uint32(9).tobytes() + np.uint64(raw.find(b"GCOL")).tobytes()
    path.write_bytes(raw.replace(reference, np.uint32(2**31).tobytes() + reference[4:]))
    with open_hdf5(path) as file, pytest.raises(ValueError, match="a text of up to 2147483648 bytes; allowed"):
        file.text("a")


def test_a_virtual_dataset_that_looks_like_a_long_text_is_named(good, tmp_path):
    path = edited(good["trace"], tmp_path / "virtual.h5", lambda f: virtual(f, "t"))
    with pytest.raises(ValueError, match=r"virtual\.h5: .*virtual dataset"):
        jc.Trace.load(path)


def test_attributes_that_were_edited_are_said_to_be(good, tmp_path):
    shutil.copyfile(good["trace"], tmp_path / "t.h5")
    with h5py.File(tmp_path / "t.h5", "r+") as file:
        file.attrs["solver"] = "better"
    with pytest.raises(ValueError, match=r"t\.h5: its attributes are not those that were written"):
        jc.Trace.load(tmp_path / "t.h5")


@pytest.mark.parametrize("kind", KINDS)
def test_files_without_any_checksum_are_read_as_before(good, results, tmp_path, kind):
    """Those of earlier versions: another format of HDF5, contiguous data, no digest, no names of what was saved."""
    path = tmp_path / "old.h5"
    with h5py.File(good[kind]) as new, h5py.File(path, "w") as old:
        for name in ["/", *elements(good[kind])]:
            item: Any = new[name]
            made = old.require_group(name) if isinstance(item, h5py.Group) else old.create_dataset(name, data=item[()])
            made.attrs.update({k: v for k, v in item.attrs.items() if k not in ("digest", "outputs")})
    assert same(results[kind], LOADERS[kind](path))


def test_big_endian_numbers_are_made_native(good, results, tmp_path):
    V = np.asarray(results["trace"].ys.u)
    path = edited(good["trace"], tmp_path / "b.h5", lambda f: replace(f, "states/u", data=V.astype(">f8")))
    found = jc.Trace.load(path)
    assert found.ys.u.dtype == np.float64 and found.ys.u.dtype.isnative
    assert np.array_equal(found.ys.u, V)
    found.currents()


def test_states_of_a_failed_run_may_be_no_numbers(good, tmp_path):
    path = edited(good["trace"], tmp_path / "f.h5", lambda f: replace(f, "states/u", data=np.full(6, np.nan)))
    assert np.isnan(jc.Trace.load(path).ys.u).all()


@pytest.mark.parametrize(
    ("times", "unit"),
    [(np.arange(6.0)[::-1], "ms"), (np.zeros(6), "ms"), (np.full(6, np.nan), "ms"), (np.arange(6.0), "s")],
)
def test_times_ascend_in_ms(good, tmp_path, times, unit):
    def edit(file):
        replace(file, "t", data=times)
        file["t"].attrs["unit"] = unit

    with pytest.raises(ValueError, match=r"times\.h5: t: allowed: finite, strictly ascending times in ms"):
        jc.Trace.load(edited(good["trace"], tmp_path / "times.h5", edit))


def test_a_status_is_one_of_the_known_codes(good, tmp_path):
    path = edited(good["population"], tmp_path / "s.h5", lambda f: replace(f, "status", data=np.array([0, 77, 0])))
    with pytest.raises(ValueError, match=r"s\.h5: status = 77; allowed: 0 OK, 1 NON_FINITE"):
        jc.Trace.load(path)


def test_parameters_are_those_of_the_cells_of_the_trace(good, tmp_path):
    path = edited(good["population"], tmp_path / "p.h5", lambda f: replace(f, "parameters/k", data=np.zeros(5)))
    with pytest.raises(ValueError, match=r"p\.h5: parameters: of 5 cells, status of shape \(3,\)"):
        jc.Trace.load(path)


def test_no_name_of_a_model_makes_a_package_import_anything():
    lazy = types.ModuleType("lazy_package")
    lazy.__getattr__ = lambda name: pytest.fail(f"asked for {name}")
    sys.modules["lazy_package"] = lazy
    try:
        with pytest.raises(ValueError, match=r"model 'lazy_package\.Model' is not known"):
            rebuilt("lazy_package.Model", {"held": []}, {})
    finally:
        del sys.modules["lazy_package"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, kind):
    os.mkfifo(tmp_path / "fifo.h5")
    for path in (tmp_path / "fifo.h5", tmp_path, Path("/dev/zero"), tmp_path / "none.h5", tmp_path / ("n" * 300)):
        assert complaint(LOADERS[kind], path, None) is None, (kind, path)


@pytest.mark.parametrize("factor", [1e-12, 1e-9])
def test_a_current_in_amperes_is_no_density(tmp_path, factor):
    make_recording(tmp_path / "r.h5")
    current = factor * np.sin(np.arange(0, 300, 0.5))
    path = edited(tmp_path / "r.h5", tmp_path / "a.h5", lambda f: replace(f, "current", data=current))
    with pytest.raises(ValueError, match=r"a\.h5:/: current of at most .* pA/pF; allowed: 1e-06 pA/pF or more"):
        twin.Recording.load(path)


# --- networks --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def networks(tmp_path_factory) -> dict[str, tuple[Path, Any]]:
    folder = tmp_path_factory.mktemp("networks")
    gating = hidden_state.GatingNetwork(("m", "h"), {"V": (-100.0, 50.0)}, width=4, key=jax.random.key(0))
    hidden_state.save_network(folder / "gating.net", gating)
    front = twin_network.Standardise(np.zeros(6, np.float32), np.ones(6, np.float32))
    mlp = eqx.nn.MLP(6, 2, 5, 2, activation=jax.numpy.tanh, dtype=jax.numpy.float32, key=jax.random.key(0))
    trained = twin.Trained(
        twin_network.Network(front, mlp, 0.1), ("a", "b"), np.ones(2), 0.5, np.ones(3), np.ones(3),
        {"build": "published", "experiment": "x"},
    )  # fmt: skip
    twin.save_network(folder / "twin.net", trained)
    return {
        "gating": (folder / "gating.net", hidden_state.load_network),
        "twin": (folder / "twin.net", twin.load_network),
    }


def refused(load: Any, path: Path) -> bool:
    """Whether it is, with one line that names it and in time."""
    said = complaint(load, path, object())
    assert said in (None, "another result"), said
    return said is None


CLAIMS: list[Any] = [-1, 1.5, 10**6, 10**18, 10**400, "5", None, True, [], [1], {}, "x" * 5000, 1e308]


@pytest.mark.parametrize("name", ["gating", "twin"])
def test_no_claim_of_a_networks_first_line_is_believed(networks, tmp_path, name):
    source, load = networks[name]
    line, rest = source.read_bytes().split(b"\n", 1)
    about = json.loads(line)
    del about["digest"]
    path = tmp_path / "claims.net"
    for key in about:
        for value in [*CLAIMS, "deleted"]:
            changed = about | {key: value}
            if value == "deleted":
                del changed[key]
            path.write_bytes(json.dumps(changed).encode() + b"\n" + rest)
            if not refused(load, path):  # what may be other, of the same kind
                assert key in ("step", "unit", "test_mse", "test_error", "training", "validation"), (key, value)
    for k in range(len(about.get("shape", ()))):
        for value in CLAIMS:
            shape = [*about["shape"]]
            shape[k] = value
            path.write_bytes(json.dumps(about | {"shape": shape}).encode() + b"\n" + rest)
            assert refused(load, path), (k, value)


@pytest.mark.parametrize("name", ["gating", "twin"])
def test_a_network_is_whole_finite_and_nothing_else(networks, tmp_path, name):
    source, load = networks[name]
    whole = source.read_bytes()
    path = tmp_path / "changed.net"
    for changed in (
        whole[:-1],
        whole[: len(whole) // 2],
        whole + b"x",
        whole + whole,
        whole.replace(b"\n", b" "),
        b"\n",
    ):
        path.write_bytes(changed)
        assert refused(load, path)
    draws = np.random.default_rng(0)
    for _ in range(60):
        raw = bytearray(whole)
        raw[int(draws.integers(len(raw)))] ^= 1 << int(draws.integers(8))
        path.write_bytes(raw)
        assert refused(load, path)
    with open(path, "wb") as file:  # an endless line
        file.truncate(5_000_000_000)
    assert refused(load, path)


def test_weights_that_are_no_numbers_are_refused(networks, tmp_path):
    network = hidden_state.load_network(networks["gating"][0])
    network = eqx.tree_at(lambda n: n.cell.rho.bias, network, np.full(2, np.nan, np.float32))
    hidden_state.save_network(tmp_path / "nan.net", network)
    with pytest.raises(ValueError, match=r"nan\.net: .*weights that are not finite"):
        hidden_state.load_network(tmp_path / "nan.net")


@pytest.mark.parametrize("name", ["gating", "twin"])
def test_a_network_file_executes_nothing(networks, tmp_path, name):
    source, load = networks[name]

    class Evil:
        def __reduce__(self):
            return open, (str(tmp_path / "executed"), "w")

    path = tmp_path / "evil.net"
    with open(path, "wb") as file:
        file.write(source.read_bytes().split(b"\n", 1)[0] + b"\n")
        for _ in range(40):
            np.save(file, np.array([Evil()], object), allow_pickle=True)
    assert refused(load, path)
    assert not (tmp_path / "executed").exists()


# --- JSON ------------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=120)
@given(
    st.one_of(
        st.text(alphabet='[]{}",:0123456789eE.-+ \\ntrufalsIiy"', max_size=60),
        st.binary(max_size=40),
        st.recursive(st.none() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)).map(
            json.dumps
        ),
    )
)
def test_json_gives_what_it_says_or_one_line(text):
    try:
        found = json_text.parse(text, "file@about")
    except ValueError as error:
        found = error
    if isinstance(found, ValueError):
        assert str(found).startswith("file@about: ") and len(str(found).splitlines()) == 1
    else:
        assert json.dumps(found) == json.dumps(json.loads(text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"a": 1, "a": 2}', "'a' is given twice"),
        ("[" * 101 + "]" * 101, "nested too deep"),
        ("[" * 100_000 + "]" * 100_000, "nested too deep"),
        ("[]," * 10_000_000, "allowed: 200 MB"),
        (b"\xff\xfe[]", "not text in UTF-8"),
        ("9" * 5000, "x: "),
        ("", "not JSON"),
    ],
)
def test_json_is_bounded(text, said):
    with pytest.raises(ValueError, match=said):
        json_text.parse(text, "x")


def test_a_json_file_is_named(tmp_path):
    for name, make in {
        "none.json": lambda p: None,
        "folder.json": lambda p: p.mkdir(),
        "fifo.json": os.mkfifo,
        "huge.json": lambda p: (p.touch(), os.truncate(p, 10**11)),
        "list.json": lambda p: p.write_text("[]"),
        "utf16.json": lambda p: p.write_bytes("{}".encode("utf-16")),
    }.items():
        make(tmp_path / name)
        with pytest.raises(ValueError, match=rf"manifest = .*{name}: ") as caught:
            json_text.read_object(tmp_path / name, "manifest")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["pipe", "pipe.h5", "pipe.csv", "pipe.abf", "pipe.atf", "pipe.hea", "pipe.dat"])
def test_no_recording_is_waited_for_at_a_pipe(name, tmp_path):
    os.mkfifo(tmp_path / name)
    with pytest.raises(ValueError, match=f"path = .*{name}: not a regular file"):
        jc.read_recording(tmp_path / name)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: p.mkdir(), "allowed: a file"),
        (os.mkfifo, "allowed: a file"),
        (lambda p: p.symlink_to("/dev/zero"), "allowed: a file"),
        (lambda p: (p.touch(), os.truncate(p, 10**11)), "allowed: at most 33554432"),
        (lambda p: p.write_bytes("{}".encode("utf-16")), "not text in UTF-8"),
    ],
)
def test_whoever_reads_json_reads_no_more_than_json_may_have(make, said, tmp_path, capsys):
    path = tmp_path / "manifest.json"
    make(path)
    for arguments in (["simulate", "kernik", "--protocol", str(path)], ["dataset", "info", str(tmp_path)]):
        assert main(arguments) == 2
        told = capsys.readouterr().err
        assert str(path) in told and said in told and told.count("\n") == 1


# --- memory and time -------------------------------------------------------------------------------------------------


@functools.cache
def inflating(size: int) -> bytes:
    return zlib.compress(bytes(size))


def fat_chunks(file: h5py.File, name: str, size: int) -> None:
    """Chunks of 4 kB each that inflate to `size` bytes."""
    replace(file, name, shape=(51 * 512,), dtype="f8", chunks=(512,), compression="gzip")
    packed = inflating(size)
    for k in range(51):
        file[name].id.write_direct_chunk((k * 512,), packed)


def unwritten(file: h5py.File, name: str, count: int, **how: Any) -> None:
    replace(file, name, shape=(count,), dtype="f8", **{"chunks": (2**20,), "compression": "gzip", **how})


def zeros(file: h5py.File, name: str, count: int) -> None:
    """As many zeros, gzipped to a thousandth."""
    replace(file, name, shape=(count,), dtype="f8", chunks=(2**20,), compression="gzip")
    packed = zlib.compress(bytes(8 * 2**20))
    for k in range(0, count, 2**20):
        file[name].id.write_direct_chunk((k,), packed)


def nested(file: h5py.File) -> None:
    group = file
    for _ in range(2000):
        group = group.create_group("g")


def cycles(file: h5py.File) -> None:
    """Groups of hard links to each other."""
    groups = [file.create_group(f"g{k}") for k in range(30)]
    for group in groups:
        for k, other in enumerate(groups):
            group[f"x{k}"] = other


def both(edit: Any, *args: Any, **kw: Any) -> Any:
    return lambda f: [edit(f, name, *args, **kw) for name in ("command", "current")]


def text_of(file: h5py.File, key: str, value: Any) -> None:
    file.attrs[key] = value


BOMBS: dict[str, tuple[str, Any]] = {
    "2e9 numbers in 6 kB": ("recording", both(unwritten, 2 * 10**9)),
    "1e12 numbers": ("recording", both(unwritten, 10**12)),
    "1e18 numbers": ("recording", both(unwritten, 10**18)),
    "1 GB of gzipped zeros": ("recording", both(zeros, 2**27)),
    "all that is allowed": ("recording", both(unwritten, 4 * 10**6)),
    "all that is allowed, as bytes": ("recording", both(lambda f, n: replace(f, n, shape=(4 * 10**6,), dtype="i1"))),
    "chunks that inflate": ("recording", both(fat_chunks, 10**8)),
    "chunks that inflate a little": ("recording", both(fat_chunks, 6 * 10**6)),
    "chunks of one number": ("recording", both(lambda f, n: unwritten(f, n, 2 * 10**6, chunks=(1,)))),
    "chunks of 4 GB": ("recording", both(lambda f, n: unwritten(f, n, 600, chunks=(2**29 - 1,), maxshape=(None,)))),
    "a trace of 2e9 times": ("trace", lambda f: unwritten(f, "t", 2 * 10**9)),
    "a trace that inflates": ("trace", lambda f: fat_chunks(f, "states/u", 10**8)),
    "observations of 2e9 numbers": (
        "observations",
        lambda f: [unwritten(f, f"control/800_ms/{n}", 2 * 10**9) for n in ("V", "Ca_i")],
    ),
    "11,000 groups": ("trace", lambda f: [f.create_group(f"states/{k}") for k in range(11_000)]),
    "11,000 sweeps": ("observations", lambda f: [f.create_group(f"control/{k}") for k in range(11_000)]),
    "11,000 attributes": ("trace", lambda f: [text_of(f, f"a{k}", k) for k in range(11_000)]),
    "groups 2,000 deep": ("recording", lambda f: (f.__delitem__("current"), nested(f))),
    "groups in circles": ("recording", lambda f: (f.__delitem__("current"), cycles(f))),
    "a text of 30 MB": ("trace", lambda f: text_of(f, "protocol", "[1]," * 7_500_000)),
    "a text of 60 MB": ("twin", lambda f: text_of(f, "about", "x" * 60_000_000)),
    "30 MB of brackets": ("trace", lambda f: text_of(f, "static", "[" * 30_000_000)),
    "30 MB of emoji": ("trace", lambda f: text_of(f, "static", "\U0001f4a9" * 7_500_000)),
    "a compound of 1,000 fields": (
        "trace",
        lambda f: replace(f, "t", data=np.zeros(6, [(f"a{k}", "f8") for k in range(1000)])),
    ),
}

ALLOWED = {"all that is allowed", "all that is allowed, as bytes"}

MEASURE = """
import json, sys, time
import jax; jax.config.update("jax_enable_x64", True)
import jaxcardio as jc
from jaxcardio import hidden_state, twin

load = {
    "trace": jc.Trace.load, "twin": twin.Twin.load, "recording": twin.Recording.load,
    "observations": lambda path: hidden_state.Observations.load(path, "control"),
}
good, bombs = json.loads(sys.argv[1]), json.loads(sys.argv[2])
for kind, path in good.items():
    load[kind](path)  # what is imported and compiled at the first use
def peak():  # of this program: what `resource` tells begins with the peak of the process that started it
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))

before = peak()
for kind, path in bombs:
    begun, said = time.perf_counter(), ""
    try:
        load[kind](path)
    except ValueError as error:
        said = str(error)
    print(json.dumps([peak() - before, time.perf_counter() - begun, said]), flush=True)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell the peak of the memory")
def test_no_file_takes_more_memory_or_time_than_is_allowed(good, tmp_path):
    """Of all of them, one after the other in a process of its own."""
    kinds = {kind: str(good[kind]) for kind in ("trace", "twin", "recording", "observations")}
    bombs = [
        (kind, str(edited(good[kind], tmp_path / f"{k}.h5", edit))) for k, (kind, edit) in enumerate(BOMBS.values())
    ]
    command = [sys.executable, "-c", MEASURE, json.dumps(kinds), json.dumps(bombs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    for name, (_, path), line in zip(BOMBS, bombs, done.stdout.splitlines(), strict=True):
        memory, seconds, said = json.loads(line)
        print(f"{memory:6.1f} MB {seconds:5.2f} s  {name}: {said}")
        assert memory < MOST, name
        assert seconds < SLOWEST, name
        assert name in ALLOWED or (path in said and len(said.splitlines()) == 1), name


def test_large_files_are_read_whole(tmp_path):
    """A file may ask for many times its own size: a real recording, however long, is read."""
    with h5py.File(tmp_path / "large.h5", "w") as file:
        file["V"] = np.random.default_rng(0).standard_normal(2 * 10**6)
    with open_hdf5(tmp_path / "large.h5") as file:
        assert file.numbers("V", (None,)).size == 2 * 10**6
        assert file.dataset("V").rows(10, 20).shape == (10,)
    assert Budget(10**10).allowed >= 10**11
