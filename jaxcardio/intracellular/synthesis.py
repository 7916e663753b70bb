"""Synthetic recordings: minutes of many channels on one coupled culture, with electroporation and a drug."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ..annotations import typed
from ..arguments import check_known, check_seed, check_whole, refusal
from ..models import KernikClancy2019
from ..progress import progress_bar
from .electrode import Channel, Device, NoiseSource, device_named
from .electrode.circuit import Recursion, high_pass_recursion, low_pass_recursion, streamed
from .features import LEVELS, action_potential_durations
from .normalisation import normalise_iap
from .preparations import FIRST_STIMULUS, RATE, SPREAD, VARIED_WITHIN, blocked, coupled, drug_named
from .recording import Event, Recording, RecordingWriter

PITCH, SPACING = 200.0, 100.0
"""Between electrodes, and between the cells of the culture, um."""
COUPLING = 0.15
"""Between neighbouring cells, 1/ms."""
BETWEEN, WITHIN = 0.08, 0.10
"""Standard deviation of the logarithm of each multiplier between cultures, and between the cells of one."""
MATURITY = {"scale_g_Kr": 2.0, "scale_p_CaL": 0.85, "scale_g_K1": 1.5, "scale_g_Na": 1.3, "scale_g_f": 0.6}
"""Of every culture: an APD90 of about 450 ms at 32 C, and no beats of its own between stimuli."""
TEMPERATURE = 305.15
"""As the study recorded, K."""
AHEAD = 100.0
"""A beat begins so long before its stimulus, ms."""
SETTLING = 7
"""Beats before the one that is kept."""
DOSES = 9
"""Concentrations at which the culture is simulated, from none to the whole; beats between them are interpolated."""
WASH_IN = 15_000.0
"""Time constant of the rise of the concentration, ms: 95 % after 45 s."""
JITTER = 0.005
"""Standard deviation of an interval between beats, share of the cycle length."""
MOST_CHANNELS = 1024
CULTURE, RHYTHM, ARRAY, NOISE = range(4)
"""What a random number is for, beside the seed."""


class Truth(NamedTuple):
    """What a synthetic recording is of."""

    before: Float[np.ndarray, "channel level"]
    """APD10 to APD100 of the cell at each channel without drug, ms."""
    after: Float[np.ndarray, "channel level"]
    """The same under the whole concentration."""
    delays: Float[np.ndarray, " channel"]
    """Upstroke after the first channel's, ms."""
    speed: float
    """Of the wave along x, mm/ms."""
    beats: Float[np.ndarray, " beat"]
    """Times of the stimuli, ms."""


class SyntheticRecording(NamedTuple):
    recording: Recording
    truth: Truth


class _Waveforms(NamedTuple):
    """One beat of each channel at each concentration, at the device's rate."""

    V: Float[np.ndarray, "dose channel sample"]
    """mV above the level at the beat's beginning."""
    cleft: Float[np.ndarray, "dose channel sample"]
    """Potential under the seal, mV."""
    shares: Float[np.ndarray, " dose"]
    """Of the whole concentration."""


class _Course(NamedTuple):
    """Beats of a recording: their first samples, the end of the last, and the share of the concentration at each."""

    starts: Int[np.ndarray, " beats_and_end"]
    shares: Float[np.ndarray, " beat"]


@typed
def synthesize_recording(
    path: str | Path,
    *,
    channels: int = 16,
    duration: float = 600_000.0,
    device: str = "nea",
    drug: str = "dofetilide",
    concentration: float = 10.0,
    added_at: float = 300_000.0,
    paired: bool = True,
    dead: Sequence[int] = (),
    electroporated_at: float = 60_000.0,
    cycle_length: float = 1500.0,
    seed: int = 0,
    chunk: float = 10_000.0,
    progress: bool = False,
) -> SyntheticRecording:
    """Writes a recording of a paced culture in the own layout (`RecordingWriter`), and says what is true of it.

    The electrodes are 200 um apart, row by row on a square grid over a sheet of Kernik-Clancy cells that differ, at
    32 C. The left edge is stimulated, and a plane wave runs over the sheet. Minutes are not integrated: one settled
    beat is simulated at 9 concentrations from none to the whole, and beats are put together from them as the
    concentration rises (95 % after 45 s). Each channel has an electrode, circuit and noise of its own (`electrode`).

    The file is the same for every `chunk`. Memory: a chunk of all channels (24 bytes a sample) and the beats (72 bytes
    for each channel and sample of one cycle).

    Args:
        path: of the file, HDF5.
        channels: electrodes, 1 to 1024.
        duration: ms.
        device: "nea" (5 kHz) or "mea" (10 kHz), a name in `electrode.DEVICES`.
        drug: a name in `pharmacology.DRUGS`, "lidocaine", or "none": then vehicle is added.
        concentration: nM.
        added_at: when it is added, ms; beyond `duration`: never.
        paired: every second channel is electroporated, and is the partner of the one before it.
        dead: indices of channels that record noise only.
        electroporated_at: when, ms; before `duration` where `paired`.
        cycle_length: of the stimulus, ms.
        seed: of culture, rhythm, electrodes and noise.
        chunk: what is in memory together, ms.
        progress: shows a bar.

    ValueError: arguments out of range, a place where nothing can be written, a culture that does not follow every
    stimulus or does not repolarise before the next at this concentration and cycle length.
    """
    array = device_named(device)
    check_whole("channels", channels, "electrodes")
    check_known("channels", channels, "electrodes", f"1 to {MOST_CHANNELS}", lambda n: n <= MOST_CHANNELS)
    check_known("duration", duration, "ms", "2000 ms to a week", lambda t: (t >= 2000) & (t <= 7 * 86_400_000))
    check_known("concentration", concentration, "nM", "finite and >= 0 nM", lambda c: (c >= 0) & (c < np.inf))
    check_known("added_at", added_at, "ms", ">= 0 ms", lambda t: t >= 0)
    check_known("cycle_length", cycle_length, "ms", "400 to 5000 ms", lambda t: (t >= 400) & (t <= 5000))
    check_known("chunk", chunk, "ms", "at least 100 ms", lambda t: (t >= 100) & (t < np.inf))
    check_seed(seed)
    drug_named(drug)
    if paired:
        allowed = "from 0 to before the recording's end"
        check_known("electroporated_at", electroporated_at, "ms", allowed, lambda t: (t >= 0) & (t < duration))
    for index in dead:
        if not 0 <= index < channels:
            raise refusal("dead", index, "", f"indices of channels, 0 to {channels - 1}")
    side = math.ceil(math.sqrt(channels))
    at = np.arange(channels)
    rows, columns = at // side, at % side
    is_inside = (at % 2 == 1) & paired
    names = [f"{row + 1}-{column + 1}" for row, column in zip(rows, columns, strict=True)]
    events = _events(
        drug,
        concentration,
        added_at,
        duration,
        electroporated_at,
        [n for n, i in zip(names, is_inside, strict=True) if i],
    )
    electrodes = [_electrode(array, seed, k, k in dead) for k in range(channels)]
    waveforms, truth = _waveforms(array, electrodes, rows, columns, drug, concentration, cycle_length, seed)
    n_samples = round(duration * array.sampling_rate / 1000)
    course = _course(n_samples, array.sampling_rate, cycle_length, added_at, seed)
    pulse = round(electroporated_at * array.sampling_rate / 1000)
    stream = _Stream(array, electrodes, waveforms, course, is_inside, pulse, seed)
    report = progress_bar("recording", duration / 1000, "s") if progress else lambda done: None
    with RecordingWriter(
        path,
        array.sampling_rate,
        names,
        kinds=["intracellular" if inside else "extracellular" for inside in is_inside],
        partners=[int(k) + 1 if paired and k % 2 == 0 and k + 1 < channels else -1 for k in at],
        positions=np.stack([columns, rows], axis=1) * PITCH,
        limits=np.array([[-array.limit, array.limit]] * channels),
        events=events,
        notes=[f"synthetic: jaxcardio, device {device}, seed {seed}"],
        n_samples=n_samples,
    ) as writer:
        step = round(chunk * array.sampling_rate / 1000)
        for first in range(0, n_samples, step):
            last = min(first + step, n_samples)
            writer.append(stream.next(first, last))
            report(last / n_samples)
    times = (course.starts[:-1] + AHEAD * array.sampling_rate / 1000) / array.sampling_rate * 1000
    return SyntheticRecording(Recording.load(path), truth._replace(beats=times[times < duration]))


def _events(drug, concentration, added_at, duration, electroporated_at, inside: list[str]) -> list[Event]:
    found = []
    if inside:
        found.append(Event(electroporated_at, "electroporation", "", None, tuple(inside)))
    if added_at < duration:
        vehicle = Event(added_at, "vehicle", "vehicle")
        found.append(vehicle if drug == "none" else Event(added_at, "drug", drug, float(concentration)))
    return found


def _electrode(device: Device, seed: int, k: int, is_dead: bool) -> Channel:
    channel = device.channel(np.random.default_rng((seed, ARRAY, k)))
    return channel.dead() if is_dead else channel


def _waveforms(
    device: Device, electrodes: list[Channel], rows, columns, drug: str, concentration: float, period: float, seed: int
) -> tuple[_Waveforms, Truth]:
    """One settled beat of each channel at each concentration, and what is true of it."""
    shape = 2 * int(rows.max()) + 3, 2 * int(columns.max()) + 3
    shares = np.linspace(0, 1, DOSES) ** 1.5
    doses = [_culture(shape, drug, share * concentration, seed) for share in shares]
    cells = {name: np.stack([dose[name] for dose in doses], axis=-1).astype(np.float32) for name in doses[0]}
    settling = FIRST_STIMULUS + SETTLING * period - AHEAD
    V, inflow = coupled(
        cells, np.full(DOSES, period), np.full(DOSES, COUPLING), 2 * rows + 1, 2 * columns + 1, settling, period
    )
    V, inflow = (np.ascontiguousarray(x.transpose(2, 1, 0)) for x in (V, inflow))  # (dose, channel, sample)
    truth = _truth(V, columns, drug, concentration, period)
    finer = round(device.sampling_rate / RATE)
    V, inflow = (_finer(x, finer) for x in (V, inflow))
    seals = jax.tree.map(lambda *x: jnp.asarray(np.stack(x), jnp.float32), *[e.seal for e in electrodes])
    cleft = np.asarray(_clefts(seals, V, inflow, jnp.asarray(1000 / device.sampling_rate, jnp.float32)))
    return _Waveforms(V - V[..., :1], cleft, shares), truth


@eqx.filter_jit
def _clefts(seals, V, inflow, dt):
    of_channels = jax.vmap(lambda seal, v, q: seal(v, q, dt))
    return jax.vmap(of_channels, in_axes=(None, 0, 0))(seals, V, inflow)


def _finer(x: np.ndarray, finer: int) -> np.ndarray:
    """With samples on the straight lines between; the beat after is the same again."""
    following = np.concatenate([x[..., 1:], x[..., :1]], axis=-1)
    between = [x + (following - x) * np.float32(k / finer) for k in range(finer)]
    return np.stack(between, axis=-1).reshape(*x.shape[:-1], -1)


def _culture(shape: tuple[int, int], drug: str, concentration: float, seed: int) -> dict[str, np.ndarray]:
    """Parameters of the cells that differ from the model's own, (row, column)."""
    draw = np.random.default_rng((seed, CULTURE))
    cell = blocked(KernikClancy2019(), drug, concentration).parameters()
    found = {}
    for name in SPREAD:
        scale = np.exp(BETWEEN * draw.standard_normal()) * np.ones(shape)
        if name in VARIED_WITHIN:
            scale = scale * np.exp(WITHIN * draw.standard_normal(shape))
        found[name] = scale
    for name, factor in MATURITY.items():
        found[name] = factor * found[name]
    found = {name: scale * float(cell[name].value) for name, scale in found.items()}
    return found | {"temperature": np.full(shape, TEMPERATURE)}


def _truth(V: np.ndarray, columns: np.ndarray, drug: str, concentration: float, period: float) -> Truth:
    ends = V[[0, -1]]
    durations = np.asarray(action_potential_durations(np.asarray(normalise_iap(ends)), RATE, LEVELS), np.float64)
    height, rest = np.ptp(ends, axis=-1), ends[..., : round(20 * RATE / 1000)].mean(-1)
    lost = ~np.isfinite(durations[..., :9]).all(-1) | (height < 60) | (rest - ends.min(-1) > 0.1 * height)
    if lost.any():
        raise ValueError(
            f"concentration = {concentration:g} nM of {drug} at cycle_length = {period:g} ms: the culture does not "
            "follow every stimulus and repolarise before the next; allowed: a lower one, or a longer cycle"
        )
    rise = np.argmax(np.diff(V[0], axis=-1), axis=-1) * 1000 / RATE
    speed = np.nan
    if np.ptp(columns) > 0:
        slope = np.polyfit(columns * PITCH / 1000, rise, 1)[0]
        speed = float(1 / slope)
    return Truth(durations[0], durations[1], rise - rise[0], speed, np.zeros(0))


def _course(n_samples: int, rate: float, period: float, added_at: float, seed: int) -> _Course:
    """Intervals that vary a little; the concentration at a beat is that at its beginning."""
    draw = np.random.default_rng((seed, RHYTHM))
    count = math.ceil(n_samples / rate * 1000 / (period * (1 - 6 * JITTER))) + 2
    varied = period * (1 + JITTER * np.clip(draw.standard_normal(count), -5, 5))
    starts = np.concatenate([[0], np.cumsum(np.round(varied * rate / 1000).astype(np.int64))])
    since = np.maximum(starts[:-1] / rate * 1000 - added_at, 0)
    return _Course(starts, 1 - np.exp(-since / WASH_IN))


class _Stream:
    """The channels' samples, piece after piece."""

    def __init__(
        self,
        device: Device,
        electrodes: list[Channel],
        waveforms: _Waveforms,
        course: _Course,
        is_inside: np.ndarray,
        pulse: int,
        seed: int,
    ):
        self._device, self._electrodes, self._waveforms, self._course = device, electrodes, waveforms, course
        self._is_inside, self._pulse = is_inside, pulse
        self._sources = [NoiseSource((seed, NOISE, k), device.sampling_rate) for k in range(len(electrodes))]
        dt = 1000 / device.sampling_rate
        self._circuits = [
            (_numbers(high_pass_recursion(float(e.high_pass), dt)), _numbers(low_pass_recursion(float(e.low_pass), dt)))
            for e in electrodes
        ]
        self._states: list[tuple[np.ndarray | None, np.ndarray | None]] = [(None, None)] * len(electrodes)

    def next(self, first: int, last: int) -> Float[np.ndarray, "channel sample"]:
        """Samples first to last (exclusive) of all channels, mV; pieces are asked for in order."""
        return np.stack([self._of_channel(k, first, last) for k in range(len(self._electrodes))])

    def _of_channel(self, k: int, first: int, last: int) -> np.ndarray:
        electrode, (high, low), (high_state, low_state) = self._electrodes[k], self._circuits[k], self._states[k]
        v, high_state = streamed(self._beats(self._waveforms.cleft[:, k], first, last)[None], high, high_state, "zero")
        since = (np.arange(first, last) - self._pulse) * (1000 / self._device.sampling_rate)
        is_open = self._is_inside[k] and since[-1] >= 0
        if is_open:
            access, resealing = float(electrode.electroporation.access), float(electrode.electroporation.resealing)
            share = np.where(since < 0, 0.0, access * np.exp(-np.maximum(since, 0) / resealing))
            v = v + share * self._beats(self._waveforms.V[:, k], first, last)
        v, low_state = streamed(v, low, low_state, "same")
        self._states[k] = high_state, low_state
        sizes = [float(x) for x in jax.tree.leaves(electrode.noise)]
        found = float(electrode.gain) * v[0]
        for size, unit in zip(sizes, self._sources[k].next(last - first), strict=True):
            found += size * unit
        if is_open:
            found[(since >= 0) & (since < float(electrode.electroporation.blind))] = self._device.limit
        return found

    def _beats(
        self, waveforms: Float[np.ndarray, "dose sample"], first: int, last: int
    ) -> Float[np.ndarray, " sample"]:
        """One channel's beats put together; the last sample of a beat is held where the interval is longer."""
        starts, found = self._course.starts, np.empty(last - first)
        length = waveforms.shape[1]
        for k in range(int(np.searchsorted(starts, first, side="right")) - 1, len(starts) - 1):
            begin, end = max(starts[k], first), min(starts[k + 1], last)
            if begin >= last:
                break
            here = slice(begin - starts[k], min(end - starts[k], length))
            place = float(np.interp(self._course.shares[k], self._waveforms.shares, np.arange(DOSES)))
            low = min(int(place), DOSES - 2)
            weight = np.float32(place - low)
            beat = waveforms[low, here] + weight * (waveforms[low + 1, here] - waveforms[low, here])
            found[begin - first : begin - first + len(beat)] = beat
            found[begin - first + len(beat) : end - first] = self._held(waveforms, low, weight)
        return found

    def _held(self, waveforms: np.ndarray, low: int, weight: np.float32) -> np.float32:
        return waveforms[low, -1] + weight * (waveforms[low + 1, -1] - waveforms[low, -1])


def _numbers(recursion: Recursion) -> Recursion:
    return Recursion(*(float(np.asarray(c)) for c in recursion))
