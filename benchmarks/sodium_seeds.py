"""Is it the seed? Sodium networks trained here from several seeds, each held against every bar in the cell.

    python benchmarks/sodium_seeds.py [--quick] [--seeds N ...] [--out DIR]

- Training: seconds of the clock and of the processor of every network that ships, from seed 0, compilation included;
  and whether the trained network is the one that ships, bit by bit.
- Rates and flow map of each seed, and the exact channel beside them: `jaxcardio.sodium.evaluate` at 0.1 ms, everything,
  and at 0.01 ms the last beat.
- A million random states and steps: how far gates leave [0, 1], and two steps of dt from one of 2 dt.

Results go to sodium_seeds.json.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from common import RESULTS, machine, table, write_json

import jaxcardio as jc
from jaxcardio.models import SkibsbyeSodiumGating
from jaxcardio.sodium.flow_map import GATES

TRAINERS = {
    "rates": jc.sodium.train_rates,
    "flow_map": jc.sodium.train_flow_map,
    "published": jc.sodium.train_published,
    "markov_flow": jc.sodium.train_markov_flow,
}
SEVERAL = ("rates", "flow_map")
"""Those that are trained from every seed; of the others the one that ships."""
EXACT = "exact"
SEMIGROUP = 1e-3
"""Bar, of gates."""


class Sizes(NamedTuple):
    """How much is done."""

    beats: int
    experiments: Sequence[str]
    states: int
    steps: tuple[float, float]
    """All experiments at the first, the last beat at the second, ms."""
    short: dict[str, Any]
    """Options of every training that shorten it."""


FULL = Sizes(100, jc.sodium.EXPERIMENTS, 10**6, (0.1, 0.01), {})
ROUNDS = {"starts": 1, "clamps": 1, "action potentials": 0, "solver": 0}
QUICK = Sizes(1, ("beats", "clamps"), 10**4, (0.1, 0.05), {"rounds": ROUNDS})


def trained(kind: str, seed: int, sizes: Sizes) -> tuple[Any, dict[str, Any]]:
    """A network, and what it took."""
    clock, processor = time.perf_counter(), time.process_time()
    gating = TRAINERS[kind](seed=seed, **(sizes.short if kind in SEVERAL else {})).gating
    took = {"seconds": time.perf_counter() - clock, "processor_seconds": time.process_time() - processor}
    pairs = zip(jax.tree.leaves(gating), jax.tree.leaves(jc.sodium.load(kind)), strict=True)
    return gating, {"network": kind, "seed": seed, **took, "ships": all(np.array_equal(*pair) for pair in pairs)}


def bounds(gating: Any, n: int, seed: int = 0) -> dict[str, float]:
    """How far gates leave [0, 1], and two steps from one of twice the length, at most; steps of 1 to 100 us."""
    rng = np.random.default_rng(seed)
    V, gates = jnp.asarray(rng.uniform(-140, 100, n)), jnp.asarray(rng.uniform(0, 1, (3, n)))
    dt = jnp.asarray(np.exp(rng.uniform(np.log(1e-3), np.log(0.1), n)))

    @jax.jit
    def after(gates, dt):
        rates = gating.rates(V, None)
        return jnp.stack([x + rates[name].increment(x, dt) for name, x in zip(GATES, gates, strict=True)])

    once, twice = after(gates, 2 * dt), after(after(gates, dt), dt)
    outside = jnp.maximum(jnp.max(once - 1), jnp.max(-once))
    return {"outside": max(0.0, float(outside)), "semigroup": float(jnp.abs(once - twice).max())}


def measured(name: str, seed: int | None, gating: Any, sizes: Sizes) -> list[dict[str, Any]]:
    """A row for each number of the table of the bars."""
    cell, who = jc.models.Skibsbye2016().replace(sodium=gating), {"network": name, "seed": seed}
    rows = []
    for dt, experiments in zip(sizes.steps, (sizes.experiments, ("beats",)), strict=True):
        found = jc.sodium.evaluate(cell, dt, beats=sizes.beats, experiments=experiments)
        rows += [who | {"dt": dt} | row for row in found.as_json()["rows"]]
    for what, value in bounds(gating, sizes.states).items():
        bar = SEMIGROUP if what == "semigroup" else 0.0
        rows.append(
            who | {"dt": None, "experiment": "bounds", "name": what, "value": value, "reference": None, "unit": "1",
                   "bar": bar, "at": "", "difference": value, "met": value <= bar}
        )  # fmt: skip
    return rows


TRAINING = {
    "network": ("network", "s"),
    "seed": ("seed", "d"),
    "seconds": ("seconds", ".1f"),
    "processor_seconds": ("of the processor", ".1f"),
    "ships": ("is what ships", "s"),
}
ROWS = {
    "network": ("network", "s"),
    "seed": ("seed", "d"),
    "dt": ("dt ms", "g"),
    "name": ("what", "s"),
    "difference": ("difference", ".5f"),
    "bar": ("bar", "g"),
    "met": ("met", "s"),
    "unit": ("unit", "s"),
    "at": ("at", "s"),
}


def as_text(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """True and False as words."""
    return [{k: {True: "yes", False: "no"}[x] if isinstance(x, bool) else x for k, x in row.items()} for row in rows]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="short training, one beat: to see that it works")
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1, 2), metavar="N")
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    sizes = QUICK if given.quick else FULL
    path = given.out / f"sodium_seeds{'_quick' if given.quick else ''}.json"
    kinds = SEVERAL if given.quick else tuple(TRAINERS)
    networks, training = [], []
    for seed in given.seeds:
        for kind in kinds if seed == given.seeds[0] else SEVERAL:
            gating, took = trained(kind, seed, sizes)
            networks.append((kind, seed, gating))
            training.append(took)
    print(table(as_text(training), TRAINING), end="\n\n", flush=True)
    rows = measured(EXACT, None, SkibsbyeSodiumGating(), sizes)
    content = {"benchmark": "sodium_seeds", "quick": given.quick, "machine": machine(), "training": training}
    for kind, seed, gating in networks:
        if kind in SEVERAL:
            rows += measured(kind, seed, gating, sizes)
        write_json(path, content | {"rows": rows})  # what is done is kept
    print(table(as_text([row for row in rows if row["bar"] is not None]), ROWS))


if __name__ == "__main__":
    main()
