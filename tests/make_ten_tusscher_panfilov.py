"""The reference of ten Tusscher & Panfilov 2006: its public CellML files, evaluated by `cellml`, which shares no code
with the library; only names and their order are the library's."""

from pathlib import Path

import cellml
import h5py
import numpy as np

from jaxcardio.models.ten_tusscher_panfilov import (
    TenTusscherPanfilov2006,
    TenTusscherPanfilovCurrents,
    TenTusscherPanfilovState,
)

VARIANTS = ("epi", "M", "endo")
STATES = TenTusscherPanfilovState._fields
CURRENTS = TenTusscherPanfilovCurrents._fields
THEIR_NAME = {
    "g_b_Na": "g_bna",
    "g_b_Ca": "g_bca",
    "g_p_Ca": "g_pCa",
    "g_p_K": "g_pK",
    "alpha_NaCa": "alpha",
    "gamma_NaCa": "gamma",
    "C_m": "Cm",
}
"""Parameters that the files name otherwise."""
RANGES = {"V": (-150.0, 100.0), "Na_i": (1.0, 30.0), "K_i": (80.0, 160.0)}
LOGARITHMIC = {"Ca_i": (2e-5, 1e-2), "Ca_ss": (2e-5, 1.0), "Ca_SR": (0.01, 8.0)}


def model(folder: Path, variant: str) -> cellml.Model:
    return cellml.Model(folder / f"ten_tusscher_model_2006_{variant}.cellml")


def far(n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """States anywhere: `RANGES` and `LOGARITHMIC` say where, gates in [0, 1]."""
    found = {name: rng.uniform(*RANGES.get(name, (0.0, 1.0)), n) for name in STATES}
    for name, (low, high) in LOGARITHMIC.items():
        found[name] = low * (high / low) ** rng.uniform(0.0, 1.0, n)
    return found


def beside(beat: dict[str, np.ndarray], n: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Moments of a beat, each number of each of them some 5 % off; gates stay in [0, 1]."""
    moments = rng.choice(beat["V"].size, n, replace=False)
    off = {name: beat[name][moments] * np.exp(0.05 * rng.standard_normal(n)) for name in STATES}
    return {name: x if name in (*RANGES, *LOGARITHMIC) else np.minimum(x, 1.0) for name, x in off.items()}


def beat(of: cellml.Model, until: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Times and states of the first beat at 1 Hz, each ms."""
    ts, ys = cellml.paced(of, cellml.Pulses(), until)
    return ts, dict(zip(of.initial, ys.T, strict=True))


def right_hand_sides(of: cellml.Model, states: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Derivatives (n, states) and currents (n, currents) at states of shape (n,), without a stimulus."""
    found = of.compiled(np, ("i_Stim",))(time=0.0, i_Stim=0.0, **states)
    found["i_ion_total"] = -found["d_V"]
    slopes = np.stack([found[f"d_{name}"] for name in STATES], axis=1)
    return slopes, np.stack([found[name.replace("I_", "i_", 1)] for name in CURRENTS], axis=1)


def put_model(folder: Path, target: h5py.Group) -> None:
    """20 states a variant, half of them beside a beat; 600 ms of the epicardial one; names and defaults."""
    target.attrs["citation"] = (
        "ten Tusscher KHWJ & Panfilov AV. Am J Physiol Heart Circ Physiol 2006;291:H1088-H1100, "
        "doi:10.1152/ajpheart.00109.2006"
    )
    target.attrs["source"] = "public CellML encodings (epi, M, endo); short trace: LSODA at 1e-10"
    rng = np.random.default_rng(2006)
    for variant in VARIANTS:
        of = model(folder, variant)
        ts, trace = beat(of, 600.0)
        some = (beside(trace, 10, rng), far(10, rng))
        states = {name: np.concatenate([x[name] for x in some]) for name in STATES}
        group = target.create_group(f"rhs_{variant}")
        group["variant"] = variant
        group["states"] = np.stack(list(states.values()), axis=1)
        group["dydt"], group["currents"] = right_hand_sides(of, states)
        if variant == "epi":
            target["short_trace/t"], target["short_trace/V"] = ts, trace["V"]
            put_names(of, target.create_group("meta"))


def put_names(of: cellml.Model, target: h5py.Group) -> None:
    names = list(TenTusscherPanfilov2006().parameters())
    target["state_names"] = list(STATES)
    target["current_names"] = [name.replace("I_", "i_", 1) for name in CURRENTS]
    target["parameter_names"] = names
    target["initial_state"] = [of.initial[name] for name in STATES]
    target["parameter_defaults"] = [of.constants[THEIR_NAME.get(name, name)] for name in names]
