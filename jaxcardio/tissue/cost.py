"""Where the time of a step goes."""

import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from ..annotations import typed
from ..arguments import check_whole
from .grid import Tissue
from .loop import begin, blocks, diffuse
from .simulate import prepared
from .splitting import Method, Splitting
from .stimulus import Stimulus

REPEATS = 3


class Cost(NamedTuple):
    """Seconds that a step of a tissue takes, once compiled."""

    step: float
    """All of it."""
    diffusion: float
    """Its diffusion, timed by itself."""

    @property
    def cells(self) -> float:
        """The rest: ionic currents and gates, and the search for activations, s."""
        return self.step - self.diffusion

    @property
    def steps_per_second(self) -> float:
        """Of the whole tissue."""
        return 1 / self.step


@typed
def cost(
    tissue: Tissue,
    stimuli: Sequence[Any] | Stimulus | None = (),
    *,
    dt: float | None = None,
    solver: diffrax.AbstractSolver | None = None,
    splitting: Splitting = "strang",
    diffusion: Method = "explicit",
    y0: Any = None,
    threshold: float | None = None,
    beats: int = 1,
    devices: Sequence[Any] | None = None,
    steps: int = 100,
) -> Cost:
    """Times a step of a tissue, and the diffusion in it, on this machine, in the state `y0`.

    Both are compiled programs of so many steps, run once before and then the fastest of three; the cells are the rest.
    Writing is no part of it: `record` times that as it writes.

    Args:
        tissue, stimuli, dt, solver, splitting, diffusion, y0, threshold, beats, devices: as for `simulate`.
        steps: that are timed together.
    """
    check_whole("steps", steps, "steps")
    ready = prepared(tissue, stimuli, dt, None, solver, splitting, diffusion, y0, threshold, beats, devices)
    length = steps * ready.dt
    plan = ready.plan(0.0, length, np.array([length]), np.array([length]), goes_on=True)
    loop = ready.loop_of(plan)
    carry = begin(loop, ready.y0, jax.tree.map(lambda x: x[0, 0], plan.steps))
    V = getattr(ready.y0, loop.cell.potential)
    dts = jnp.asarray(plan.dt, V.dtype)
    whole = _seconds(lambda: blocks(loop, carry, plan.steps)) / len(plan.dt)
    return Cost(whole, min(whole, _seconds(lambda: diffuse(loop, V, dts)) / len(plan.dt)))


def _seconds(run: Callable[[], Any]) -> float:
    """The fastest of `REPEATS` runs, after one that compiles."""
    jax.block_until_ready(run())
    found = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        jax.block_until_ready(run())
        found.append(time.perf_counter() - began)
    return min(found)
