"""Pairs of windows that take no simulation: plateaus of different lengths, and a field that shows where they end."""

import numpy as np

from jaxcardio.intracellular.pairs import Pairs

RATE = 1000.0
LEVELS = np.arange(10, 101, 10) / 100


def simple_pairs(cells: int, beats: int = 2, *, seed: int = 0, samples: int = 1600, rough: float = 0.0) -> Pairs:
    """Windows at 1 kHz whose upstroke is at 200 ms.

    A sigmoid of 20 ms ends a plateau of 250 to 600 ms, of a length that beats of a cell share within 3 ms. The field
    has a spike at the upstroke, a wave at the plateau's end, and noise. `rough` is the standard deviation of how far
    the true traces are off, a height that each beat has of its own.
    """
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / RATE * 1000 - 200
    n = cells * beats
    cell = np.repeat(np.arange(cells), beats)
    length = rng.uniform(250, 600, cells)[cell] + rng.normal(size=n)
    width = 20.0
    end = t[None] - length[:, None]
    shape = np.where(t >= 0, 1 / (1 + np.exp(np.clip(end / width, -50, 50))), 0.0)
    off = rough * rng.normal(size=(n, 1)) * shape
    spike = np.exp(-((t / 5) ** 2)) - 0.4 * np.exp(-(((t - 12) / 8) ** 2))
    eap = 2 * spike[None] + 0.5 * np.exp(-((end / 40) ** 2)) + 0.01 * rng.normal(size=(n, samples))
    # 1 - level of the height: the sigmoid crosses it at the end plus width x log(level / (1 - level)).
    crossing = width * np.log(LEVELS[:-1] / (1 - LEVELS[:-1]))
    apd = np.concatenate([length[:, None] + crossing[None], np.full((n, 1), np.nan)], 1)
    return Pairs(
        eap=eap.astype(np.float32),
        iap=(0.1 + 0.9 * shape + off).astype(np.float32),
        apd=apd,
        sampling_rate=RATE,
        cell=cell,
        drug=np.array(["none"] * n),
        concentration=np.zeros(n),
        device=np.array(["made up"] * n),
        signal_to_noise=rng.uniform(20, 70, n),
        noise=np.full(n, 0.01),
        peak=np.full(n, 1.0),
    )
