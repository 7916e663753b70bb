"""Times that were checked on the host, given to Diffrax so that it does not check them again inside the program.

Such a check is a call from the compiled program to Python, and JAX keeps no program that has one in its persistent
cache: every new process would compile every adaptive run anew.
"""

from typing import Any

import diffrax
import equinox as eqx
from jaxtyping import Array, Float


class AscendingTimes(eqx.Module):
    """Ascending times within the run, as `SubSaveAt(ts=...)` uses them: an array for which no comparison fails."""

    times: Float[Array, " n"]

    @property
    def dtype(self):
        return self.times.dtype

    def astype(self, dtype) -> "AscendingTimes":
        return AscendingTimes(self.times.astype(dtype))

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, index) -> "AscendingTimes | Array":
        chosen = self.times[index]
        return AscendingTimes(chosen) if isinstance(index, slice) else chosen

    def __mul__(self, direction) -> "AscendingTimes":
        return AscendingTimes(self.times * direction)

    def __lt__(self, other) -> bool:
        return False

    def __gt__(self, other) -> bool:
        return False


def saved_at(times: Float[Array, " n"], observed) -> diffrax.SubSaveAt:
    """`SubSaveAt(ts=times, fn=observed)` for ascending times within the run."""
    asked = diffrax.SubSaveAt(ts=times, fn=observed)
    return eqx.tree_at(lambda sub: sub.ts, asked, AscendingTimes(times)) if len(times) else asked


class FirstStep(diffrax.AbstractAdaptiveStepSizeController):
    """Another controller that begins with a step of `length` (ms, > 0); used with `dt0=None`."""

    controller: diffrax.AbstractAdaptiveStepSizeController
    length: Float[Array, ""]

    @property
    def rtol(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.controller.rtol

    @property
    def atol(self):  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.controller.atol

    @property
    def norm(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.controller.norm

    def wrap(self, direction) -> "FirstStep":
        return FirstStep(self.controller.wrap(direction), self.length * direction)  # pyright: ignore[reportCallIssue]

    def init(self, terms, t0, t1, y0, dt0, args, func, error_order) -> tuple[Any, Any]:
        return self.controller.init(terms, t0, t1, y0, self.length, args, func, error_order)

    def adapt_step_size(self, t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state) -> Any:
        return self.controller.adapt_step_size(t0, t1, y0, y1_candidate, args, y_error, error_order, controller_state)
