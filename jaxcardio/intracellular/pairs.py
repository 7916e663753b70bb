"""Pairs of extracellular and intracellular windows of the same beat: made up, split, and in files."""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import h5py
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from ..annotations import check_type, typed
from ..arguments import check_known, check_seed, check_whole, refusal
from ..files.hdf5 import read_hdf5
from ..files.reading import Group
from ..files.writing import put, write_hdf5
from ..progress import progress_bar
from .electrode import Channel, Device, NoiseSource, device_named
from .features import LEVELS, action_potential_durations
from .noise_level import fine_grid, noise_level, spike_band
from .normalisation import normalise_eap, normalise_iap
from .preparations import BLOCK, PROBES, RATE, TRAINING_DRUGS, Potentials, recipes, simulated
from .resampling import averaged, resample
from .windows import BEFORE, HELD, LEVEL, WINDOW

FORMAT, VERSION = "jaxcardio pairs", 1
LEAST_SLOPE, LEAST_HEIGHT, LEAST_REST = 5.0, 60.0, -55.0
"""An action potential rises by at least mV/ms and mV, from at most mV."""
LEAST_SIGNAL = 12.0
"""Height of a spike over the noise, as `find_beats` asks for."""
SEEDS_APART = 1_000_000
"""`cell` is seed * SEEDS_APART + index of the preparation."""
FIELDS = (("eap", "1", "f"), ("iap", "1", "f"), ("apd", "ms", "f"), ("cell", "1", "iu"), ("concentration", "nM", "f"))
FIELDS += (("signal_to_noise", "1", "f"), ("noise", "mV", "f"), ("peak", "mV", "f"))
"""Name, unit and kind of every array of numbers in a file."""
TEXTS = ("drug", "device")


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Windows of the same beats from outside and from inside, and what they are of."""

    eap: Float[np.ndarray, "pair sample"]
    """Extracellular, normalised by Eq 11, float32."""
    iap: Float[np.ndarray, "pair sample"]
    """Intracellular, normalised by Eq 10, float32."""
    apd: Float[np.ndarray, "pair level"]
    """APD10 to APD100 of the intracellular one without noise, ms."""
    sampling_rate: float
    """Hz."""
    cell: Int[np.ndarray, " pair"]
    """Which cell, or channel: pairs of one resemble each other."""
    drug: np.ndarray
    """(pair,), texts; "none" where there is none."""
    concentration: Float[np.ndarray, " pair"]
    """nM."""
    device: np.ndarray
    """(pair,), texts."""
    signal_to_noise: Float[np.ndarray, " pair"]
    """Extracellular amplitude over noise."""
    noise: Float[np.ndarray, " pair"]
    """Standard deviation of the extracellular noise, mV."""
    peak: Float[np.ndarray, " pair"]
    """Extracellular amplitude, mV."""

    def __post_init__(self):
        kinds = {field.name: field.type for field in dataclasses.fields(self)}
        for name, *_ in FIELDS:
            check_type(name, getattr(self, name), kinds[name])
        for name in TEXTS:
            texts = np.asarray(getattr(self, name))
            if texts.ndim != 1 or not all(isinstance(x, str) for x in texts):
                raise refusal(name, getattr(self, name), "", "texts of shape (pair,)")
        check_known("sampling_rate", self.sampling_rate, "Hz", "finite, > 0 Hz", lambda x: (x > 0) & np.isfinite(x))
        n = len(self.eap)
        for name in (*(field[0] for field in FIELDS), *TEXTS):
            if len(getattr(self, name)) != n:
                raise ValueError(f"{name}: {len(getattr(self, name))} pairs; allowed: {n}, as many as there are of eap")
        if np.shape(self.iap) != np.shape(self.eap):
            raise ValueError(f"iap: shape {np.shape(self.iap)}; allowed: {np.shape(self.eap)}, that of eap")

    def __len__(self) -> int:
        return len(self.eap)

    def __getitem__(self, which: Any) -> "Pairs":
        """Some of the pairs, by a mask, indices or a slice."""
        which = np.atleast_1d(which) if not isinstance(which, slice) else which
        return self._mapped(lambda x: np.asarray(x)[which])

    @typed
    def save(self, path: str | Path) -> None:
        """Writes an HDF5 file, whole or not at all: a data set a field, texts as numbers into a list in the attributes.

        Attributes: `format`, `format_version`, `sampling_rate` (Hz), `drugs` and `devices` (names, one a line; the data
        sets `drug` and `device` count into them).
        """

        def write(file: h5py.File) -> None:
            file.attrs.update(format=FORMAT, format_version=VERSION, sampling_rate=float(self.sampling_rate))
            for name, unit, _ in FIELDS:
                put(file, name, getattr(self, name), unit)
            for name in TEXTS:
                known, number = np.unique(np.asarray(getattr(self, name), str), return_inverse=True)
                file.attrs[f"{name}s"] = "\n".join(known)
                put(file, name, number.astype(np.int32), "1")

        write_hdf5(path, write)

    @staticmethod
    def load(path: str | Path) -> "Pairs":
        """Pairs of a file of `save`. ValueError: no such file, or one that is none, or damaged."""
        return read_hdf5(path, FORMAT, VERSION, _read)

    def _mapped(self, of) -> "Pairs":
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        rate = fields.pop("sampling_rate")
        return Pairs(sampling_rate=rate, **{name: of(value) for name, value in fields.items()})


def _read(root: Group) -> Pairs:
    numbers = {name: root.dataset(name).numbers(kinds=kinds) for name, _, kinds in FIELDS}
    texts = {}
    for name in TEXTS:
        known = np.array(root.text(f"{name}s").split("\n"))
        number = root.dataset(name).numbers(kinds="iu")
        if number.size and not 0 <= number.min() <= number.max() < len(known):
            raise ValueError(f"{name}: counts beyond its list of {len(known)} names")
        texts[name] = known[number]
    return Pairs(sampling_rate=root.number("sampling_rate"), **numbers, **texts)


def check_sampling_rate(pairs: Pairs, rate: float, name: str = "pairs") -> None:
    """ValueError: pairs of another sampling rate than a network's."""
    if pairs.sampling_rate != rate:
        raise refusal(name, pairs.sampling_rate, "Hz", f"{rate:g} Hz, the sampling rate of the network")


@typed
def joined(several: Sequence[Pairs]) -> Pairs:
    """All pairs of several sets, one after the other. Those of the same `cell` count as one cell's.

    ValueError: none, or sets of another sampling rate or window.
    """
    if not several:
        raise ValueError("several: no pairs; allowed: one set at least")
    first = several[0]
    for pairs in several:
        if pairs.sampling_rate != first.sampling_rate or pairs.eap.shape[1] != first.eap.shape[1]:
            raise ValueError(
                f"several: windows of {pairs.eap.shape[1]} samples at {pairs.sampling_rate} Hz beside those of "
                f"{first.eap.shape[1]} at {first.sampling_rate} Hz; allowed: sets of the same rate and window"
            )
    names = [f.name for f in dataclasses.fields(Pairs) if f.name != "sampling_rate"]
    together = {name: np.concatenate([np.asarray(getattr(pairs, name)) for pairs in several]) for name in names}
    return Pairs(sampling_rate=first.sampling_rate, **together)


@typed
def split(
    pairs: Pairs, by: str = "cell", fractions: Sequence[float] = (0.8, 0.1, 0.1), seed: int = 0
) -> tuple[Pairs, ...]:
    """The pairs in parts that have no cell (or drug, or device) in common.

    Args:
        pairs: to split.
        by: "cell", "drug" or "device": what is never divided.
        fractions: share of the cells in each part, > 0, together 1. Each part gets one cell at least.
        seed: of the shuffle.

    ValueError: another `by`; fractions that are no shares of 1; fewer cells than parts.
    """
    if by not in ("cell", "drug", "device"):
        raise refusal("by", by, "", "'cell', 'drug' or 'device'")
    shares = np.asarray(list(fractions), float)
    if not shares.size or (shares <= 0).any() or abs(shares.sum() - 1) > 1e-6:
        raise refusal("fractions", list(fractions), "", "shares > 0 whose sum is 1")
    check_seed(seed)
    groups = np.random.default_rng(seed).permutation(np.unique(getattr(pairs, by)))
    if len(groups) < len(shares):
        raise ValueError(f"pairs: of {len(groups)} {by}s; allowed: at least {len(shares)}, one for each part")
    ends = np.round(np.cumsum(shares) * len(groups)).astype(int)
    for k in range(len(ends)):  # one for each part, and for each that follows
        ends[k] = min(max(ends[k], k + 1, ends[k - 1] + 1 if k else 1), len(groups) - (len(ends) - 1 - k))
    return tuple(pairs[np.isin(getattr(pairs, by), part)] for part in np.split(groups, ends[:-1]))


class Synthesis(NamedTuple):
    """Pairs, and how many beats or preparations were left out for what."""

    pairs: Pairs
    dropped: dict[str, int]


@typed
def synthesize_pairs(
    n_preparations: int,
    *,
    seed: int = 0,
    drugs: Sequence[str] = TRAINING_DRUGS,
    device: str = "nea",
    sampling_rate: float = 1000.0,
    beats: int = 3,
    chunk: int = 64,
    progress: bool = False,
) -> Pairs:
    """Pairs from simulated cultures under simulated electrodes.

    Each preparation (`preparations`) is a strip of coupled Kernik-Clancy cells of its own, at 31 to 37 C, under one of
    the drugs, stimulated or beating by itself. Each of its beats is recorded by an electrode of its own (`electrode`)
    on one of the cells, with its own noise. The intracellular window is the potential of the cell under the electrode,
    without noise. Preparation i is a function of (seed, i, drugs) and its electrodes of (seed, i, device) alone.

    Args:
        n_preparations: some of them are left out, see `synthesis_of_pairs`.
        seed: of preparations and electrodes.
        drugs: of which each preparation has one; "none" is one.
        device: "nea" or "mea", a name in `electrode.DEVICES`. Its samples are brought to `sampling_rate`.
        sampling_rate: of the pairs, Hz, 500 to 5000.
        beats: of each preparation, the last ones; at most so many.
        chunk: preparations that are in memory together; in blocks of 32.
        progress: shows a bar.

    ValueError: an unknown drug or device; numbers out of range; no pair at all.
    """
    return synthesis_of_pairs(
        n_preparations, seed=seed, drugs=drugs, device=device, sampling_rate=sampling_rate, beats=beats, chunk=chunk,
        progress=progress,
    ).pairs  # fmt: skip


@typed
def synthesis_of_pairs(
    n_preparations: int,
    *,
    seed: int = 0,
    drugs: Sequence[str] = TRAINING_DRUGS,
    device: str = "nea",
    sampling_rate: float = 1000.0,
    beats: int = 3,
    chunk: int = 64,
    progress: bool = False,
) -> Synthesis:
    """As `synthesize_pairs`, with the number of preparations and beats that were dropped, by reason."""
    check_whole("n_preparations", n_preparations, "preparations")
    check_whole("beats", beats, "beats")
    check_whole("chunk", chunk, "preparations")
    check_known("sampling_rate", sampling_rate, "Hz", "500 to 5000 Hz", lambda r: (r >= 500) & (r <= 5000))
    array = device_named(device)
    report = progress_bar("preparations", n_preparations, "preparations") if progress else None
    found, dropped = [], Counter()
    done = 0
    for block in simulated(recipes(seed, range(n_preparations), drugs), max(1, chunk // BLOCK)):
        found += _recorded(block, seed, array, float(sampling_rate), beats, dropped)
        done += len(block.recipes)
        if report is not None:
            report(done / n_preparations)
    if not found:
        raise ValueError(
            f"n_preparations = {n_preparations}: none gave a pair ({dict(dropped)}); allowed: more of them"
        )
    return Synthesis(_together(found, array, float(sampling_rate)), dict(dropped))


class _Beat(NamedTuple):
    """One beat of a block: whose it is, its probe, and the samples of its upstroke and of the next (or a late one)."""

    preparation: int
    probe: int
    upstroke: int
    following: int


def _recorded(
    block: Potentials, seed: int, device: Device, rate: float, beats: int, dropped: Counter
) -> list[dict[str, Any]]:
    """The pairs of a block, each as a dictionary of fields."""
    draws = [[np.random.default_rng((seed, r.number, k)) for k in range(beats)] for r in block.recipes]
    probes = np.array([[int(draw.integers(len(PROBES))) for draw in row] for row in draws])
    channels = [[device.channel(draw) for draw in row] for row in draws]
    wanted = [_beats(block, k, probes[k], dropped) for k in range(len(block.recipes))]
    found = []
    for turn in range(beats):
        eaps = _seen(block, probes[:, turn], [row[turn] for row in channels], device)
        for k, recipe in enumerate(block.recipes):
            if turn >= len(wanted[k]):
                continue
            source = NoiseSource((seed, recipe.number, turn), device.sampling_rate)
            channel = channels[k][turn]
            unit = source.next(eaps.shape[1])
            noisy = eaps[k] + np.asarray(channel.noise(unit))
            pair = _pair(block.V[k, wanted[k][turn].probe], noisy, wanted[k][turn], device, rate)
            if isinstance(pair, str):
                dropped[pair] += 1
            else:
                found.append(
                    pair
                    | dict(
                        cell=seed * SEEDS_APART + recipe.number, drug=recipe.drug, concentration=recipe.concentration
                    )
                )
    return sorted(found, key=lambda pair: pair["cell"])


def _beats(block: Potentials, k: int, probes: np.ndarray, dropped: Counter) -> list[_Beat]:
    """The last beats of a preparation that have the time of a window around them, one a probe; counts those without."""
    step = 1000 / RATE
    found = []
    for turn, probe in enumerate(probes):
        V = block.V[k, probe]
        if not np.isfinite(V).all():
            dropped["preparation: not finite"] += 1
            return []
        middle = (V.max() + V.min()) / 2
        up = np.flatnonzero((V[:-1] < middle) & (V[1:] >= middle))
        if V.max() - V.min() < LEAST_HEIGHT or V.min() > LEAST_REST or not up.size:
            dropped["preparation: does not beat"] += 1
            return []
        ends = np.append(up[1:], np.iinfo(np.int64).max)
        has_room = (up * step >= BEFORE + 100) & (up * step + WINDOW - BEFORE + 50 <= len(V) * step)
        steep = [np.diff(V[max(0, i - 50) : i + 50]).max() / step >= LEAST_SLOPE for i in up]
        good = np.flatnonzero(has_room & np.array(steep))
        if turn >= len(good):
            reason = "preparation: no fast upstroke" if not any(steep) else "beat: too few in the time kept"
            dropped[reason] += 1
            break
        at = good[-1 - turn]
        found.append(_Beat(k, int(probe), int(up[at]), int(ends[at])))
    return found


def _seen(block: Potentials, probes: np.ndarray, channels: list[Channel], device: Device) -> np.ndarray:
    """What the electrodes record of a block without noise, (preparation, sample) at the device's rate."""
    rows = np.arange(len(probes))
    missing = BLOCK - len(rows)
    V, inflow = (np.pad(x[rows, probes], ((0, missing), (0, 0)), mode="edge") for x in (block.V, block.inflow))
    together = jax.tree.map(lambda *x: jnp.asarray(np.stack(x), jnp.float32), *channels, *channels[-1:] * missing)
    return np.asarray(_electrodes(together, V, inflow, round(device.sampling_rate / RATE)))[: len(rows)]


@eqx.filter_jit
def _electrodes(channels: Channel, V, inflow, finer: int):
    dt = jnp.asarray(1000 / RATE / finer, jnp.float32)
    return jax.vmap(lambda channel, v, q: channel(_between(v, finer), _between(q, finer), dt))(channels, V, inflow)


def _between(x, finer: int):
    """The samples, and those on the lines between them."""
    at = jnp.arange(finer, dtype=x.dtype) / finer
    following = jnp.concatenate([x[1:], x[-1:]])
    return (x[:, None] * (1 - at)[None, :] + following[:, None] * at[None, :]).reshape(-1)


def _pair(V: np.ndarray, eap: np.ndarray, beat: _Beat, device: Device, rate: float) -> dict[str, Any] | str:
    """The windows of one beat, or why there are none."""
    noise = float(noise_level(eap, device.sampling_rate))
    finer = round(device.sampling_rate / RATE)
    peak, height = _spike(eap, beat.upstroke * finer, device.sampling_rate)
    if height < LEAST_SIGNAL * noise:
        return "beat: extracellular spike below 12 times the noise"
    first = peak - round(BEFORE * device.sampling_rate / 1000)
    length = round(WINDOW * device.sampling_rate / 1000)
    inside = np.interp(np.arange(first, first + length) / finer, np.arange(len(V)), V).astype(np.float32)
    outside = eap[first : first + length]
    before_next = (beat.following * finer - first) / device.sampling_rate * 1000 - HELD
    inside, outside = (held(resample(x, device.sampling_rate, rate), before_next, rate) for x in (inside, outside))
    rest = inside[: round(LEVEL * rate / 1000)].mean()
    if rest - inside.min() > 0.1 * (inside.max() - rest):
        return "beat: began before the last one was over"
    iap = np.asarray(normalise_iap(inside), np.float32)
    apd = np.asarray(action_potential_durations(iap, rate, LEVELS), np.float64)
    if not np.isfinite(apd[:9]).all():
        return "beat: does not repolarise within its window or before the next"
    amplitude = float(outside.max() - np.median(outside[: round((BEFORE - 30) * rate / 1000)]))
    return dict(
        eap=np.asarray(normalise_eap(outside, noise), np.float32), iap=iap, apd=apd, noise=noise, peak=amplitude,
        signal_to_noise=amplitude / noise,
    )  # fmt: skip


def _spike(eap: np.ndarray, upstroke: int, sampling_rate: float) -> tuple[int, float]:
    """The highest sample of the spike about an upstroke, and the height of the spike in its band, mV."""
    factor, fine = fine_grid(sampling_rate)
    near, beyond = round(30 * fine / 1000), round(500 * fine / 1000)
    middle = upstroke // factor
    first = max(0, middle - beyond)
    band = spike_band(averaged(eap[first * factor : (middle + beyond) * factor], factor), fine)
    about = slice(middle - near - first, middle + near - first)
    highest = about.start + int(np.argmax(band[about]))
    around = slice((first + highest - 3) * factor, (first + highest + 4) * factor)
    return around.start + int(np.argmax(eap[around])), float(band[highest])


def held(window: np.ndarray, end: float, rate: float) -> np.ndarray:
    """The window, from `end` ms on at the mean of the 20 ms before."""
    last = max(round(end * rate / 1000), round(LEVEL * rate / 1000))
    if last >= len(window):
        return window
    return np.concatenate(
        [window[:last], np.full(len(window) - last, window[last - round(LEVEL * rate / 1000) : last].mean())]
    ).astype(window.dtype)


def _together(found: Iterable[dict[str, Any]], device: Device, rate: float) -> Pairs:
    found = list(found)
    arrays = {name: np.array([pair[name] for pair in found]) for name in found[0]}
    return Pairs(sampling_rate=rate, device=np.array([device.name] * len(found)), **arrays)
