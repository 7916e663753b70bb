"""Makes jaxcardio/data/models.h5 from the full files and from CellML.

python tests/make_reference_subset.py REFERENCES_FOLDER CELLML_FOLDER
"""

import sys
from pathlib import Path
from typing import Any

import h5py
import make_ten_tusscher_panfilov

CLAMP_STEPS = [2, 5, 8, 11, 12, 15]  # -100, -70, -40, -10, 0, 30 mV
BY_STEP = ("V_step", "currents", "final_states", "i_total")
# model, its trace, its times and states there, end (ms or t.u.), name in the subset: V only, for one comparison in time
SHORT_TRACES = (
    ("ten_tusscher_2004", "trace_CL1000", "first_t", "first_states", 600.0, "short_trace"),
    ("kernik_clancy_2019", "trace_spontaneous", "t", "states", 1000.0, "short_trace"),
    ("skibsbye_2016", "trace_CL1000", "first_t", "first_states", 500.0, "short_trace"),
    ("aliev_panfilov", "trace_1996_CL50", "t", "states", 50.0, "short_trace_1996"),
    ("aliev_panfilov", "trace_modified_0_CL40", "t", "states", 40.0, "short_trace_modified"),
)


def put(source: h5py.Dataset, target: h5py.Group, name: str, values) -> None:
    compress = {"compression": "gzip", "compression_opts": 9, "shuffle": True} if values.size > 64 else {}
    made = target.create_dataset(name, data=values, dtype=source.dtype, **compress)
    made.attrs.update(source.attrs)


def put_clamp(source: h5py.Group, target: h5py.Group) -> None:
    """Some of the steps; currents every 10th sample where they are sampled each 0.1 ms."""
    target.attrs.update(source.attrs)
    ts: Any = source["t"]
    thin = 10 if ts.size > 1000 else 1
    for name, data in source.items():
        values = data[CLAMP_STEPS] if name in BY_STEP else data[()]
        put(data, target, name, values[..., ::thin] if name in ("currents", "t") else values)


def put_model(source: h5py.File, target: h5py.Group) -> None:
    target.attrs.update(source.attrs)
    for name, group in source.items():
        if name.startswith("voltage_clamp"):
            put_clamp(group, target.create_group(name))
            continue
        wanted = ["biomarkers"] if name.startswith("trace_") else list(group)
        wanted = [w for w in wanted if w in group]
        if not wanted:
            continue
        made = target.create_group(name)
        made.attrs.update(group.attrs)
        for w in wanted:
            put(group[w], made, w, group[w][::4] if name == "ina_gating" else group[w][()])


def put_short_traces(model: str, source: h5py.File, target: h5py.Group) -> None:
    for name, trace, ts, states, end, made in SHORT_TRACES:
        if name == model:
            t: Any = source[f"{trace}/{ts}"]
            V: Any = source[f"{trace}/{states}"]
            until = t[()] <= end + 1e-9
            group = target.create_group(made)
            group.attrs.update(source[trace].attrs)
            put(t, group, "t", t[()][until])
            put(V, group, "V", V[:, 0][until])


def main(references: Path, cellml: Path) -> None:
    out = Path(__file__).parents[1] / "jaxcardio" / "data" / "models.h5"
    out.parent.mkdir(exist_ok=True)
    with h5py.File(out, "w") as target:
        for model in ("ten_tusscher_2004", "kernik_clancy_2019", "skibsbye_2016", "aliev_panfilov"):
            with h5py.File(references / f"{model}.h5") as source:
                put_model(source, target.create_group(model))
                put_short_traces(model, source, target[model])  # pyright: ignore[reportArgumentType]
        make_ten_tusscher_panfilov.put_model(cellml, target.create_group("ten_tusscher_panfilov_2006"))
    print(f"{out}: {out.stat().st_size / 1e6:.3f} MB")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
