"""The beats of a recording: sweep by sweep, with standard errors and reasons beside the numbers.

Where the noise is more than rounding, the numbers are those of `recorded.Sweep`. Where it is not, or a width of
smoothing was given, they are those of the plain formulas, and what the two differ by is part of their error.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Float, Int

from .detection import Positions
from .gaps import filled
from .noise import Noise, describe
from .on_host import apd_of_one_cell, of_one_cell
from .reasons import Reason
from .recorded import Prepared, Sweep, positions_of, prepare
from .sampling import locate_stimuli
from .smoothing import smoothed

MEASURED = ("t_upstroke", "rmp", "peak", "apa", "dvdt_max", "cycle_length")
SAME_BEAT = 0.25
"""Two upstrokes within this share of the time between beats, found in two ways, are one."""


class Recorded(eqx.Module):
    """What is known of a recording beside its numbers. Arrays are (..., beats) unless said otherwise."""

    noise: Noise
    errors: dict[str, Float[np.ndarray, "... beats"]]
    """standard errors, by the name of the quantity; "apd" and the level for durations"""
    reasons: dict[str, Int[np.ndarray, "... beats"]]
    """`Reason` codes, by the same names, and "beat" for all of the beat"""
    widths: dict[str, Float[np.ndarray, "... beats"]]
    """ms of samples that went into the fit of "t_upstroke" and of "apd90"; NaN where the plain formulas were used"""
    missing: Int[np.ndarray, "..."]
    """samples that are no numbers, or whose times are missing"""
    ead_rise: Float[np.ndarray, "..."]
    """mV: the rise that counted as an early afterdepolarisation"""
    ead_unknown: Any
    """whether the noise hides early afterdepolarisations"""
    again: Callable[[float], tuple[np.ndarray, np.ndarray, np.ndarray]] = eqx.field(static=True)
    """APD at one more level: values, errors, reasons"""


def of_recording(ts, V, onsets, levels, threshold, limits, ead_given, max_beats, window, smoothing):
    """Fields of `ActionPotentials` for V (..., T), with their `Recorded`."""
    flat = V.reshape(-1, V.shape[-1])
    sweeps = [
        _OneSweep(ts, x, onsets, levels, threshold, limits, ead_given, max_beats, window, smoothing) for x in flat
    ]
    shape = V.shape[:-1]
    stacked = _Stacked(shape, max(len(s.fields["valid"]) for s in sweeps))

    def of(name, blank):
        return stacked([s.fields[name] for s in sweeps], blank)

    names = ("t_upstroke", "t_peak", "rmp", "peak", "sampled_dvdt_max", "cycle_length", "apds")
    flags = ("captured", "valid", "repolarised", "ead", "sampled_resolved")
    fields: dict[str, Any] = {n: of(n, np.nan) for n in names} | {n: of(n, False) for n in flags}
    T = V.shape[-1]
    fields["positions"] = Positions(
        *(stacked([s.fields["positions"][i] for s in sweeps], T) for i in range(len(Positions._fields)))
    )

    recorded = Recorded(
        noise=describe([s.prepared.spectrum for s in sweeps], [s.prepared.hum for s in sweeps], shape),
        errors={n: stacked([s.errors[n] for s in sweeps], np.nan) for n in sweeps[0].errors},
        reasons={n: stacked([s.reasons[n] for s in sweeps], Reason.NO_BEAT) for n in sweeps[0].reasons},
        widths={n: stacked([s.widths[n] for s in sweeps], np.nan) for n in sweeps[0].widths},
        missing=np.asarray([s.prepared.missing for s in sweeps], int).reshape(shape),
        ead_rise=np.asarray([s.ead_rise for s in sweeps], float).reshape(shape),
        ead_unknown=stacked([s.ead_unknown for s in sweeps], False),
        again=_Again(sweeps, stacked),
    )
    samples = np.stack([s.samples for s in sweeps]).reshape(V.shape)
    return fields, recorded, samples


class _Stacked(NamedTuple):
    """Arrays (beats,) of sweeps as one of `shape` and `rows`, blank where a sweep has fewer beats."""

    shape: tuple[int, ...]
    rows: int

    def __call__(self, each: Sequence[np.ndarray], blank: Any) -> np.ndarray:
        out = np.full((len(each), self.rows, *each[0].shape[1:]), blank, each[0].dtype)
        for row, x in zip(out, each, strict=True):
            row[: len(x)] = x
        return out.reshape(*self.shape, *out.shape[1:])


class _Again:
    """`Recorded.again`; a class and no closure, so that beats can be pickled."""

    def __init__(self, sweeps: list["_OneSweep"], stacked: _Stacked):
        self.sweeps, self.stacked = sweeps, stacked

    def __call__(self, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        apd, error, reason = zip(*(s.apd(level) for s in self.sweeps), strict=True)
        return self.stacked(apd, np.nan), self.stacked(error, np.nan), self.stacked(reason, Reason.NO_BEAT)


class _OneSweep:
    """One sweep in both ways, and what is said of it."""

    def __init__(self, ts, V, onsets, levels, threshold, limits, ead_given, max_beats, window, smoothing):
        self.dtype = V.dtype
        self.prepared: Prepared = prepare(ts, V)
        self.sweep = Sweep(self.prepared, onsets, threshold, limits, ead_given, max_beats)
        self.ts, self.levels = ts, levels
        self.plain = smoothing is not None or not (self.prepared.noisy or self.sweep.drifts)
        self.samples = filled(np.where(np.isfinite(V), V, np.nan)).astype(V.dtype)
        if smoothing is not None:
            self.samples = smoothed(ts, self.samples, float(smoothing))
        if self.plain:
            self._plainly(onsets, threshold, limits, max_beats, window)
        else:
            self._noisily()
        self._reasons()

    def apd(self, level: float):
        """APD, its error and the reason where it is NaN, (beats,)."""
        apd, error, reason = (x[self.row] if self.plain else x for x in self.sweep.apd(level))
        if self.plain:
            value = apd_of_one_cell(self.ts, self.samples, self.fields["positions"], self.fields["valid"], level)
            apd, error, reason = _compared(value, apd, error, np.where(self.matched, reason, Reason.KNOWN))
        valid = self.fields["valid"]
        apd, error = (np.where(valid, x, np.nan).astype(self.dtype) for x in (apd, error))
        unrepolarised = valid & np.isnan(apd) & (reason == Reason.KNOWN)
        return apd, error, np.where(unrepolarised, Reason.NOT_REPOLARISED, reason).astype(np.int8)

    def _noisily(self):
        sweep, clock = self.sweep, self.prepared.clock
        valid = sweep.valid
        found = {n: np.where(valid, x, np.nan) for n, x in sweep.found.items()}
        self.errors = {n: np.where(valid, x, np.nan).astype(self.dtype) for n, x in sweep.error.items()}
        self.reasons = dict(sweep.why)
        self.fields: dict[str, Any] = {
            "t_upstroke": clock.start + found["t_upstroke"],
            "t_peak": clock.start + found["t_peak"],
            "sampled_dvdt_max": found["dvdt_max"].astype(self.dtype),
            "positions": positions_of(sweep, self.ts.size),
            "captured": sweep.captured,
            "valid": valid,
            "repolarised": sweep.repolarised,
            "ead": sweep.ead,
            "sampled_resolved": sweep.resolved,
        } | {n: found[n].astype(self.dtype) for n in ("rmp", "peak", "cycle_length")}
        self._durations()
        self.ead_rise, self.ead_unknown = sweep.ead_rise, sweep.ead_unknown
        self.widths = {
            n: np.array([np.nan if b is None else 2 * b.rise.half * clock.dt for b in sweep.beats])
            for n in ("t_upstroke",)
        } | {"apd90": sweep.fall_widths(90.0)}

    def _plainly(self, onsets, threshold, limits, max_beats, window):
        ts, V, sweep = self.ts, self.samples, self.sweep
        stimuli = None if onsets is None else locate_stimuli(ts, onsets)
        fields = of_one_cell(ts, V, stimuli, threshold, limits, max_beats, window, self.levels)
        into, at = fields.pop("into"), fields["positions"]
        last = len(ts) - 1
        fields["t_upstroke"] = ts[np.minimum(at.upstroke, last)] + into
        fields["t_peak"] = np.where(np.isnan(into), np.nan, ts[np.minimum(at.peak, last)])
        self.fields = fields
        self.row, self.matched = _same_beats(fields["t_upstroke"], sweep.rises_at + self.prepared.clock.start)
        self.errors, self.reasons = {}, {}
        for name in MEASURED:
            mine = {"apa": fields["peak"] - fields["rmp"], "dvdt_max": fields["sampled_dvdt_max"]}.get(name)
            mine = fields[name] if mine is None else mine
            theirs = sweep.found[name][self.row] + (self.prepared.clock.start if name == "t_upstroke" else 0.0)
            reason = np.where(self.matched, sweep.why[name][self.row], Reason.KNOWN)
            value, error, reason = _compared(mine, theirs, sweep.error[name][self.row], reason)
            if name not in ("apa",):
                fields["sampled_dvdt_max" if name == "dvdt_max" else name] = value
            self.errors[name], self.reasons[name] = error.astype(self.dtype), reason
        lost = self.reasons["t_upstroke"] == Reason.GAP
        fields["valid"] = fields["valid"] & ~lost
        for name in ("repolarised", "ead", "sampled_resolved"):
            fields[name] = fields[name] & fields["valid"]
        for name in ("rmp", "peak", "sampled_dvdt_max", "cycle_length"):
            fields[name] = np.where(fields["valid"], fields[name], np.nan)
        self._durations()
        self.ead_rise, self.ead_unknown = limits["ead_rise"], np.zeros(len(lost), bool)
        self.widths = {n: np.full(len(lost), np.nan) for n in ("t_upstroke", "apd90")}

    def _durations(self):
        each = [self.apd(level) for level in self.levels]
        self.fields["apds"] = np.stack([x[0] for x in each], axis=-1)
        for level, (_, error, reason) in zip(self.levels, each, strict=True):
            self.errors[f"apd{level:g}"], self.reasons[f"apd{level:g}"] = error, reason

    def _number(self, name: str) -> np.ndarray:
        fields = self.fields
        if name == "apa":
            return fields["peak"] - fields["rmp"]
        if name.startswith("apd"):
            return fields["apds"][:, self.levels.index(float(name[3:]))]
        return fields["sampled_dvdt_max" if name == "dvdt_max" else name]

    def _else(self, name: str) -> Reason:
        """Why a number is not known of which nothing was said."""
        if name == "cycle_length":
            return Reason.FIRST
        if name.startswith("apd"):
            return Reason.NOT_REPOLARISED
        return Reason.GAP if self.prepared.missing else Reason.TOO_NOISY

    def _reasons(self):
        """Of each beat as a whole: why it is not valid, else the first reason why one of its numbers is not known."""
        fields = self.fields
        captured, valid = np.asarray(fields["captured"]), np.asarray(fields["valid"])
        whole = np.zeros(len(valid), np.int8)
        if not captured.any() and not self.sweep.paced:
            missing = not np.isfinite(self.prepared.raw).any()
            whole[:] = Reason.NO_BEAT
            whole[0] = Reason.GAP if missing else Reason.NO_RISE
        else:
            whole[~captured] = Reason.NOT_CAPTURED if self.sweep.paced else Reason.NO_BEAT
        cut = captured & ~valid
        first = np.arange(len(valid)) == int(np.argmax(captured))
        unrested = first & ~self.sweep.spans.whole[: len(valid)][0] if len(valid) else first
        upstroke = self.reasons["t_upstroke"]
        whole[cut] = np.where(
            upstroke[cut] == Reason.GAP,
            Reason.GAP,
            np.where(unrested[cut], Reason.CUT_BY_BEGINNING, Reason.CUT_BY_END),
        )
        for name, codes in self.reasons.items():
            # A number that is there needs no reason, and one that is not has one.
            number = self._number(name)
            codes = np.where(np.isfinite(number), Reason.KNOWN, np.where(codes > 0, codes, self._else(name)))
            self.reasons[name] = np.where(whole > 0, whole, codes).astype(np.int8)
        for codes in list(self.reasons.values()):
            whole = np.where((whole == 0) & (codes != Reason.FIRST), codes, whole)
        self.reasons["beat"] = whole.astype(np.int8)


def _same_beats(mine: np.ndarray, theirs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of my upstrokes the row of theirs that is nearest, and whether it is the same beat."""
    if not np.isfinite(theirs).any():
        return np.zeros(len(mine), int), np.zeros(len(mine), bool)
    apart = abs(mine[:, None] - theirs[None])
    row = np.where(np.isnan(apart), np.inf, apart).argmin(axis=1)
    known = mine[np.isfinite(mine)]
    between = float(np.min(np.diff(known))) if known.size > 1 else np.inf
    return row, apart[np.arange(len(mine)), row] < SAME_BEAT * between


def _compared(mine, theirs, error, reason):
    """My numbers, unless a gap or a limit hides them; with the others' error and what the two differ by."""
    hidden = (reason == Reason.GAP) | (reason == Reason.CLIPPED)
    value = np.where(hidden, np.nan, mine)
    reason = np.where(hidden | (reason == Reason.FIRST), reason, Reason.KNOWN)
    return value, np.hypot(error, value - theirs), reason
