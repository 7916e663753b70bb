"""What the networks learn from: every state of a cell over its last paced beats, at many cycle lengths."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from ..annotations import typed
from ..arguments import check, refusal
from ..cell import AbstractCell
from ..progress import progress_bar
from ..protocols import PulseTrain
from ..simulation.grid import paced_grid, staged_grid
from ..simulation.simulate import simulate
from ..solvers import RushLarsen2

CYCLE_LENGTHS = np.arange(300.0, 801.0, 5.0)
"""ms; 101 of them, as in the study."""
DURATION = 20_000.0
"""ms that each cycle length is paced for, the first half of which is left out."""
ONSET = 10.0
"""ms of each cycle at which its stimulus begins, as in the study (near 300 ms it decides which pulses capture)."""
STAGES = ((1.0, 0.02), (3.0, 0.1), (10.0, 0.25), (40.0, 0.5), (np.inf, 1.0))
"""Samples after a stimulus: (until, every), ms. Whole milliseconds are among them."""


class PacedBeats(NamedTuple):
    """Beats of one cell at several cycle lengths; the stimulus of each begins at `ONSET`.

    cycle_lengths: ms. ts: ms of the cycle, the same for all; a beat ends where its cycle length does.
    states: one state (NamedTuple) a cycle length, of shape (beats, times up to the cycle length inclusive).
    """

    cycle_lengths: Float[np.ndarray, " lengths"]
    ts: Float[np.ndarray, " times"]
    states: tuple[Any, ...]

    def every_ms(self, k: int) -> Any:
        """The k-th cycle length as one trace sampled every millisecond, the beats end to end: shape (samples,)."""
        whole = np.flatnonzero(self.ts[: self.states[k][0].shape[1]] % 1 == 0)[:-1]
        return jax.tree.map(lambda x: x[:, whole].reshape(-1), self.states[k])

    def beats_every_ms(self, k: int) -> Any:
        """The same, a beat a row, its end (which is the next one's begin) included."""
        whole = np.flatnonzero(self.ts[: self.states[k][0].shape[1]] % 1 == 0)
        return jax.tree.map(lambda x: x[:, whole], self.states[k])

    def select(self, which: Sequence[int] | np.ndarray) -> "PacedBeats":
        """Some of the cycle lengths."""
        return PacedBeats(self.cycle_lengths[list(which)], self.ts, tuple(self.states[k] for k in which))


def pulse() -> PulseTrain:
    """The stimulus of a cycle: -52 pA/pF for 1 ms."""
    return PulseTrain(amplitude=-52.0, duration=1.0, period=1e6, start=ONSET)


@typed
def paced_beats(
    cell: AbstractCell,
    cycle_lengths: Float[np.ndarray, " lengths"] | Sequence[float] = CYCLE_LENGTHS,
    *,
    duration: float = DURATION,
    y0: Any = None,
    progress: bool | Callable[[float], None] = False,
) -> PacedBeats:
    """Paces a cell at each cycle length for `duration` ms and keeps the beats of the second half.

    All cycle lengths run abreast, beat by beat: each is carried on from where its own cycle ended.

    Args:
        cell: what to pace; one cell, not a population.
        cycle_lengths: ms, whole milliseconds, at least 50.
        duration: ms; at least two of the longest cycle.
        y0: state at the beginning; default the cell's published one.
        progress: True for a bar on stderr, or a function of the fraction done.

    ValueError: an argument out of its range; a cell whose states do not stay finite.
    """
    lengths = np.asarray(cycle_lengths, float)
    if lengths.ndim != 1 or not len(lengths) or not (lengths % 1 == 0).all() or lengths.min() < 50:
        raise ValueError(f"cycle_lengths = {cycle_lengths} ms; allowed: whole milliseconds, each at least 50")
    check("duration", duration, "ms", f"at least {2 * lengths.max()}", lambda x: x >= 2 * lengths.max())
    fields = type(cell.initial_state())._fields
    if y0 is not None and (isinstance(y0, type) or getattr(y0, "_fields", None) != fields):
        raise refusal("y0", y0, "", f"a state with fields {', '.join(fields)}, as cell.initial_state()")
    longest = lengths.max()
    stimulus = pulse()
    ts = np.append(np.arange(ONSET), staged_grid(np.array([ONSET]), np.zeros(0), ONSET, longest, STAGES))
    grid = paced_grid(stimulus, longest)
    ends = np.searchsorted(ts, lengths)
    counts = (duration // lengths).astype(int)
    begin = cell.initial_state() if y0 is None else y0
    y = jax.tree.map(lambda x: jnp.broadcast_to(x, lengths.shape), begin)
    report = progress_bar("pacing", counts.max(), "beats") if progress is True else progress or (lambda done: None)
    kept: list[list[Any]] = [[] for _ in lengths]
    for beat in range(counts.max()):
        ys = simulate(cell, stimulus, t1=longest, grid=grid, save_at=ts, solver=RushLarsen2(), y0=y).ys
        y = jax.tree.map(lambda x: x[np.arange(len(lengths)), ends], ys)
        finite = np.all([np.isfinite(x) for x in y], 0)
        if not finite.all():
            failed = ", ".join(f"{length:g}" for length in lengths[~finite])
            raise ValueError(
                f"cell: its states are no longer finite in beat {beat + 1} at cycle lengths of {failed} ms"
            )
        for k in np.flatnonzero((beat < counts) & (beat >= counts // 2)):
            kept[k].append(jax.tree.map(lambda x, k=k: np.asarray(x[k, : ends[k] + 1]), ys))
        report((beat + 1) / counts.max())
    return PacedBeats(lengths, ts, tuple(jax.tree.map(lambda *x: np.stack(x), *some) for some in kept))
