"""Wrong arguments are refused at once, in one line that names the argument: every public function, every argument.

The table gives one good call of every public function; what is wrong for an argument follows from its good value. No
case here runs a cell: what is refused is refused before anything is compiled.
"""

import dataclasses
import importlib
import inspect
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import diffrax
import jax
import numpy as np
import pytest
import refusals_intracellular as intracellular
from matplotlib.figure import Figure
from synthetic import EIGHT, LONG, train

import jaxcardio as jc
from jaxcardio.population.viability import UNITS

K, TT = jc.models.KernikClancy2019(), jc.models.TenTusscher2004()
P, B, PH, PO, TW, DE, H, PL = (
    jc.protocols,
    jc.biomarkers,
    jc.pharmacology,
    jc.population,
    jc.twin,
    jc.twin.protocols,
    jc.hidden_state,
    jc.plot,
)
TI, SO = jc.tissue, jc.sodium
TISSUES = importlib.import_module("jaxcardio.plot.tissues")
TWINS = importlib.import_module("jaxcardio.plot.twins")
SODIUM = importlib.import_module("jaxcardio.plot.sodium")
HIDDEN = importlib.import_module("jaxcardio.plot.hidden_states")
PULSES = P.PulseTrain(-52.0, 1.0, 1000.0, 10.0)
CLAMP = P.VoltageSteps([-80.0, 0.0], [250.0, 250.0])
CELLS = K.replace(Kr_g=np.full(3, 0.2))
NAMES = ["Kr_g", "K1_g"]
RECORDED = jc.Trace.from_samples(LONG, train(LONG, EIGHT, [200.0] * 8))
FILE = Path(tempfile.mkdtemp()) / "cell.csv"
RECORDED.save(FILE)
BEATS = B.action_potentials(RECORDED)
PAIRS = B.restitution(BEATS)
WINDOWS = TW.windows_of(CLAMP, 500.0)
EXPERIMENT = TW.Experiment(CLAMP, WINDOWS, K, tuple(NAMES))
COUNT = len(WINDOWS.begin)
THETA = np.zeros((2, 2))
SEEN, NOISE = np.zeros((2, COUNT)), np.full(COUNT, 0.01)
RECORDING = TW.Recording(CLAMP, np.zeros(5000), 0.1)
RIG = TW.Rig()
KEY = jax.random.key(0)
TRAINED = TW.Trained(
    TW.published(SEEN, NOISE, 2, 0.1, key=KEY, width=2, depth=1),
    tuple(NAMES),
    np.zeros(2),
    0.0,
    np.zeros(1),
    np.zeros(1),
    {},
)
POSTERIOR = TW.Posterior(
    THETA,
    np.tile(np.eye(2), (2, 1, 1)),
    np.ones((2, 2)),
    np.tile(np.eye(2), (2, 1, 1)),
    *np.ones((3, 2)),
    SEEN,
    np.ones((2, 1)),
)
RECIPE = PO.Recipe(K, 4, 0, PO.Uniform(0.2), NAMES, CLAMP, 500.0)
BATCH = PO.Batch(np.arange(2), THETA, {"I_ion_total": np.zeros((2, 501))})
MEASURED = {name: np.ones(3) for name in UNITS} | {"status": np.zeros(3, int), "failed": np.zeros(3, bool)}
RULES = PO.Rules()
SCREENING = PO.Screening(np.zeros(3, int), MEASURED, RULES, "KernikClancy2019")
RESPONSE = PO.DoseResponse(
    doses=np.array([0.0, 10.0]),
    cells=np.arange(3),
    reasons=np.zeros(3, int),
    example_cells=np.array([0]),
    example_ts=np.arange(4.0),
    example_V=np.zeros((2, 1, 4)),
    drug="E-4031",
    model="K",
    settings="{}",
    **{
        name: np.zeros((2, 3), bool if name in ("ead", "failed", "oscillating", "quiescent") else float)
        for name in UNITS
    },
)
UNCERTAIN = TW.UncertainResponse(np.array([0.0, 10.0]), {k: np.zeros((2, 3)) for k in UNITS}, "E-4031")
STUDY = object.__new__(TW.TwinStudy)
NETWORK = H.GatingNetwork(("m", "h"), {"V": (-110.0, 70.0)}, width=3, key=KEY)
V_CYCLES = np.tile(np.r_[np.full(100, -80.0), np.full(300, 20.0)], 2)
SWEEP = H.Sweep(400.0, V_CYCLES, np.full(800, 1e-4))
OBSERVED = H.Observations((SWEEP,))
PACED = H.PacedBeats(np.array([400.0]), np.arange(4.0), (TT.initial_state(),))
TWO_PART = object.__new__(H.TwoPartNetwork)
EXPLANATION = H.Explanation(*[tuple.__new__(H.Retrained, ())] * 2, ())
CURVES = H.GateCurves(np.zeros(2), {}, {})
AX = Figure().subplots()
AP = jc.models.AlievPanfilov1996()
CABLE = TI.Tissue(AP, 6, 0.5, 0.1)
SQUARE = TI.Tissue(AP, (6, 6), 0.5, 0.1)
STIMULUS = TI.Stimulus(P.PulseTrain(-1.0, 1.0, 50.0), np.s_[:2])
FRONT = np.linspace(1.0, 9.0, 36).reshape(1, 6, 6)
CALM = np.zeros((6, 6), int)
RUN = TI.Run(np.arange(9.0), {n: np.random.default_rng(0).random((9, 6, 6)) for n in "uv"}, FRONT, FRONT + 1,
             CALM + 1, CALM, SQUARE.initial_state(), SQUARE, (STIMULUS,), 0.5, "")  # fmt: skip
TWO = dataclasses.replace(RUN, activation_times=np.concatenate([FRONT, FRONT + 5]))
ALONG = dataclasses.replace(
    RUN, ys={"u": np.zeros((9, 6))}, activation_times=FRONT[:, 0], repolarisation_times=FRONT[:, 0] + 1, tissue=CABLE
)
ATRIAL = jc.models.Skibsbye2016()
APD90 = SO.Row("beats", "APD90", 1.0, 1.0, "ms")
EVALUATED = SO.Evaluation((APD90,), {}, ATRIAL, 0.1, "RushLarsenMidpoint", 2, 1000.0, "float64")
SUBSYSTEMS = importlib.import_module("jaxcardio.sodium.subsystems")
TABULATED = SUBSYSTEMS.GateTable(ATRIAL, ["d"], spacing=10.0)
ROUNDS = {"starts": 1, "clamps": 0, "action potentials": 0, "solver": 0}
PATH = TI.TipPath(np.arange(3.0), np.zeros(3), np.zeros(3), 1)


def GATES_OF_V(V):
    return ATRIAL.sodium.relaxations(V).m.steady[None]


def loss(cell):
    return cell.g_Kr


PROGRESS = {"progress": False}
SCREENED: dict[str, Any] = {"t1": 10_000.0, "discard": 5000.0, "save_every": 1.0}
CALLS: list[tuple[Any, Any]] = [
    # --- the top
    (
        jc.simulate,
        {
            "cell": TT,
            "protocol": PULSES,
            "t1": 20.0,
            "t0": 0.0,
            "solver": jc.RushLarsen(),
            "dt": 0.1,
            "save_every": 1.0,
            "outputs": ["V"],
            "y0": TT.initial_state(),
            "max_steps": 10,
            "adjoint": diffrax.ForwardMode(),
            **PROGRESS,
        },
    ),
    (jc.simulate, {"cell": TT, "t1": 20.0, "grid": np.linspace(0, 20, 41), "save_at": [1.0, 2.0]}),
    (jc.simulate, {"cell": TT, "t1": 20.0, "solver": diffrax.Kvaerno3(), "rtol": 1e-6, "atol": 1e-6}),
    (jc.paced_grid, {"pacing": PULSES, "t1": 20.0, "t0": 0.0, "stages": [(2.0, 0.01), (np.inf, 1.0)]}),
    (jc.astype, {"cell": TT, "dtype": np.float32}),
    (jc.hold, {"cell": TT}),
    (jc.value_and_gradient, {"loss": loss, "cell": TT, "names": ["g_Kr"], "mode": "forward"}),
    (jc.value_and_sensitivities, {"outputs": loss, "cell": TT, "names": ["g_Kr"]}),
    (jc.Trace.from_samples, {"ts": LONG, "V": RECORDED.V}),
    (jc.read_recording, {"path": FILE, "channel": "V_mV", "time_unit": "ms", "potential_unit": "mV"}),
    (jc.read_recording, {"path": FILE, "group": "", "dataset": "V", "sampling_rate": 1000.0}),
    # --- protocols
    (P.Constant, {"level": -80.0, "kind": "voltage"}),
    (P.Segments, {"begin": [0.0], "end": [1.0], "durations": [5.0], "start": 0.0, "kind": "voltage"}),
    (P.VoltageSteps, {"voltages": [0.0], "durations": [5.0], "start": 0.0}),
    (P.voltage_ramp, {"V0": 0.0, "V1": 1.0, "duration": 5.0, "start": 0.0}),
    (P.Sampled, {"ts": [0.0, 1.0], "samples": [0.0, 1.0], "kind": "voltage", "jumps": [0.5]}),
    (
        P.PulseTrain,
        {"amplitude": -52.0, "duration": 1.0, "period": 1000.0, "start": 0.0, "count": 3, "kind": "current"},
    ),
    (P.Pulses, {"amplitude": -52.0, "duration": 1.0, "times": [10.0], "kind": "current"}),
    (
        P.s1_s2,
        {"amplitude": -52.0, "duration": 1.0, "s1_period": 500.0, "s1_count": 3, "s2_interval": 300.0, "start": 0.0},
    ),
    (P.dynamic_restitution, {"amplitude": -52.0, "duration": 1.0, "periods": [500.0], "beats": 3, "start": 0.0}),
    (P.Plus, {"first": PULSES, "second": PULSES}),
    (P.Then, {"first": PULSES, "second": PULSES, "at": 500.0}),
    (P.Repeat, {"once": PULSES, "period": 500.0}),
    (P.Shifted, {"inner": PULSES, "t0": 5.0}),
    (P.from_json, {"text": P.to_json(PULSES)}),
    (P.to_json, {"protocol": PULSES}),
    (PULSES.edges, {"t0": 0.0, "t1": 5.0}),
    # --- biomarkers
    (B.action_potentials, {"trace": RECORDED}),
    (
        B.action_potentials_from,
        {
            "ts": LONG,
            "V": RECORDED.V,
            "levels": [90.0],
            "threshold": (-60.0, -20.0),
            "max_beats": 8,
            "window": 500,
            "smoothing": 2.0,
            "min_amplitude": 20.0,
            "min_dvdt": 0.0,
            "ead_rise": 2.0,
            "ead_after": 50.0,
            "patience": 100.0,
        },
    ),
    (B.action_potentials_from, {"ts": LONG, "V": RECORDED.V, "onsets": EIGHT}),
    (B.alternans, {"beats": BEATS, "threshold": 5.0}),
    (B.capture_ratio, {"beats": dataclasses.replace(BEATS, paced=True)}),
    (B.restitution, {"beats": BEATS}),
    (B.restitution_slope, {"pairs": PAIRS, "resolution": 1.0}),
    (B.soft_apd, {"ts": LONG, "V": RECORDED.V, "level": 90.0, "width": 1.0, "min_amplitude": 20.0}),
    # --- pharmacology
    (PH.block, {"cell": TT, "drug": "E-4031", "concentration": 50.0}),
    (PH.dose_series, {"cell": TT, "drug": "E-4031", "doses_nM": [0.0, 50.0]}),
    (PH.hill_block, {"concentration": 1.0, "ic50": 7.0, "hill": 1.0}),
    (PH.incidence, {"events": 1, "n": 10, "level": 0.95}),
    (PH.targets, {"cell": TT, "drug": "E-4031"}),
    (PH.Drug, {"name": "mine", "blocks": {"I_Kr": PH.Block(7.0)}, "free_cmax_nM": 1.0, "source": "here"}),
    # --- population
    (PO.Uniform, {"spread": 0.2}),
    (PO.Sobol, {"spread": 0.2}),
    (PO.LogNormal, {"sigma": 0.2, "truncation": 2.0}),
    (PO.LatinHypercube, {"spread": 0.2, "cells": 10}),
    (PO.distribution_to_json, {"distribution": PO.Uniform(0.2)}),
    (PO.distribution_from_json, {"written": {"type": "Uniform", "spread": 0.2}}),
    (PO.sample, {"cell": K, "seed": 0, "parameters": NAMES, "n": 3, "start": 0, "spread": 0.2}),
    (PO.sample, {"cell": K, "seed": 0, "parameters": NAMES, "indices": [1, 2], "distribution": PO.Uniform(0.2)}),
    (PO.relative_change, {"cells": CELLS, "cell": K, "parameters": NAMES}),
    (
        PO.simulate,
        {
            "cells": CELLS,
            "protocol": PULSES,
            "t1": 20.0,
            "chunk": 16,
            "devices": jax.devices(),
            "reduce": loss,
            **PROGRESS,
        },
    ),
    (PO.screen, {"cells": CELLS, "rules": RULES, "protocol": PULSES, **SCREENED, "chunk": 16, **PROGRESS}),
    (
        PO.dose_response,
        {
            "cells": CELLS,
            "drug": "E-4031",
            "doses": [0.0, 10.0],
            "protocol": PULSES,
            **SCREENED,
            "chunk": 16,
            "examples": 1,
            "record": {},
            **PROGRESS,
        },
    ),
    (PO.usual_steps, {"protocol": PULSES, "t1": 20.0, "dt": 0.1}),
    (PO.measure, {"trace": RECORDED, "discard": 10.0}),
    (PO.judge, {"measured": MEASURED, "rules": RULES}),
    (PO.Rules, {"min_beats": 1, "repolarises": True, "ranges": {"apd90": (1.0, 2.0)}}),
    (
        PO.Recipe,
        {
            "cell": K,
            "n": 4,
            "seed": 0,
            "distribution": PO.Uniform(0.2),
            "parameters": NAMES,
            "protocol": CLAMP,
            "t1": 500.0,
            "save_every": 1.0,
            "outputs": ["I_ion_total"],
            "dt": 0.1,
            "dtype": "float32",
            "rules": RULES,
            "screening_protocol": PULSES,
            "screening_t1": 5000.0,
            "screening_discard": 100.0,
        },
    ),
    (PO.make_dataset, {"folder": "nowhere/data", "recipe": RECIPE, "shard": 4, **PROGRESS}),
    (PO.problems, {"folder": "nowhere/data", **PROGRESS}),
    (RESPONSE.incidence, {"event": "ead", "level": 0.95}),
    # --- twin
    (TW.windows_of, {"protocol": CLAMP, "t1": 500.0, "dt": 0.1, "blank": 0.0, "growth": 1.07}),
    (TW.Experiment, {"protocol": CLAMP, "windows": WINDOWS, "cell": K, "names": tuple(NAMES)}),
    (
        TW.Recording,
        {
            "command": CLAMP,
            "current": np.zeros(5000),
            "dt": 0.1,
            "temperature": 310.0,
            "capacitance": 60.0,
            "name": "x",
        },
    ),
    (
        TW.build,
        {
            "recording": RECORDING,
            "check_recording": RECORDING,
            "spread": 0.2,
            "trained": TRAINED,
            "cells": 100,
            "starts": 4,
            "seed": 0,
            "cell": K,
            **PROGRESS,
        },
    ),
    (
        TW.fitted,
        {
            "experiment": EXPERIMENT,
            "observed": SEEN,
            "noise": NOISE,
            "trained": TRAINED,
            "spread": 0.2,
            "starts": 4,
            "seed": 0,
            **PROGRESS,
        },
    ),
    (
        TW.train,
        {
            "experiment": EXPERIMENT,
            "cells": 100,
            "spread": 0.2,
            "sigma": 0.05,
            "seed": 0,
            "build": TW.improved,
            "epochs": 40,
            "batch": 16,
            "rate": 1e-3,
            "patience": 3,
            "checkpoint": "x",
            **PROGRESS,
        },
    ),
    (
        TW.improved,
        {"observed": SEEN, "noise": NOISE, "parameters": 2, "unit": 0.1, "key": KEY, "components": 2, "width": 2},
    ),
    (
        TW.published,
        {"observed": SEEN, "noise": NOISE, "parameters": 2, "unit": 0.1, "key": KEY, "width": 2, "depth": 1},
    ),
    (
        TW.refine,
        {
            "experiment": EXPERIMENT,
            "observed": SEEN,
            "noise": NOISE,
            "starts": np.zeros((2, 1, 2)),
            "prior_mean": np.zeros(2),
            "prior_sd": np.full(2, 0.1),
            "anneal": True,
            **PROGRESS,
        },
    ),
    (
        TW.profile,
        {
            "experiment": EXPERIMENT,
            "observed": SEEN[0],
            "noise": NOISE,
            "posterior": POSTERIOR,
            "prior_mean": np.zeros(2),
            "prior_sd": np.full(2, 0.1),
            "cell": 0,
            "direction": 0,
            "at": (-1.0, 1.0),
        },
    ),
    (
        TW.recorded,
        {
            "theta": np.zeros(2),
            "protocol": CLAMP,
            "sigma": 0.05,
            "seed": 0,
            "temperature": 310.0,
            "t1": 500.0,
            "name": "x",
        },
    ),
    (TW.write_example, {"path": "nowhere/x.h5", "index": 0, "spread": 0.2, "sigma": 0.05, "seed": 1}),
    (
        TW.Rig,
        dict.fromkeys(("R_s", "C_cell", "C_set", "tau_filter"), 10.0)
        | dict.fromkeys(("g_leak", "alpha", "beta", "cancelled"), 0.1)
        | dict.fromkeys(("E_leak", "V_offset", "I_offset"), 0.0),
    ),
    (TW.RigExperiment, {"ideal": EXPERIMENT, "rig": TW.Rig(g_leak=1.0), "unknown": {"R_s": 0.1}, "spread": 0.2}),
    (
        TW.recorded_current,
        {"cell": K, "rig": RIG, "protocol": CLAMP, "times": np.arange(1.0, 5.0), "grid": np.linspace(0, 4, 9)},
    ),
    (TW.measured_noise, {"current": np.zeros(5000), "windows": WINDOWS}),
    (TW.capacitive_blank, {"rig": RIG, "step": 100.0, "level": 0.05}),
    (TW.around, {"twins": [K], "n": 3, "seed": 0, "spread": 0.2, "parameters": NAMES, "start": 0}),
    (
        TW.study,
        {
            "twins": [K],
            "drug": "E-4031",
            "doses": [0.0, 10.0],
            "n": 3,
            "seed": 0,
            "spread": 0.2,
            "parameters": NAMES,
            "temperature": 310.0,
            "dtype": "float32",
        },
    ),
    (
        TW.posterior_cells,
        {"cell": K, "names": NAMES, "mean": np.zeros(2), "covariance": 0.01 * np.eye(2), "n": 3, "seed": 0, "start": 0},
    ),
    (TW.posterior_response, {"draws": CELLS, "drug": "E-4031", "doses": [0.0, 10.0]}),
    (TW.simulated_twin, {"cell": K, **SCREENED}),
    (TW.compare, {"twin_cells": CELLS, "true_cells": CELLS, **SCREENED}),
    (TW.doubts_of, {"posterior": POSTERIOR, "cell": 0, "names": tuple(NAMES), "spread": 0.2, "checked": 1.0}),
    (DE.Space, {"levels": (-80.0, 0.0), "hold": -100.0, "step": 250.0, "length": 500.0, "probes": ((250.0, -120.0),)}),
    (DE.criterion, {"experiment": EXPERIMENT, "theta": THETA, "kind": "A", "sigma": 0.05, "spread": 0.2}),
    (DE.expected_covariance, {"experiment": EXPERIMENT, "theta": THETA, "sigma": 0.05, "spread": 0.2}),
    (DE.floor, {"spread": 0.2, "parameters": 52, "null_directions": 4}),
    (DE.random_steps, {"seed": 0, "space": DE.Space()}),
    (DE.to_operator_json, {"protocol": CLAMP, "dt": 0.1}),
    (DE.from_operator_json, {"text": DE.to_operator_json(CLAMP)}),
    (
        DE.design_by_information,
        {
            "theta": np.zeros((1, 52)),
            "space": DE.Space(),
            "step": DE.Space().one_step(),
            "criterion": "A",
            "sigma": 0.05,
            "spread": 0.2,
            **PROGRESS,
        },
    ),
    (
        DE.design_by_network,
        {
            "theta": np.zeros((1, 52)),
            "error": loss,
            "space": DE.Space(),
            "step": DE.Space().one_step(),
            "dtype": "float32",
            **PROGRESS,
        },
    ),
    (
        DE.refine_by_gradient,
        {
            "protocol": CLAMP,
            "theta": np.zeros((1, 52)),
            "step": DE.Space().one_step(),
            "iterations": 2,
            "rates": (4.0, 0.1),
            "range_mV": (-120.0, 50.0),
            "shortest": 20.0,
            "fixed": (0,),
            "criterion": "A",
            "sigma": 0.05,
            "spread": 0.2,
            **PROGRESS,
        },
    ),
    # --- hidden state
    (
        H.GatingNetwork,
        {"gates": ("m",), "ranges": {"V": (-1.0, 1.0)}, "step": 0.05, "width": 3, "activation": "tanh", "key": KEY},
    ),
    (H.GatingCell, {"features": 2, "gates": 2, "step": 0.05, "key": KEY}),
    (H.as_cell, {"network": NETWORK, "cell": TT}),
    (H.gate_curves, {"network": NETWORK, "cell": TT, "V": np.zeros(2)}),
    (H.first_pass, {"cell": TT, "steps": 100, "rate": 7e-3, "width": 48, "seed": 0, **PROGRESS}),
    (
        H.explain,
        {
            "cell": TT,
            "control": OBSERVED,
            "treatment": OBSERVED,
            "names": ["g_Kr"],
            "pull": 50.0,
            "alternatives": 3,
            **PROGRESS,
        },
    ),
    (H.retrain, {"cell": TT, "observations": OBSERVED, "names": ["g_Kr"], "reference": None, "pull": 50.0, **PROGRESS}),
    (H.currents_on_common_waveform, {"explanation": EXPLANATION, "cycle_length": 800.0}),
    (H.Sweep, {"cycle_length": 400.0, "V": V_CYCLES, "Ca_i": SWEEP.Ca_i, "dt": 1.0, "onset": 10.0, "name": "x"}),
    (H.Observations, {"sweeps": (SWEEP,), "name": "x"}),
    (
        H.simulated_observations,
        {
            "cell": TT,
            "cycle_lengths": [400.0],
            "duration": 1000.0,
            "dt": 1,
            "noise": (0.1, 1e-7),
            "seed": 0,
            "name": "x",
        },
    ),
    (H.paced_beats, {"cell": TT, "cycle_lengths": [400.0], "duration": 1000.0, "y0": TT.initial_state(), **PROGRESS}),
    (H.published_network, {"cell": TT, "data": PACED, "width": 3, "seed": 0}),
    (
        H.published_first_pass,
        {"cell": TT, "data": PACED, "epochs": 2, "batches": 2, "batch": 2, "rate": 1e-3, "seed": 0, **PROGRESS},
    ),
    (
        H.published_second_pass,
        {
            "network": TWO_PART,
            "cell": TT,
            "data": PACED,
            "eta": 1e-3,
            "epochs": 2,
            "batches": 2,
            "batch": 2,
            "rate": 1e-3,
            "seed": 0,
            **PROGRESS,
        },
    ),
    (H.load_network, {"path": "nowhere/x.net"}),
    (H.save_network, {"path": "nowhere/x.net", "network": NETWORK}),
    (TW.load_network, {"path": "nowhere/x.net"}),
    (TW.save_network, {"path": "nowhere/x.net", "trained": TRAINED}),
    (TW.has_check, {"path": "nowhere/x.h5", "group": "/"}),
    # --- tissue
    (TI.diffusivity_of, {"conductivity": 0.1, "chi": 140.0, "C_m": 1.0}),
    (TI.brief, {"cell": jc.models.TenTusscherPanfilov2006(), "keep": ["g_K1"]}),
    (TI.conductivity_of, {"diffusivity": 0.1, "chi": 140.0, "C_m": 1.0}),
    (TI.monodomain_conductivity, {"intracellular": 0.1, "extracellular": 0.1}),
    (
        TI.Tissue,
        {
            "cell": AP,
            "shape": (3, 4),
            "spacing": 0.1,
            "diffusivity": (0.2, 0.1),
            "fibres": 0.5,
            "mask": np.ones((3, 4), bool),
            "coupling": [None, None],
        },
    ),
    (TI.Stimulus, {"protocol": PULSES}),
    (
        TI.simulate,
        {
            "tissue": CABLE,
            "stimuli": [STIMULUS],
            "t1": 20.0,
            "t0": 0.0,
            "dt": 0.1,
            "save_every": 1.0,
            "outputs": ["u"],
            "solver": jc.RushLarsen(),
            "splitting": "strang",
            "diffusion": "explicit",
            "y0": AP.initial_state(),
            "threshold": 0.5,
            "beats": 2,
            **PROGRESS,
        },
    ),
    (TI.simulate, {"tissue": CABLE, "t1": 20.0, "save_at": [1.0, 2.0]}),
    (
        TI.record,
        {
            "folder": "nowhere/data",
            "tissue": CABLE,
            "stimuli": [STIMULUS],
            "t1": 20.0,
            "t0": 0.0,
            "part": 5.0,
            "save_every": 1.0,
            "dt": 0.1,
            "outputs": ["u"],
            "solver": jc.RushLarsen(),
            "splitting": "strang",
            "diffusion": "explicit",
            "y0": AP.initial_state(),
            "threshold": 0.5,
            "beats": 2,
            **PROGRESS,
        },
    ),
    (TI.open_record, {"folder": "nowhere/data", "cell": AP}),
    (TI.Run.load, {"path": "nowhere/run.h5"}),
    (
        TI.cost,
        {
            "tissue": CABLE,
            "stimuli": [STIMULUS],
            "dt": 0.1,
            "solver": jc.RushLarsen(),
            "splitting": "strang",
            "diffusion": "explicit",
            "y0": AP.initial_state(),
            "threshold": 0.5,
            "beats": 2,
            "steps": 10,
        },
    ),
    (TI.conduction_velocity, {"run": RUN, "start": (0, 0), "stop": (0, 5), "beat": 0}),
    (TI.velocity_map, {"run": RUN, "beat": 0}),
    (TI.apd_map, {"run": RUN, "beat": 0}),
    (
        TI.electrogram,
        {
            "run": RUN,
            "position": (1.0, 1.0, 2.0),
            "radius": 0.5,
            "sigma_e": 1.0,
            "chi": 140.0,
            "C_m": 1.0,
            "thickness": 1.0,
        },
    ),
    (TI.nearness, {"tissue": SQUARE, "position": (1.0, 1.0, 2.0), "radius": 0.5}),
    (TI.bipolar_electrogram, {"run": RUN, "position": (1.0, 1.0, 2.0), "reference": (1.0, 1.0, 3.0)}),
    (TI.phase_map, {"run": RUN, "delay": 2.0, "centre": 0.5}),
    (TI.phase_map, {"run": RUN, "second": "v"}),
    (TI.phase_singularities, {"run": RUN, "delay": 2.0, "centre": 0.5}),
    (TI.tip_paths, {"run": RUN, "second": "v", "centre": 0.5, "fastest": 1.0, "shortest": 0.0}),
    (TI.period, {"run": TWO, "since": 1.0}),
    (TI.dominant_frequency, {"run": RUN, "since": 0.0}),
    (
        TI.restitution,
        {
            "tissue": CABLE,
            "intervals": [30.0, 40.0],
            "cycle_length": 50.0,
            "amplitude": -1.0,
            "duration": 1.0,
            "beats": 2,
            "prepaced": 0,
            "start": (1,),
            "stop": (4,),
            "place": (3,),
        },
    ),
    (
        TI.dynamic_restitution,
        {
            "tissue": CABLE,
            "cycle_lengths": [40.0, 30.0],
            "amplitude": -1.0,
            "duration": 1.0,
            "beats": 3,
            "prepaced": 0,
            "start": (1,),
            "stop": (4,),
            "place": (3,),
        },
    ),
    (
        TI.conductivity_for,
        {
            "cell": AP,
            "cv": 0.6,
            "dx": 0.5,
            "y0": AP.initial_state(),
            "stimulus": PULSES,
            "threshold": 0.5,
            "length": 30.0,
            "dt": 0.02,
            "solver": jc.RushLarsen2(),
            "splitting": "strang",
            "diffusion": "explicit",
            "chi": 140.0,
            "C_m": 1.0,
        },
    ),
    (
        TI.fit_conductivity,
        {
            "tissue": CABLE,
            "stimuli": [STIMULUS],
            "activation_time": np.linspace(1.0, 6.0, 6),
            "regions": np.array([0, 0, 0, 1, 1, 1]),
            "t1": 20.0,
            "noise": 0.1,
            "y0": AP.initial_state(),
            "threshold": 0.5,
            "dt": 0.1,
            "solver": jc.RushLarsen2(),
            "splitting": "strang",
            "diffusion": "explicit",
            "most_runs": 5,
        },
    ),
    # --- sodium
    (
        SO.evaluate,
        {
            "hybrid": ATRIAL,
            "dt": 0.1,
            "solver": jc.RushLarsen(),
            "reference": ATRIAL,
            "beats": 2,
            "cycle_length": 1000.0,
            "experiments": ["clamps"],
            "intervals": [300.0, 400.0],
            "cable_intervals": [300.0],
            **PROGRESS,
        },
    ),
    (EVALUATED.row, {"name": "APD90", "experiment": "beats"}),
    (SO.load, {"name_or_path": "rates"}),
    (SO.save, {"path": "nowhere/gating.h5", "gating": ATRIAL.sodium}),
    (SO.voltage_clamps, {"gating": ATRIAL.sodium, "n": 5, "shortest": 0.1, "longest": 1.0, "seed": 0}),
    (SO.action_potentials, {"cell": ATRIAL}),
    (SO.semigroup_residual, {"gating": ATRIAL.sodium, "V": np.zeros(2), "dt": np.ones(2)}),
    (
        SO.time_domain_residual,
        {"gating": ATRIAL.sodium, "dt": np.ones(2), "V": np.zeros(2), "gates": np.zeros((3, 3))},
    ),
    (SO.chain_rule_residual, {"gates": GATES_OF_V, "gating": ATRIAL.sodium, "V": np.zeros(2), "slope": np.ones(2)}),
    (SO.published_losses, {"gating": ATRIAL.sodium, "V": np.zeros(2), "norms": "mean"}),
    (SO.published_curves, {"gating": ATRIAL.sodium, "V": np.zeros(2)}),
    (SO.gates_along, {"gating": ATRIAL.sodium, "trace": RECORDED}),
    (SO.published_beats, {"network": ATRIAL.sodium, "beats": 1, "dt": 0.1}),
    (SO.published_table, {"traces": {"exact rates": RECORDED}}),
    (SO.train_published, {"seed": 0, "steps": 100, "goal": 1e-4, "norms": "mean", **PROGRESS}),
    (SO.train_markov_flow, {"seed": 0, "steps": 1, "widths": (2,), **PROGRESS}),
    *[
        (train, {"seed": 0, "cell": ATRIAL, "widths": (2,), "rounds": ROUNDS, "checkpoint": "nowhere/a", **PROGRESS})
        for train in (SO.train_rates, SO.train_flow_map)
    ],
    *[(network, {"widths": (2,), "key": KEY}) for network in (SO.RateSurrogate, SO.FlowMap, SO.MarkovFlow)],
    (SO.PublishedPINN, {"width": 2, "blocks": 1, "scale": 100.0, "key": KEY}),
    (
        SO.RateTable,
        {
            "gating": ATRIAL.sodium,
            "dts": (0.1,),
            "kind": "linear",
            "spacing": 1.0,
            "lowest": -100.0,
            "highest": 50.0,
        },
    ),
    (jc.Multirate, {"slow": ["Na_i"], "substeps": 4}),
    (SUBSYSTEMS.voltage_gates, {"cell": ATRIAL}),
    (SUBSYSTEMS.exact_gates, {"cell": ATRIAL, "names": ["d"], "V": np.zeros(2)}),
    (SUBSYSTEMS.GateTable, {"cell": ATRIAL, "names": ["d"], "spacing": 1.0}),
    (SUBSYSTEMS.with_gates, {"cell": ATRIAL, "gates": TABULATED}),
    (SUBSYSTEMS.gate_errors, {"cell": ATRIAL, "gates": TABULATED}),
    (SUBSYSTEMS.in_single_precision, {"cell": ATRIAL, "names": ["d"]}),
    (SUBSYSTEMS.learned_gates, {"cell": ATRIAL, "gates": ["d"], "widths": (2,), "epochs": 1, "seed": 0}),
    (SUBSYSTEMS.fit_lumped, {"cell": ATRIAL, "cycle_lengths": (600.0,), "beats": 2}),
    (
        SUBSYSTEMS.fit_learned_calcium,
        {"cell": ATRIAL, "cycle_lengths": (600.0,), "beats": 2, "width": 2, "steps": 1, "seed": 0},
    ),
    # --- figures
    (SODIUM.gate_along_beat, {"found": EVALUATED, "gate": "m", "ax": AX}),
    (SODIUM.gate_of_potential, {"cells": {"exact": ATRIAL}, "gate": "m", "ax": AX}),
    (SODIUM.last_beat, {"found": EVALUATED, "ax": AX, "below": AX}),
    (SODIUM.apd_restitution, {"found": EVALUATED, "protocol": "S1-S2", "ax": AX}),
    (SODIUM.clamp, {"found": EVALUATED, "which": "recovery", "ax": AX}),
    (SODIUM.error_cost, {"rows": [{"way": "a", "dt": 0.1, "seconds_a_beat": 1.0, "rmse_mV": 0.1}], "ax": AX}),
    (SODIUM.evaluation, {"found": EVALUATED}),
    (TISSUES.activation_map, {"run": RUN, "ax": AX, "beat": 0, "isochrones": 1.0}),
    (TISSUES.frame, {"run": RUN, "time": 3.0, "ax": AX, "name": "v", "limits": (0.0, 1.0)}),
    (TISSUES.frames, {"run": RUN, "times": [3.0, 4.0], "name": "v"}),
    (TISSUES.space_time, {"run": ALONG, "ax": AX, "name": "u"}),
    (TISSUES.velocities, {"run": RUN, "ax": AX, "beat": 0, "every": 2}),
    (TISSUES.tip_paths, {"paths": [PATH], "ax": AX}),
    (TISSUES.electrograms, {"ts": np.arange(3.0), "phi": np.zeros(3), "ax": AX, "names": ["a"]}),
    (TISSUES.restitution, {"intervals": np.arange(3.0), "values": np.zeros(3), "ax": AX, "quantity": "APD"}),
    (
        TISSUES.animate,
        {
            "run": RUN,
            "path": "nowhere/run.gif",
            "name": "v",
            "every": 1,
            "rate": 20,
            "limits": (0.0, 1.0),
            "dpi": 90,
        },
    ),
    (PL.incidence, {"result": RESPONSE, "ax": AX, "events": ("ead",), "level": 0.95}),
    (PL.apd90_by_dose, {"result": RESPONSE, "ax": AX}),
    (PL.examples, {"result": RESPONSE, "ax": AX, "example": 0, "doses": [0]}),
    (PL.dose_response, {"result": RESPONSE}),
    (PL.population, {"trace": RECORDED, "ax": AX, "output": "V", "cells": 4}),
    (PL.batch, {"some": BATCH, "recipe": RECIPE, "ax": AX, "output": "I_ion_total", "cells": 1}),
    (PL.biomarker, {"found": SCREENING, "name": "apd90", "ax": AX}),
    (PL.reasons, {"found": SCREENING, "ax": AX}),
    (PL.screening, {"found": SCREENING}),
    (PL.potential, {"trace": RECORDED, "ax": AX, "cells": [0]}),
    (PL.currents, {"trace": RECORDED, "ax": AX}),
    (PL.action_potentials, {"trace": RECORDED, "beats": BEATS, "ax": AX, "cell": 0}),
    (PL.restitution, {"pairs": PAIRS, "ax": AX, "label": "x"}),
    (PL.protocol, {"applied": CLAMP, "t1": 500.0, "ax": AX}),
    (HIDDEN.gate_curves, {"curves": CURVES}),
    (HIDDEN.explanation, {"found": EXPLANATION}),
    # --- intracellular
    *intracellular.CALLS,
]


def nonsense(good: Any) -> list[Any]:
    """Values that are wrong wherever this one is right."""
    always: list[Any] = [1 + 2j, int, object(), len]
    if isinstance(good, bool):
        return ["yes", 5, 2.5, [True], 1 + 2j, object()]
    if isinstance(good, int):
        return [*always, "5", 2.5, np.nan, [[1]], {}, True, -1, np.zeros(0)]
    if isinstance(good, float):
        return [*always, "5", [["a"]], {}, True, np.nan, np.zeros((2, 2)), np.zeros(0), b"5"]
    if isinstance(good, str):
        return [*always, 5, ["a"], {}, b"a"]
    if isinstance(good, np.ndarray):
        return [
            *always,
            "abc",
            ["a", "b"],
            5.0 if good.ndim else "5",
            {},
            np.full(good.shape, "a"),
            np.zeros((1, 1, 1, 1)),
        ]
    if isinstance(good, list | tuple) and not hasattr(good, "_fields") and len(good) and isinstance(good[0], str):
        return [*always, good[0], [5], {}, 5, [], [*good, good[0]], ["no such name"], b"a"]
    if isinstance(good, list | tuple) and not hasattr(good, "_fields"):
        return [*always, "abc", ["a"], 5, {}, [None], [1j]]
    if isinstance(good, Mapping):
        return [*always, "abc", 5, ["a"], {5: "a"}]
    if callable(good):
        return [1 + 2j, object(), "abc", 5.0, {}, [5]]
    return [*always, "abc", 5.0, {}, [5], type(good), np.zeros(2)]


LEGAL: dict[tuple[str, str], tuple[Any, ...]] = {
    ("to_json", "protocol"): (None,),  # no protocol is one, and is written as null
    ("usual_steps", "protocol"): (None,),
    ("Recipe", "protocol"): (None,),
    ("study", "temperature"): (None,),  # leaves it as it is
    ("block", "drug"): ({},),  # no block at all
    ("hill_block", "concentration"): (np.zeros((2, 2)),),  # any shape
    ("incidence", "events"): ([[1]], []),  # any shape; a figure of nothing
    ("incidence", "n"): ([[1]],),
    ("dose_response", "record"): ({5: "a"},),  # is the caller's
    ("doubts_of", "names"): (["no such name"],),  # only repeated in words
    ("doubts_of", "checked"): (np.nan,),  # no check
    ("diffusivity_of", "conductivity"): (np.zeros((2, 2)), np.zeros(0)),  # any shape
    ("conductivity_of", "diffusivity"): (np.zeros((2, 2)), np.zeros(0)),
    ("Tissue", "shape"): (5,),  # a cable
    ("simulate", "stimuli"): (None,),  # none
    ("record", "stimuli"): (None,),
    ("brief", "keep"): ([],),
    ("cost", "stimuli"): (None,),
    ("electrograms", "names"): (["no such name"],),  # only drawn
    ("chain_rule_residual", "slope"): (5.0,),  # one for all
    ("Multirate", "slow"): (["no such name"], []),  # a solver by itself knows no cell
    ("GatingNetwork.__init__", "gates"): (["no such name"],),  # a network by itself knows no cell
    **intracellular.LEGAL,
}
"""What only looks wrong, of the nonsense for a function's argument."""
CALLED: dict[str, str] = {"written": "distribution", "unknown": "Rig has no parameter", "level": "level"}
"""What a message calls an argument, where that is not the argument's own name."""


def is_legal(function: Any, name: str, value: Any) -> bool:
    named = getattr(function, "__qualname__", "")
    if isinstance(function, type):
        named = f"{named}.__init__" if issubclass(function, H.GatingNetwork) else named
    legal = LEGAL.get((named.removeprefix("DoseResponse."), name), ())
    return any(type(x) is type(value) and np.array_equal(repr(x), repr(value)) for x in legal)


def optional(function: Any, name: str) -> bool:
    return inspect.signature(function).parameters[name].default is None


def cases():
    for number, (function, good) in enumerate(CALLS):
        for name in good:
            yield pytest.param(
                function, good, name, id=f"{number}-{getattr(function, '__qualname__', function)}-{name}"
            )


@pytest.mark.parametrize(("function", "good", "name"), list(cases()))
def test_a_wrong_argument_is_refused_by_name_in_one_line(function, good, name):
    wrong = nonsense(good[name]) + ([] if optional(function, name) else [None])
    for value in wrong:
        if is_legal(function, name, value):
            continue
        with pytest.raises(ValueError, match=r".") as refused:
            function(**(good | {name: value}))
        said = str(refused.value)
        assert type(refused.value) is ValueError and "\n" not in said and len(said) < 1000, said
        is_parameter = function is TW.Rig  # its converters know what the parameter is, not its name
        named = (name, CALLED.get(name, name), "no such name") + ("parameter ",) * is_parameter
        assert any(str(text) in said for text in named), (value, said)


PUBLIC = (jc, P, B, PH, PO, TW, DE, H, PL, TI, SO, SUBSYSTEMS, *intracellular.PUBLIC)
RESULTS = {
    "ConductivityFit",
    "Cost",
    "Record",
    "Run",
    "Singularities",
    "TipPath",
    "TunedConductivity",
    "Clamps",
    "MarkovTraining",
    "PublishedCurves",
    "PublishedFit",
    "PublishedLosses",
    "PublishedRow",
    "Training",
    "GateNetwork",
    "LearnedCalcium",
    "LumpedCalcium",
    "Relaxation",
    "RatesTerm",
    "RushLarsen",
    "RushLarsen2",
    "RushLarsenMidpoint",
    "Status",
    "Trace",
    "ActionPotentials",
    "Alternans",
    "Noise",
    "Positions",
    "Restitution",
    "Block",
    "Incidence",
    "Targets",
    "Batch",
    "DoseResponse",
    "Row",
    "Screening",
    "Reason",
    "Posterior",
    "Profile",
    "Trained",
    "Twin",
    "TwinStudy",
    "UncertainResponse",
    "Windows",
    "Design",
    "Alternative",
    "Evaluation",
    "Explanation",
    "FirstPass",
    "GateCurves",
    "GatedCell",
    "PacedBeats",
    "Retrained",
    "TwoPartNetwork",
    *intracellular.RESULTS,
}
"""Records that functions of ours return: users read them."""
OTHERS = {
    "use_cache": "a folder, by the system's own errors",
    "parameter": "for those who write models",
    "tune_for_one_cell": "takes nothing",
    "SteadySodiumGating": "a gating, as of `cell.replace`",
    "designed": "takes nothing",
    "iv_staircase": "takes nothing",
    "herg_staircase": "takes nothing",
    "member": "an index, as of an array",
    "Dataset": "a folder, by the reader",
    "house_style": "takes nothing",
    "figure": "what matplotlib takes",
    "empty_figure": "what matplotlib takes",
    **intracellular.OTHERS,
}


def test_every_public_function_is_in_the_table():
    tried = {getattr(f, "__name__", "") for f, _ in CALLS}
    for module in PUBLIC:
        names = getattr(module, "__all__", None) or [x for x in dir(module) if not x.startswith("_")]
        for name in names:
            x = getattr(module, name)
            ours = callable(x) and getattr(x, "__module__", "").startswith(module.__name__)
            is_error = isinstance(x, type) and issubclass(x, Exception)
            known = name in tried | RESULTS | OTHERS.keys() or name.startswith(("Abstract", "_")) or is_error
            assert not ours or known or inspect.ismodule(x), f"{module.__name__}.{name}"
