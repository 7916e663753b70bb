"""One good call of every public function of jaxcardio.intracellular, for `test_refusals`. Nothing runs for long."""

import dataclasses
import importlib
from functools import partial
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure
from simple_pairs import simple_pairs

import jaxcardio as jc
from jaxcardio.intracellular import monitoring as results

I = jc.intracellular
FE, BA, EL, LO, RE, UN = I.features, I.baseline, I.electrode, I.losses, I.recording, I.unet
CO = importlib.import_module("jaxcardio.intracellular.conduction")
ST = importlib.import_module("jaxcardio.intracellular.statistics")
RA = importlib.import_module("jaxcardio.intracellular.ranges")
FIGURES = importlib.import_module("jaxcardio.plot.intracellular")
PUBLIC = (I, FE, BA, EL, LO, RE, UN, FIGURES)

KEY = jax.random.key(0)
AX = Figure().subplots()
SAMPLES, RATE = 500, 1000.0
NET = I.PIAUNet(channels=1, depth=1, kernel=1, levels=2, samples=SAMPLES, physics_width=1, key=KEY)
NETWORK = I.Network(NET, RATE)
PAIRS = simple_pairs(10, 1, samples=SAMPLES)
EAP = np.asarray(PAIRS.eap[:2], np.float64)
IAP = np.asarray(PAIRS.iap[:2], np.float64)
CHANNELS = ["A", "B"]
SIGNAL = np.random.default_rng(0).normal(0, 0.01, (2, 2000))
POSITIONS = np.array([[0.0, 0.0], [200.0, 0.0]])
LIMITS = np.array([[-10.0, 10.0]] * 2)
EVENT = I.Event(500.0, "drug", "dofetilide", 10.0)
RECORDING = I.Recording.from_samples(SIGNAL, 1000.0, channels=CHANNELS, positions=POSITIONS, events=[EVENT])
PHYSICS = UN.Physics(*np.full((3, 2), 0.2))
PREDICTION = UN.Prediction(IAP, IAP, IAP, PHYSICS)
TABLE = BA.BeatTable(np.ones((4, len(BA.FEATURES))), np.ones((4, len(FE.LEVELS))), np.array(["a", "a", "b", "b"]))
RECIPE = BA.CORE_RECIPES[0]
TRACE = np.zeros((2, 50))
SEAL, NOISE, OPENED = EL.Seal(), EL.Noise(), EL.Electroporation()
ELECTRODE = EL.Channel(SEAL, NOISE, OPENED)
UNIT = np.zeros((4, 50), np.float32)


def fitted(table: Any) -> Any:
    return BA.mean_durations(table)


def mean(eap: Any) -> Any:
    return eap


def found_beats() -> Any:
    """Two channels, the second one without beats."""
    times = np.array([[500.0, 1600.0], [np.nan, np.nan]])
    there = np.isfinite(times)
    traces = np.where(there[..., None], 0.5, np.nan).astype(np.float32) * np.ones(1600, np.float32)
    durations = np.where(there[..., None], np.linspace(100.0, 400.0, 10), np.nan)
    return I.ReconstructedBeats(
        ("A", "B"), ("extracellular",) * 2, times, traces, traces, traces, RATE,
        UN.Estimate(durations, durations, durations), np.where(there, 40.0, np.nan), np.zeros((2, 2), bool),
        (I.Dropped("B", None, I.Reason.FLAT),), "{}",
    )  # fmt: skip


def monitored() -> Any:
    """The same two channels, with one addition that changed nothing."""
    beats = found_beats()
    nothing, none = np.full((2, 10), np.nan), np.zeros(2, int)
    no_mean = np.full(10, np.nan)
    test = results.Test(no_mean, no_mean, no_mean, no_mean, no_mean, no_mean, np.zeros(10, int), nothing)
    period = results.Period(EVENT, (0.0, 500.0), (500.0, 2000.0))
    effect = results.Effect(
        period, UN.Estimate(*[nothing] * 3), none, none, nothing, test, test, {"tangent": nothing[:, 0]}
    )
    rhythm = results.Rhythm(FE.beat_rate_variability([500.0, 1600.0]), np.zeros((0, 2)))
    return I.Monitoring(
        channels=beats.channels, kinds=beats.kinds, times=beats.times, durations=beats.durations,
        field_potentials={"tangent": beats.times}, early=beats.unfamiliar, unfamiliar=beats.unfamiliar,
        effects=(effect,), examples=(), rhythm=(rhythm, rhythm), conduction=None, events=(EVENT,), dropped=(),
        sampling_rate=RATE, begin=0.0, end=2000.0, about="{}",
    )  # fmt: skip


BEATS, MONITORING = found_beats(), monitored()
RANGE = RA.Range("delay_s", (0.4, 0.9), (0.3, 0.5, 0.8), None)
RANGES = RA.Ranges((RANGE,), (RANGE,), 1.0)
EVALUATION = I.Evaluation(())
PROGRESS = {"progress": False}
MADE: dict[str, Any] = {"seed": 0, "device": "nea", **PROGRESS}
CALLS: list[tuple[Any, Any]] = [
    # --- recordings
    (
        I.Recording.from_samples,
        {
            "values": SIGNAL,
            "sampling_rate": 1000.0,
            "channels": CHANNELS,
            "kinds": ["extracellular", "intracellular"],
            "partners": [1, -1],
            "positions": POSITIONS,
            "limits": LIMITS,
            "start": 0.0,
            "events": [EVENT],
        },
    ),
    (
        I.Recording.load,
        {"path": "nowhere/x.h5", "stream": "Electrode", "recording": 0, "unit": "mV", "sampling_rate": 1000.0},
    ),
    (RECORDING.read, {"first": 0, "last": 10, "channels": [0]}),
    (RECORDING.times, {"first": 0, "last": 10}),
    (RECORDING.save, {"path": "nowhere/x.h5"}),
    (
        I.RecordingWriter,
        {
            "path": "nowhere/x.h5",
            "sampling_rate": 1000.0,
            "channels": CHANNELS,
            "events": [EVENT],
            "notes": ["a note"],
            "start": 0.0,
            "n_samples": 10,
        },
    ),
    (
        partial(I.RecordingWriter, "nowhere/x.h5", 1000.0, CHANNELS),
        {
            "kinds": ["extracellular", "intracellular"],
            "partners": [1, -1],
            "positions": POSITIONS,
            "limits": LIMITS,
            "encoding": "int16",
        },
    ),
    (I.RecordingWriter("nowhere/x.h5", 1000.0, CHANNELS).append, {"values": SIGNAL}),
    # --- signals
    (I.bandpass, {"values": SIGNAL, "sampling_rate": 1000.0, "low": 1.0, "high": 100.0, "order": 3}),
    (I.highpass, {"values": SIGNAL, "sampling_rate": 1000.0, "low": 1.0, "order": 3}),
    (I.lowpass, {"values": SIGNAL, "sampling_rate": 1000.0, "high": 100.0, "order": 3}),
    (I.notch, {"values": SIGNAL, "sampling_rate": 1000.0, "mains": 50.0, "harmonics": 3}),
    (I.resample, {"values": SIGNAL, "from_rate": 1000.0, "to_rate": 500.0}),
    (I.normalise_eap, {"values": EAP, "noise": 0.01}),
    (I.normalise_iap, {"values": IAP}),
    (I.find_beats, {"recording": RECORDING, "channels": [0], "threshold": 12.0, "chunk": 30_000.0, **PROGRESS}),
    (
        I.cut_windows,
        {
            "recording": RECORDING,
            "channel": 0,
            "samples": [500],
            "sampling_rate": 1000.0,
            "next_samples": [1500],
            "mains": 50.0,
        },
    ),
    (I.explain, {"reason": 1}),
    # --- features
    *[
        (of, {"iap": IAP, "sampling_rate": RATE, "levels": (50.0, 90.0)})
        for of in (FE.action_potential_durations, FE.repolarisation_heights)
    ],
    (FE.durations_at, {"iap": IAP, "sampling_rate": RATE, "values": np.full((2, 1), 0.5)}),
    (FE.eap_features, {"eap": EAP, "sampling_rate": RATE, "before": 200.0, "noise": 0.01}),
    (FE.as_table, {"features": FE.EapFeatures(*np.zeros((17, 2)))}),
    (
        FE.field_potential_duration,
        {"eap": EAP, "sampling_rate": RATE, "method": "tangent", "before": 200.0, "noise": 0.01},
    ),
    (FE.early_afterdepolarisations, {"iap": IAP, "sampling_rate": RATE, "prominence": 0.05}),
    (FE.rate_corrected, {"duration": 400.0, "cycle_length": 1000.0, "formula": "bazett"}),
    (FE.beat_rate_variability, {"times": [0.0, 1000.0]}),
    (FE.quiescences, {"times": [0.0, 1000.0], "begin": 0.0, "end": 2000.0, "factor": 3.0, "cycle_length": 1000.0}),
    # --- electrodes
    *[(of, {"x": TRACE, "time_constant": 1.0, "dt": 0.1}) for of in (EL.high_pass, EL.low_pass)],
    (EL.Seal, {"resistance": 100.0, "area": 6.0, "kappa": 0.4, "conductance": 0.005}),
    (EL.Noise, dict.fromkeys(("white", "pink", "mains", "drift"), 0.1)),
    (EL.Electroporation, {"access": 0.1, "resealing": 1e6, "blind": 200.0}),
    (
        EL.Channel,
        {"seal": SEAL, "noise": NOISE, "electroporation": OPENED, "high_pass": 1e3, "low_pass": 1.5, "gain": 1.0},
    ),
    (
        EL.Device,
        {"name": "mine", "sampling_rate": 5000.0, "limit": 20.0, "ranges": dict(EL.DEVICES["nea"].ranges)},
    ),
    (EL.DEVICES["nea"].channel, {"draw": np.random.default_rng(0)}),
    (EL.NoiseSource, {"seed": (0, 1), "sampling_rate": 5000.0, "mains": 50.0}),
    (EL.NoiseSource((0,), 5000.0).next, {"n": 5}),
    (SEAL.__call__, {"V": TRACE, "inflow": TRACE, "dt": 0.1}),
    (NOISE.__call__, {"unit": UNIT}),
    (OPENED.share, {"since_pulse": 5.0}),
    (ELECTRODE.__call__, {"V": TRACE, "inflow": TRACE, "dt": 0.1}),
    (ELECTRODE.amplified, {"v": TRACE, "dt": 0.1}),
    (EL.device_named, {"device": "nea"}),
    (
        EL.field_potential,
        {"inflow": TRACE, "distances": np.array([10.0, 20.0]), "capacitance": 60.0, "conductivity": 1.0},
    ),
    # --- pairs
    (I.Pairs, {f.name: getattr(PAIRS, f.name) for f in dataclasses.fields(I.Pairs)}),
    (PAIRS.save, {"path": "nowhere/x.h5"}),
    (I.Pairs.load, {"path": "nowhere/x.h5"}),
    (I.joined, {"several": [PAIRS]}),
    (I.split, {"pairs": PAIRS, "by": "cell", "fractions": (0.5, 0.5), "seed": 0}),
    (
        I.synthesize_pairs,
        {"n_preparations": 1, "drugs": ["none"], "sampling_rate": 1000.0, "beats": 1, "chunk": 1, **MADE},
    ),
    (
        I.synthesize_recording,
        {
            "path": "nowhere/x.h5",
            "channels": 2,
            "duration": 5000.0,
            "drug": "none",
            "concentration": 10.0,
            "added_at": 2000.0,
            "paired": True,
            "dead": [0],
            "electroporated_at": 100.0,
            "cycle_length": 1000.0,
            "chunk": 1000.0,
            **MADE,
        },
    ),
    (I.ranges, {"pairs": PAIRS, "recorded": "nowhere/x.csv"}),
    (I.pairs_of, {"recording": RECORDING, "sampling_rate": 1000.0, "device": "mine"}),
    # --- the network
    (
        I.PIAUNet,
        {
            "channels": 1,
            "depth": 1,
            "kernel": 1,
            "levels": 2,
            "samples": 5,
            "quantiles": "none",
            "physics_width": 1,
            "key": KEY,
        },
    ),
    *[(of, {"key": KEY, "quantiles": "none"}) for of in (I.PIAUNet.small, I.PIAUNet.full)],
    (NET.__call__, {"eap": EAP}),
    (NET.train_call, {"eap": EAP}),
    (I.Network, {"unet": NET, "sampling_rate": RATE, "corrections": NETWORK.corrections, "about": {"seed": 0}}),
    (NETWORK.__call__, {"eap": EAP}),
    (NETWORK.uncorrected, {"eap": EAP}),
    (NETWORK.apd, {"prediction": PREDICTION, "levels": (50, 90)}),
    (NETWORK.band, {"prediction": PREDICTION, "levels": (50, 90)}),
    (NETWORK.unfamiliar, {"eap": EAP, "signal_to_noise": np.ones(2)}),
    (I.save_network, {"path": "nowhere/x.h5", "network": NETWORK}),
    (I.load_network, {"name_or_path": "nowhere/x.h5"}),
    (
        I.train,
        {
            "pairs": PAIRS,
            "validation": PAIRS,
            "net": NET,
            "epochs": 1,
            "batch": 1,
            "rate": 1e-3,
            "schedule": "constant",
            "alpha": 10.0,
            "beta": 0.01,
            "solver_weight": 0.0,
            "louder": 1.0,
            "seed": 0,
            "checkpoint": "nowhere/x",
            "precision": "float32",
            **PROGRESS,
        },
    ),
    (I.fit, {"pairs": PAIRS, "fractions": (0.4, 0.3, 0.3), "seed": 0, "checkpoint": "nowhere/x", **PROGRESS}),
    (I.calibrate, {"network": NETWORK, "pairs": PAIRS, "coverage": 0.9}),
    (I.coverage, {"network": NETWORK, "pairs": PAIRS}),
    (I.evaluate, {"network": NETWORK, "sets": {"a": PAIRS}, "mean": mean, "others": {"eap": mean}}),
    (EVALUATION.save, {"path": "nowhere/x.json"}),
    # --- losses
    (LO.mean_absolute_error, {"actual": IAP, "predicted": IAP}),
    (LO.pinball, {"actual": IAP, "predicted": IAP, "q": 0.5}),
    (LO.potential, {"iap": IAP}),
    (LO.derivatives, {"v": IAP, "sampling_rate": RATE}),
    (LO.recovery_rate, {"v": IAP, "a": np.full(2, 0.1), "x": np.full(2, 0.1)}),
    (LO.aliev_panfilov_residual, {"v": IAP, "physics": PHYSICS, "sampling_rate": RATE}),
    *[(of, {"iap": IAP, "physics": PHYSICS, "sampling_rate": RATE}) for of in (LO.physics_loss, LO.solver_loss)],
    (LO.simulated, {"physics": PHYSICS, "start": np.full(2, 0.5), "samples": 10, "sampling_rate": RATE}),
    (
        LO.total_loss,
        {
            "actual": IAP,
            "predicted": PREDICTION,
            "sampling_rate": RATE,
            "alpha": 10.0,
            "beta": 0.01,
            "solver_weight": 0.0,
        },
    ),
    # --- simpler ways
    *[(of, {"pairs": PAIRS}) for of in (BA.table_of, BA.mean_predictor, BA.eap_as_prediction)],
    (BA.component_ridge, {"pairs": PAIRS, "validation": PAIRS, "seed": 0}),
    (BA.feature_baseline, {"train_pairs": PAIRS, "test_pairs": PAIRS, "recipes": [RECIPE], "seed": 0}),
    (BA.fit_durations, {"pairs": PAIRS, "recipes": [RECIPE], "seed": 0}),
    (BA.fit_chosen, {"table": TABLE, "recipes": [RECIPE], "seed": 0}),
    (BA.fit_recipe, {"recipe": RECIPE, "table": TABLE, "seed": 0}),
    (BA.RecipeModel, {"recipe": RECIPE, "table": TABLE, "seed": 0}),
    (BA.mean_durations, {"table": TABLE}),
    (BA.leave_one_group_out, {"table": TABLE, "fit": fitted}),
    (BA.read_beats, {"path": "nowhere/x.csv"}),
    (BA.explain, {"table": TABLE, "seed": 0}),
    (BA.PublishedTrees, {"table": TABLE, "seed": 0}),
    (TABLE.column, {"name": "delay"}),
    # --- recordings, reconstructed
    (
        I.reconstruct,
        {
            "recording": RECORDING,
            "network": NETWORK,
            "channels": ["A"],
            "begin": 0.0,
            "end": 1000.0,
            "chunk": 30_000.0,
            **PROGRESS,
        },
    ),
    (
        I.monitor,
        {
            "recording": RECORDING,
            "network": NETWORK,
            "channels": ["A"],
            "every": 1,
            "wash_in": 1000.0,
            "span": 1000.0,
            "chunk": 30_000.0,
            **PROGRESS,
        },
    ),
    *[(of.apd, {"level": 90}) for of in (BEATS, MONITORING)],
    *[(of.save, {"path": "nowhere/x.h5"}) for of in (BEATS, MONITORING)],
    *[(of.load, {"path": "nowhere/x.h5"}) for of in (I.ReconstructedBeats, I.Monitoring)],
    (MONITORING.save_table, {"path": "nowhere/x.csv"}),
    (MONITORING.rows, {"levels": (50, 90)}),
    (I.conduction, {"positions": POSITIONS, "activations": np.zeros(2), "resolution": 0.1, "method": "plane"}),
    (CO.matched_beats, {"times": [[0.0, 1000.0]], "window": 100.0}),
    (
        I.drug_effect,
        {
            "before": np.ones((2, 3)),
            "after": np.ones((2, 3)),
            "vehicle": (np.ones((2, 3)), np.ones((2, 3))),
            "same_channels": True,
            "alternative": "greater",
            "correction": "holm",
            "confidence": 0.95,
        },
    ),
    (ST.corrected, {"p": np.array([0.1]), "correction": "holm"}),
    # --- figures
    (FIGURES.beat, {"beats": BEATS, "channel": "A", "index": 0, "ax": AX, "above": AX, "eap": np.zeros(1600)}),
    (FIGURES.beats_of_channels, {"beats": BEATS, "most": 1}),
    (FIGURES.apd_over_time, {"monitoring": MONITORING, "channel": "A", "levels": (50, 90), "ax": AX}),
    (FIGURES.drug_changes, {"monitoring": MONITORING, "effect": 0, "ax": AX, "unit": "ms", "levels": (50, 90)}),
    (FIGURES.conduction_map, {"positions": POSITIONS, "times": np.zeros(2), "ax": AX, "names": CHANNELS}),
    (FIGURES.beside_field_potentials, {"monitoring": MONITORING, "effect": 0, "ax": AX, "level": 90}),
    (FIGURES.features, {"eap": EAP, "sampling_rate": RATE, "ax": AX, "before": 200.0, "unit": "mV"}),
    (FIGURES.predicted_against_actual, {"network": NETWORK, "pairs": PAIRS, "ax": AX}),
    (FIGURES.ranges, {"found": RANGES, "axes": [AX, AX]}),
    (FIGURES.overview, {"monitoring": MONITORING, "channel": "A", "positions": POSITIONS}),
]
ANY_SHAPE = (np.zeros((1, 1, 1, 1)),)
LEGAL: dict[tuple[str, str], tuple[Any, ...]] = {
    ("Recording.load", "stream"): (5,),  # a number is one, too
    ("Recording.load", "recording"): ("5",),
    ("RecordingWriter", "channels"): (["no such name"],),
    ("RecordingWriter", "notes"): ([], ["a note", "a note"], ["no such name"]),  # only kept
    ("resample", "values"): ANY_SHAPE,
    ("normalise_eap", "values"): ANY_SHAPE,
    ("normalise_iap", "values"): ANY_SHAPE,
    ("high_pass", "x"): ANY_SHAPE,
    ("low_pass", "x"): ANY_SHAPE,
    ("Channel.amplified", "v"): ANY_SHAPE,
    ("Electroporation.share", "since_pulse"): (np.nan, np.zeros((2, 2))),
    ("eap_features", "noise"): (np.nan,),  # not known: it is estimated
    ("field_potential_duration", "noise"): (np.nan,),
    ("rate_corrected", "duration"): (np.nan, np.zeros((2, 2))),  # not measured
    ("rate_corrected", "cycle_length"): (np.nan,),
    ("Pairs", "drug"): (np.full(10, "a"),),  # texts are right
    ("Pairs", "device"): (np.full(10, "a"),),
}
"""What only looks wrong, as in `test_refusals`."""
RESULTS = {
    *("Dropped", "Evaluation", "Score", "Event", "Block", "Fit", "Beats", "Conduction", "Monitoring"),
    *("ReconstructedBeats", "EapFeatures", "FieldPotential", "FieldVerdict", "Variability"),
    *("DurationErrors", "DurationModel", "ChosenModel", "ComponentRidge", "Explanation", "GroupErrors", "BeatTable"),
    *("Recipe", "Estimate", "Physics", "Prediction"),
}
"""Records that functions of ours return, or take apart: what a wrong one of them is refused for is a case above."""
OTHERS = {"count": "of any tree", "is_weight": "of a network or the shapes of one"}
