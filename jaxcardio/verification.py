"""Every model against independent implementations, on this device: what `jaxcardio check` and the tests run.

`data/models.h5` holds a subset of the reference files: right-hand sides and currents at random states, beside a
trajectory and far from one, and one short converged trace a model. `tests/make_reference_subset.py` makes it.
"""

import functools
from collections.abc import Callable, Iterator
from importlib.resources import as_file, files
from typing import Any, NamedTuple

import h5py
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from . import models
from .cell import AbstractCell, astype
from .protocols import PulseTrain
from .simulation.simulate import simulate
from .solvers import RushLarsen2

STEEP = 0.02
"""An upstroke is where V moves by more than this fraction of its range in a ms (or time unit of the model): there a
tiny shift in time is a large error in V, so traces are compared elsewhere."""


BAR32 = 2e-3
"""Bar of the floored error of rates and currents in float32."""


class Case(NamedTuple):
    """A model and where its reference is.

    Attributes:
        rhs: group -> bar of the floored error in float64; in float32 it is `BAR32`.
        trace, protocol: group of the short trace, and the stimulus of that run (the published one).
        per_ms, per_pF: what turns the reference's rates and currents into ours.
        dt, trace_bar: step, ms or t.u., and bar of the RMSE of V, in its unit.
    """

    make: Callable[..., Any]
    file: str
    rhs: dict[str, float]
    trace: str = "short_trace"
    protocol: PulseTrain | None = None
    per_ms: float = 1.0
    per_pF: float = 1.0
    dt: float = 0.01
    trace_bar: float = 0.01


CASES = {
    "ten_tusscher": Case(
        models.TenTusscher2004,
        "ten_tusscher_2004",
        {"rhs": 1e-9},
        protocol=PulseTrain(amplitude=-52.0, duration=1.0, period=1000.0, start=10.0),
    ),
    "ten_tusscher_panfilov": Case(
        models.TenTusscherPanfilov2006,
        "ten_tusscher_panfilov_2006",
        dict.fromkeys(("rhs_epi", "rhs_M", "rhs_endo"), 1e-9),
        protocol=PulseTrain(amplitude=-52.0, duration=1.0, period=1000.0, start=10.0),
    ),
    # rhs_V0: the reference is itself a mean over +-1e-4 mV there.
    "kernik": Case(
        models.KernikClancy2019, "kernik_clancy_2019", {"rhs_default": 1e-9, "rhs_perturbed": 1e-9, "rhs_V0": 1e-8}
    ),
    "skibsbye": Case(
        models.Skibsbye2016,
        "skibsbye_2016",
        {"rhs": 1e-9},
        protocol=PulseTrain(amplitude=-11.5, duration=2.0, period=1000.0),
        per_ms=1e-3,
        per_pF=1 / 50,
    ),
    "aliev_panfilov": Case(
        models.AlievPanfilov1996,
        "aliev_panfilov",
        {"rhs_1996": 1e-9},
        trace="short_trace_1996",
        protocol=PulseTrain(amplitude=-0.5, duration=1.0, period=50.0, start=5.0),
        dt=0.005,
        trace_bar=1e-4,
    ),
    "modified": Case(
        models.AlievPanfilovModified,
        "aliev_panfilov",
        {"rhs_modified": 1e-9},
        trace="short_trace_modified",
        protocol=PulseTrain(amplitude=-0.5, duration=1.0, period=40.0, start=5.0),
        dt=0.005,
        trace_bar=1e-4,
    ),
}
"""By short name. Stimuli are those of the published or reference runs."""


class Check(NamedTuple):
    """One comparison: the worst error, in `unit`, against its bar."""

    model: str
    what: str
    dtype: str
    error: float
    bar: float
    unit: str

    @property
    def passed(self) -> bool:
        return bool(self.error <= self.bar)


@functools.cache
def reference(file: str) -> dict[str, Any]:
    """All datasets of one reference file by path, and their `names` and `order` attributes; text as lists of str."""
    found: dict[str, Any] = {}

    def visit(path, item):
        if isinstance(item, h5py.Dataset):
            found[path] = np.asarray(item.asstr()[()]).tolist() if item.dtype.kind == "O" else item[()]
        for key in ("names", "order"):
            if key in item.attrs:
                found[f"{path}@{key}"] = np.asarray(item.attrs[key]).tolist()

    with as_file(files("jaxcardio") / "data" / "models.h5") as path, h5py.File(path) as f:
        f[file].visititems(visit)  # pyright: ignore[reportAttributeAccessIssue]
    return found


def states(name: str, group: str, dtype=jnp.float64) -> Any:
    """The states of a reference group: a state whose leaves have a leading axis."""
    case = CASES[name]
    columns = np.asarray(reference(case.file)[f"{group}/states"]).T
    return type(case.make().initial_state())(*(jnp.asarray(x, dtype) for x in columns))


def floored_error(found: ArrayLike, expected: np.ndarray) -> float:
    """|found - expected| of one quantity (n,), relative to the reference, floored at a thousandth of its median."""
    size = np.abs(expected)
    scale = np.maximum(size, 1e-3 * np.median(size))
    return float(np.max(np.abs(np.asarray(found, float) - expected) / np.where(scale == 0, 1.0, scale)))


def rates_and_currents(name: str, group: str, dtype=jnp.float64) -> tuple[Any, Any]:
    """Our rates of change and currents, computed in `dtype`, at the states of a reference group.

    The group may name a variant of the model, and parameters.
    """
    case, ref = CASES[name], reference(CASES[name].file)
    variant = f"{group}/variant"
    cell: AbstractCell = case.make(variant=ref[variant]) if variant in ref else case.make()
    if f"{group}/parameters" in ref:
        names = ref.get(f"{group}/parameters@names") or ref["meta/parameter_names"]
        cell = cell.replace(**dict(zip(names, ref[f"{group}/parameters"].T, strict=True)))
    cell = astype(cell, dtype)
    both = jax.vmap(lambda c, y: (c.vector_field(0.0, y), c.currents(y)), in_axes=(cell.population_axes(), 0))
    return jax.jit(both)(cell, states(name, group, dtype))


def rates_errors(name: str, group: str, dtype=jnp.float64) -> dict[str, float]:
    """Worst floored error of every rate of change ("dV/dt", ...) and of every current that the reference names."""
    case, ref = CASES[name], reference(CASES[name].file)
    dy, currents = rates_and_currents(name, group, dtype)
    expected = ref[f"{group}/dydt"].T * case.per_ms
    errors = {f"d{n}/dt": floored_error(x, y) for n, x, y in zip(dy._fields, dy, expected, strict=True)}
    for i, current in enumerate(ref.get("meta/current_names", [])):
        if current == "i_stim_internal":
            continue
        scale = case.per_ms if current.startswith("J_") else case.per_pF
        found = getattr(currents, current.replace("i_", "I_", 1))
        errors[current] = floored_error(found, ref[f"{group}/currents"][:, i] * scale)
    return errors


def bar(name: str, group: str, dtype) -> float:
    """The bar of `rates_errors`."""
    return CASES[name].rhs[group] if dtype == jnp.float64 else BAR32


def trace_error(name: str, dtype=jnp.float64) -> float:
    """RMSE of V (in its unit) away from upstrokes along the short reference trace; `RushLarsen2`, the case's dt."""
    case = CASES[name]
    ref = reference(case.file)
    ts, V = np.asarray(ref[f"{case.trace}/t"]), np.asarray(ref[f"{case.trace}/V"])
    cell: AbstractCell = astype(case.make(), dtype)
    trace = simulate(
        cell,
        case.protocol,
        t1=float(ts[-1]),
        solver=RushLarsen2(),
        dt=case.dt,
        save_every=float(ts[1] - ts[0]),
        outputs=[cell.potential],
    )
    calm = np.abs(np.gradient(V, ts)) < STEEP * np.ptp(V)
    return float(np.sqrt(np.mean((np.asarray(trace.V, np.float64) - V)[calm] ** 2)))


def checks(dtypes: tuple[str, ...] = ("float64", "float32"), traces: bool = True) -> Iterator[Check]:
    """Every comparison, one by one. float64 needs `jax.config.update("jax_enable_x64", True)`."""
    for dtype in dtypes:
        if jnp.zeros((), dtype).dtype != dtype:
            raise ValueError(f"dtype = {dtype}; allowed after jax.config.update('jax_enable_x64', True)")
        for name, case in CASES.items():
            model = case.make.__name__
            for group in case.rhs:
                errors = rates_errors(name, group, jnp.dtype(dtype))
                rates = [q for q in errors if q.startswith("d")]
                currents = [q for q in errors if not q.startswith("d")]
                for what, some in (("rates", rates), ("currents", currents)):
                    if some:
                        worst = max(some, key=lambda q, e=errors: np.nan_to_num(e[q], nan=np.inf))
                        text = f"{group}: {len(some)} {what}, worst {worst}"
                        yield Check(model, text, dtype, errors[worst], bar(name, group, jnp.dtype(dtype)), "relative")
            if traces:
                cell: AbstractCell = case.make()
                unit = cell.units[cell.potential]
                yield Check(model, "short trace: V", dtype, trace_error(name, jnp.dtype(dtype)), case.trace_bar, unit)
