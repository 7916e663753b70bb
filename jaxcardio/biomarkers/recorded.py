"""One recorded sweep: the noise estimated, the beats found in spite of it, every number with its standard error."""

from typing import NamedTuple

import numpy as np

from .detection import REST_QUANTILE, Positions, beat_spans, find_rises, levels_of
from .gaps import Clipped, Clock, clipped, clock_of, filled, flat_runs, on_clock, runs_of
from .hum import NO_HUM, Hum, find_hum
from .landmarks import NOWHERE, Landmark, before, box, fall_through, highest, lowest, quiet_half, steepest_rise
from .local import Signal, covariance, variance
from .measurement import potential_at, previous_marked
from .noise import NEGLIGIBLE, Spectrum, estimate
from .reasons import Reason
from .sampling import REST_SAMPLES, locate_stimuli

DETECTOR_NOISE = 0.02
"""The detector sees means over so many samples that their noise is at most this share of the range of V; `LONGEST`."""
LONGEST = 20.0
"""ms"""
EAD_WIDTH = 20.0
"""ms: afterdepolarisations are looked for in means over at most so long."""
EAD_SPAN = 80.0
"""ms: noise slower than this does not look like one."""
EAD_CERTAIN = 4.0
"""A rise counts as one from so many standard errors of a difference on."""
EAD_LARGEST = 10.0
"""With more noise than lets `EAD_LARGEST` times `ead_rise` be told, nothing is known of them."""
FALSE_REST = 0.1
"""Of the range of V: a slower drift of the rest is taken out before beats are looked for."""
DRIFT_BLOCK = 1500.0
"""ms: longer than any action potential, so that each block shows a rest."""
DOME = 0.05
"""Of the amplitude: what is so near the highest V belongs to the peak."""
NEAR = 0.04
"""Of the amplitude: so near a level the steepness of repolarisation is looked at."""
LONG_GAP = 0.1
"""Of the duration of a beat: a longer gap in it may hide its peak or its fall."""
CHOICE = 1.4
"""What choosing widths by noisy samples adds to the variance of what is measured with them (calibrated on simulated
noise, `benchmarks/noise.py`)."""
TOO_NOISY = {"t_upstroke": 0.1, "rmp": 0.2, "peak": 0.2, "apa": 0.2, "apd": 0.1, "cycle_length": 0.1}
"""Standard errors up to this share (of the APD, of dvdt_max, of the amplitude ...) leave a number known."""
BLURRED = 0.05
"""Standard error of dV/dt max, as a share of it, up to which it is resolved."""


class Prepared(NamedTuple):
    """A sweep on its clock, with its noise."""

    clock: Clock
    raw: np.ndarray
    """V at every tick, NaN where missing"""
    hum: Hum
    spectrum: Spectrum
    clipped: Clipped
    noisy: bool
    """whether the noise is more than rounding"""

    @property
    def missing(self) -> int:
        """Samples that are no numbers, or whose times are missing."""
        return int((~np.isfinite(self.raw)).sum())


def prepare(ts: np.ndarray, V: np.ndarray) -> Prepared:
    """Estimates the noise of one sweep, V (T,), of which samples may be NaN or infinite."""
    V = np.where(np.isfinite(V), V, np.nan).astype(float)
    clock = clock_of(ts)
    x = on_clock(clock, ts, V)
    if not np.isfinite(x).any():
        return Prepared(clock, x, NO_HUM, estimate(x, clock.dt, NO_HUM), Clipped(*np.zeros((2, 0, 2), int)), False)
    extent = float(np.nanmax(x) - np.nanmin(x))
    high, low = flat_runs(x, np.nanmax(x)), flat_runs(x, np.nanmin(x))
    y = x.copy()
    for first, end in [*high, *low]:
        y[first:end] = np.nan
    hum = find_hum(y, clock.dt)
    if not hum.rms > NEGLIGIBLE * extent:
        hum = NO_HUM
    spectrum = estimate(y - hum.wave(clock.dt * np.arange(y.size)), clock.dt, hum)
    jitter = np.hypot(float(np.sqrt(spectrum.density(np.array([0.4 / clock.dt]))[0] / 2 / clock.dt)), hum.rms)
    noisy = bool(hum.rms > 0 or spectrum.rms > NEGLIGIBLE * extent)
    return Prepared(clock, x, hum, spectrum, clipped(x, high, low, float(jitter)), noisy)


class Beat(NamedTuple):
    """The landmarks of one beat; `falls` by level."""

    rise: Landmark
    peak: Landmark
    rest: Landmark
    top: int
    end: int
    foot: int


class Sweep:
    """The beats of one sweep whose noise matters; `numbers`, `errors`, `reasons`: by name, (beats,)."""

    def __init__(
        self, prepared: Prepared, onsets, threshold, limits: dict[str, float], ead_given: bool, max_beats: int | None
    ):
        self.prepared = prepared
        clock, spectrum = prepared.clock, prepared.spectrum
        wave = prepared.hum.wave(clock.dt * np.arange(clock.size))
        self.signal = Signal(prepared.raw - wave, clock.dt, spectrum, {})
        self.y = filled(self.signal.x)
        self.limits = limits
        self.gaps = runs_of(~np.isfinite(self.signal.x))
        ticks = clock.start + clock.dt * np.arange(clock.size)
        stimuli = None if onsets is None else locate_stimuli(ticks, np.clip(onsets, ticks[0], ticks[-1]))
        extent = float(np.ptp(self.y))
        half = quiet_half(self.signal, DETECTOR_NOISE * extent, LONGEST / 2)
        seen = box(self.y, half)
        self.seen_noise = float(np.sqrt(variance(self.signal, np.full(2 * half + 1, 1 / (2 * half + 1)), 1000.0)))
        self.level_seen = _without_drift(seen, clock.dt) if threshold is None else seen
        self.drifts = self.level_seen is not seen
        even = np.round(np.linspace(0, clock.size - 1, REST_SAMPLES)).astype(int)
        if threshold is None:
            threshold = tuple(
                float(x) for x in levels_of(self.level_seen, self.level_seen[even], limits["min_amplitude"])
            )
        self.threshold = threshold
        rises = find_rises(self.level_seen, even, threshold, limits["min_amplitude"])
        rows = len(stimuli.sample) if stimuli is not None else max_beats or max(1, int(rises.begun[-1]))
        self.spans = beat_spans(rises, stimuli, rows)
        self.paced = stimuli is not None
        self.seen = seen
        self.fall_half = quiet_half(self.signal, DETECTOR_NOISE / 4 * extent, LONGEST / 2)
        self.smooth = box(self.y, self.fall_half)
        self.ead_half, self.ead_rise = self._ead_rule(limits["ead_rise"])
        if ead_given:
            self.ead_rise = limits["ead_rise"]
        self.ead_smooth = box(self.y, self.ead_half)
        self.beats = [self._beat(k) if seen else None for k, seen in enumerate(self.spans.captured)]
        self._measure()

    def _ead_rule(self, least: float) -> tuple[int, float]:
        """Half-width of the means in which EADs are looked for, samples, and the rise that counts, mV."""
        most = max(1, int(EAD_WIDTH / 2 / self.signal.dt))
        far = max(1, int(EAD_SPAN / 2 / self.signal.dt))
        options = sorted({0, *(max(1, int(most * f)) for f in (0.1, 0.25, 0.5, 1.0))})
        rise = np.inf
        half = 0
        for half in options:
            n = 2 * half + 1
            mean = np.full(n, 1 / n)
            both = np.zeros(far + n)
            both[:n] -= mean
            both[-n:] += mean
            rise = EAD_CERTAIN * np.sqrt(variance(self.signal, both, 2.0 * far + n))
            if rise <= least:
                break
        return half, max(least, float(rise))

    def _beat(self, k: int) -> Beat:
        spans, signal, y = self.spans, self.signal, self.y
        start, rise_at, end = int(spans.start[k]), int(spans.rise[k]), int(spans.end[k])
        low = self.threshold[0]
        top = rise_at + int(self.seen[rise_at:end].argmax())
        if self.paced:
            foot = start
        else:
            below = np.flatnonzero(self.level_seen[start : rise_at + 1] <= low)
            foot = start + int(below[-1]) if below.size else start
        margin = max(4, (rise_at - foot) // 2)
        rise = steepest_rise(signal, y, foot if self.paced else max(start, foot - margin), top + 2)
        if np.isnan(rise.position):
            return Beat(NOWHERE, NOWHERE, NOWHERE, top, end, foot)
        highs = self.seen[rise_at:end]
        flat = int((highs >= self.seen[top] - 5 * self.seen_noise).sum())
        near = int((highs >= self.seen[top] - DOME * (self.seen[top] - self.seen[foot])).sum())
        peak = highest(signal, y, rise.position, max(top, int(np.ceil(rise.position))), end, flat, near)
        rest = (
            before(signal, y, start, 0 if k == 0 else int(self.beats_end(k - 1)))
            if self.paced
            else lowest(signal, y, start, max(foot, start + 3))
        )
        return Beat(rise, peak, rest, max(top, int(np.ceil(rise.position))), end, foot)

    def beats_end(self, k: int) -> int:
        """A sample after the middle of the time between stimulus k and the next: there V rests."""
        a, b = int(self.spans.start[k]), int(self.spans.start[k + 1])
        return (a + b) // 2

    def _measure(self):
        rows = len(self.spans.captured)
        dt, n = self.signal.dt, len(self.beats)
        found = {name: np.full(rows, np.nan) for name in ("t_upstroke", "t_peak", "rmp", "peak", "apa", "dvdt_max")}
        error = {name: np.full(rows, np.nan) for name in ("t_upstroke", "rmp", "peak", "apa", "dvdt_max")}
        why = {name: np.zeros(rows, np.int8) for name in error}
        blank = np.zeros(rows, bool)
        ead, ead_known = blank.copy(), blank.copy()
        for k in range(n):
            beat = self.beats[k]
            if beat is None or np.isnan(beat.rise.position):
                continue
            sums = [beat.rise.position_sum, beat.rise.value_sum, beat.peak.value_sum, beat.rest.value_sum]
            G = self._covariance(sums)
            bias = np.array([beat.rise.position_bias, beat.rise.value_bias, beat.peak.value_bias, beat.rest.value_bias])
            for i, (name, value, scale) in enumerate((
                ("t_upstroke", beat.rise.position, dt), ("dvdt_max", beat.rise.value, 1 / dt),
                ("peak", beat.peak.value, 1.0), ("rmp", beat.rest.value, 1.0),
            )):  # fmt: skip
                found[name][k] = value * scale
                error[name][k] = scale * np.sqrt(G[i, i] + bias[i] ** 2)
            found["t_peak"][k] = beat.peak.position * dt
            found["apa"][k] = found["peak"][k] - found["rmp"][k]
            error["apa"][k] = np.sqrt(G[2, 2] + G[3, 3] - 2 * G[2, 3] + bias[2] ** 2 + bias[3] ** 2)
        self.found, self.error, self.why = found, error, why
        captured = self.spans.captured & ~(found["dvdt_max"] <= self.limits["min_dvdt"])
        # About where each beat rises, whatever else is known of it.
        self.rises_at = np.where(captured & np.isnan(found["t_upstroke"]), self.spans.rise * dt, found["t_upstroke"])
        for k in range(n):
            self._doubt(k, captured)
        self.apds = {}
        self.fall_halves: dict[tuple[float, int], float] = {}
        crossed = self._crossed(90.0)
        goes_on = (self.signal.x.size - 1) * dt - found["t_upstroke"] >= self.limits["patience"]
        end = np.array([self.signal.x.size if b is None else b.end for b in self.beats], int)
        known = np.isfinite(found["t_upstroke"]) | (why["t_upstroke"] == Reason.TOO_NOISY)
        self.captured = captured
        self.valid = captured & self.spans.whole & known & (crossed | (end < self.signal.x.size) | goes_on)
        self.repolarised = self.valid & crossed
        self.resolved = self.valid & (error["dvdt_max"] <= BLURRED * found["dvdt_max"])
        for k in np.flatnonzero(self.valid):
            ead[k], ead_known[k] = self._ead(int(k))
        self.ead, self.ead_unknown = ead, self.valid & ~ead_known
        self._cycles()

    def _covariance(self, sums):
        hum = self.prepared.hum
        lines = (hum.number * hum.frequency, hum.error) if hum.number.size else (np.zeros(0), np.zeros(0))
        here = [s for s in sums if s is not None]
        found = np.full((len(sums), len(sums)), 0.0)
        index = [i for i, s in enumerate(sums) if s is not None]
        if here:
            found[np.ix_(index, index)] = CHOICE * covariance(self.signal, here, lines)
        for i, s in enumerate(sums):
            if s is None:
                found[i, i] = np.nan
        return found

    def _touched(self, runs, first: float, end: float, least: float = 0.0) -> bool:
        """Whether a run that is longer than `least` samples lies between two sample positions."""
        if len(runs) == 0:
            return False
        return bool(((runs[:, 0] <= end) & (runs[:, 1] - 1 >= first) & (runs[:, 1] - runs[:, 0] > least)).any())

    def _doubt(self, k: int, captured):
        """Marks what a gap, a limit of the amplifier, or too much noise leaves unknown of beat k."""
        beat, found, error, why = self.beats[k], self.found, self.error, self.why
        if beat is None:
            return
        rise, peak, rest = beat.rise, beat.peak, beat.rest
        high, low = self.prepared.clipped
        if np.isnan(rise.position):
            gap = self._touched(self.gaps, beat.foot - 1, beat.top + 1)
            for name in why:
                why[name][k] = Reason.GAP if gap else Reason.TOO_NOISY
            return
        begin, last = beat.foot - 1, max(beat.top, peak.position if np.isfinite(peak.position) else 0) + 1
        size = found["apa"][k]
        after = self._rough_end(beat)
        if self._touched(self.gaps, begin, last):
            self._unknown(k, ("t_upstroke", "dvdt_max", "peak"), Reason.GAP)
        elif self._touched(self.gaps, rise.position, after, LONG_GAP * (after - rise.position)):
            self._unknown(k, ("peak",), Reason.GAP)
        elif self._touched(high, rise.position, after):
            self._unknown(k, ("peak",), Reason.CLIPPED)
        start = int(self.spans.start[k])
        if self.paced:
            resting = (rest.position - 2, rest.position + 1, 0.0)
        else:
            resting = (start, beat.foot, 0.2 * (beat.foot - start))
        if self._touched(self.gaps, *resting) or (np.isnan(found["rmp"][k]) and len(self.gaps)):
            self._unknown(k, ("rmp",), Reason.GAP)
        elif self._touched(low, *resting[:2]):
            self._unknown(k, ("rmp",), Reason.CLIPPED)
        duration = (after - rise.position) * self.signal.dt
        for name, scale in (("peak", size), ("rmp", size), ("t_upstroke", duration)):
            if why[name][k] == Reason.KNOWN and not error[name][k] <= TOO_NOISY[name] * scale:
                self._unknown(k, (name,), Reason.TOO_NOISY)
        for name in ("peak", "rmp"):
            if why[name][k] and not why["apa"][k]:
                self._unknown(k, ("apa",), Reason(int(why[name][k])))

    def _unknown(self, k, names, reason):
        for name in names:
            self.found[name][k] = self.error[name][k] = np.nan
            self.why[name][k] = reason

    def _rough_end(self, beat: Beat) -> float:
        """About where V has come down to 90 %."""
        level = potential_at(90.0, beat.rest.value, beat.peak.value)
        fallen = self.seen[beat.top : beat.end] <= level
        return float(beat.top + int(fallen.argmax()) if fallen.any() else beat.end - 1)

    def _crossed(self, level: float) -> np.ndarray:
        crossed = np.zeros(len(self.beats), bool)
        for k, beat in enumerate(self.beats):
            if beat is not None and np.isfinite(beat.rise.position):
                potential = potential_at(level, beat.rest.value, beat.peak.value)
                crossed[k] = bool((self.smooth[beat.top : beat.end] <= potential).any())
        return crossed

    def apd(self, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """APD at a level (ms), its standard error, and the reason where it is NaN, each (beats,)."""
        if level not in self.apds:
            each = [self._apd_of(k, level) for k in range(len(self.beats))]
            self.apds[level] = tuple(np.array(x) for x in zip(*each, strict=True))
        return self.apds[level]

    def _apd_of(self, k: int, level: float) -> tuple[float, float, int]:
        beat = self.beats[k]
        if beat is None:
            return np.nan, np.nan, int(Reason.KNOWN)
        for name in ("t_upstroke", "peak", "rmp"):
            if self.why[name][k] not in (Reason.KNOWN, Reason.TOO_NOISY):
                return np.nan, np.nan, int(self.why[name][k])
        rise, peak, rest = beat.rise, beat.peak, beat.rest
        if np.isnan(rise.position):
            return np.nan, np.nan, int(Reason.TOO_NOISY)
        share, size = level / 100, peak.value - rest.value
        if not size > 0 or beat.top >= beat.end - 1:
            gap = self._touched(self.gaps, beat.foot - 1, beat.end)
            return np.nan, np.nan, int(Reason.GAP if gap else Reason.TOO_NOISY)
        potential = potential_at(level, rest.value, peak.value)
        fall = fall_through(self.signal, self.smooth, potential, NEAR * size, beat.top, beat.end)
        if np.isnan(fall.position):
            fallen = self.smooth[beat.top : beat.end] <= potential
            if not fallen.any():
                return np.nan, np.nan, int(Reason.NOT_REPOLARISED)
            about = beat.top + int(fallen.argmax())
            gap = self._touched(self.gaps, about - 3, about + 3)
            return np.nan, np.nan, int(Reason.GAP if gap else Reason.TOO_NOISY)
        if self._touched(self.gaps, fall.position - 1.5, fall.position + 1.5):
            return np.nan, np.nan, int(Reason.GAP)
        slope = fall.value
        G = self._covariance([rise.position_sum, peak.value_sum, rest.value_sum, fall.position_sum])
        by = np.array([-1.0, (1 - share) / slope, share / slope, -1 / slope])
        bias = np.array([rise.position_bias, peak.value_bias, rest.value_bias, fall.position_bias * slope])
        apd = fall.position - rise.position
        error = np.sqrt(max(by @ G @ by, 0.0) + ((by * bias) ** 2).sum())
        if not error <= TOO_NOISY["apd"] * apd:
            return np.nan, np.nan, int(Reason.TOO_NOISY)
        self.fall_halves[level, k] = fall.half
        return apd * self.signal.dt, error * self.signal.dt, int(Reason.KNOWN)

    def fall_widths(self, level: float) -> np.ndarray:
        """ms of samples in the fits of the falls through `level`, (beats,)."""
        return np.array([2 * self.signal.dt * self.fall_halves.get((level, k), np.nan) for k in range(len(self.beats))])

    def _ead(self, k: int) -> tuple[bool, bool]:
        """Whether there is an early afterdepolarisation, and whether that is known."""
        beat = self.beats[k]
        assert beat is not None
        dt, y = self.signal.dt, self.ead_smooth
        if not np.isfinite(beat.peak.value + beat.rest.value):
            return False, False
        levels = [potential_at(level, beat.rest.value, beat.peak.value) for level in (30.0, 90.0)]
        part = y[beat.top : beat.end]
        fallen = [part <= level for level in levels]
        ends = [beat.top + int(f.argmax()) if f.any() else beat.end for f in fallen]
        first = max(ends[0], int(np.ceil(beat.rise.position + self.limits["ead_after"] / dt)))
        last = min(ends[1], int(self.spans.quiet_end[k])) if self.paced else ends[1]
        if last - first < 2:
            return False, True
        part = y[first:last]
        rises = bool((part - np.minimum.accumulate(part) >= self.ead_rise).any())
        return rises, self.ead_rise <= EAD_LARGEST * self.limits["ead_rise"]

    def _cycles(self):
        found, error, why = self.found, self.error, self.why
        rows = len(self.beats)
        found["cycle_length"], error["cycle_length"] = np.full((2, rows), np.nan)
        why["cycle_length"] = np.zeros(rows, np.int8)
        previous = previous_marked(self.captured)
        for k in np.flatnonzero(self.valid):
            j = int(previous[k])
            if j < 0:
                why["cycle_length"][k] = Reason.FIRST
                continue
            this, that = self.beats[k], self.beats[j]
            assert this is not None and that is not None
            unknown = int(why["t_upstroke"][j] or why["t_upstroke"][k])
            hidden = self._touched(
                self.gaps, that.rise.position, this.rise.position, self._rough_end(that) - that.rise.position
            )
            if unknown or hidden:
                why["cycle_length"][k] = unknown or Reason.GAP
                continue
            found["cycle_length"][k] = found["t_upstroke"][k] - found["t_upstroke"][j]
            error["cycle_length"][k] = np.hypot(error["t_upstroke"][k], error["t_upstroke"][j])


def _without_drift(x: np.ndarray, dt: float) -> np.ndarray:
    """x without a straight drift of its rest, where that is large."""
    n = max(1, round(DRIFT_BLOCK / dt))
    blocks = x.size // n
    if blocks < 3:
        return x
    rest = np.quantile(x[: blocks * n].reshape(blocks, n), REST_QUANTILE / 2, axis=1)
    i, j = np.triu_indices(blocks, 1)
    drift = float(np.median((rest[j] - rest[i]) / (j - i))) / n
    if abs(drift) * x.size < FALSE_REST * np.ptp(x):
        return x
    return x - drift * (np.arange(x.size) - x.size / 2)


def positions_of(sweep: Sweep, T: int) -> Positions:
    """Where the landmarks lie among the T samples of the recording; T where there is none."""
    clock = sweep.prepared.clock
    at = np.full((4, len(sweep.beats)), T, np.int32)
    for k, beat in enumerate(sweep.beats):
        if beat is None or np.isnan(beat.rise.position):
            continue
        places = [beat.rest.position, beat.rise.position, beat.peak.position, float(beat.end)]
        ticks = np.array([0.0 if np.isnan(p) else p for p in places])
        at[:, k] = clock.sample(np.floor(ticks).astype(int))
        at[3, k] = T if beat.end >= clock.size else at[3, k]
    return Positions(*at)
