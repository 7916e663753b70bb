"""What a protocol is, its time counted from elsewhere, and what all protocols check."""

import abc
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike

from ..arguments import check, check_known, check_number, is_real, is_traced, refusal
from ..clock import LATEST, RESOLUTION, check_time, inside

Kind = Literal["current", "voltage"]
if TYPE_CHECKING:
    Number = Any
else:
    Number = ArrayLike
    """A number or an array of them: of Python, numpy or jax; traced where it may be."""

Method = TypeVar("Method", bound=Callable[..., np.ndarray])

MOST = 10**8
"""More edges, onsets or corners than this in one stretch of time are refused."""
PROBE, PROBES = 0.005, 2_000_000
"""A protocol that tells nothing of itself is looked at so often, every so many ms, and at no more times than this."""


def spanned(method: Method) -> Method:
    """Of a method that is asked for a stretch of time: its ends are numbers, or refused by name."""

    @functools.wraps(method)
    def checked(self, t0, t1):
        for name, value in (("t0", t0), ("t1", t1)):
            check_known(name, value, "ms", "a number, not NaN", lambda t: t == t)
        return method(self, t0, t1)

    return checked  # pyright: ignore[reportReturnType]


class AbstractProtocol(eqx.Module):
    """Something applied to a cell over time.

    A protocol of your own gives `kind`, `value`, `edges`, `onsets` and `shortest`. What it may give besides: `corners`,
    if adaptive solvers need not stop every `shortest()` ms, and `since`, if it loses digits far from time 0.
    """

    @property
    @abc.abstractmethod
    def kind(self) -> Kind:
        """ "current": a stimulus in pA/pF. "voltage": an ideal clamp in mV."""

    @abc.abstractmethod
    def value(self, t: ArrayLike) -> Any:
        """The stimulus (pA/pF) or command (mV) at time t (ms), elementwise; in float64 numpy if all is concrete.

        There, a time within `clock.RESOLUTION` before an edge is at it, and has the value after it.
        """

    @abc.abstractmethod
    def edges(self, t0: float, t1: float) -> np.ndarray:
        """Times of every jump or corner inside (t0, t1), ascending, ms: none within `clock.RESOLUTION` of t0 or t1, or
        of another."""

    @abc.abstractmethod
    def onsets(self, t0: float, t1: float) -> np.ndarray:
        """Times in [t0, t1) at which a stimulus pulse begins, ascending, ms; none under a clamp.

        One within `clock.RESOLUTION` before t0 is in, and one as close before t1 is not.
        """

    @abc.abstractmethod
    def shortest(self) -> float:
        """Shortest feature that a time step must resolve, ms."""

    def corners(self, t0: float, t1: float) -> np.ndarray:
        """Times inside (t0, t1), ascending, ms, beside the edges, between which an adaptive solver steps over nothing.

        Here: one every `shortest()` ms. Our own protocols know better.

        ValueError: there would be more than `MOST`; or the protocol changes, but has neither edges nor a shortest
        feature.
        """
        step, name = self.shortest(), type(self).__name__
        if np.isfinite(step):
            check(f"{name}.shortest()", step, "ms", f"> {RESOLUTION:g}, or inf", lambda x: x > RESOLUTION)
            check_count(f"{name}.shortest()", step, (t1 - t0) / step, "corners", t0, t1)
            return inside(t0 + step * np.arange(1, np.ceil((t1 - t0) / step)), t0, t1)
        if len(self.edges(t0, t1)) == 0 and not _is_constant(self, t0, t1):
            raise ValueError(
                f"{name}: it has no edges from {t0} to {t1} ms and its shortest feature is inf ms, but its value "
                "changes there, or may (it is traced, or the time too long to look), so a solver could step over it; "
                "let shortest(), edges() or corners() tell"
            )
        return np.zeros(0)

    def since(self, t0: float) -> "AbstractProtocol":
        """The protocol in time counted from t0 (ms), for times from t0 on: `p.since(t0).value(t - t0) == p.value(t)`.

        Ours have small numbers then, so that compiled code in float32 loses nothing. Here: a `Shifted`.
        """
        check_time("t0", t0)
        return self if t0 == 0 else Shifted(self, float(t0))


class Shifted(AbstractProtocol):
    """The `inner` protocol in time counted from its time `t0` (ms)."""

    inner: AbstractProtocol
    t0: Number

    @property
    def kind(self):  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.inner.kind

    def __check_init__(self):
        check_part("inner", self.inner)
        check_number("t0", self.t0, "ms", *TIME)

    def value(self, t):
        return self.inner.value(namespace(self, t).asarray(t) + self.t0)

    @spanned
    def edges(self, t0, t1):
        (by,) = times_of(self, self.t0)
        return inside(self.inner.edges(by + t0, by + t1) - by, t0, t1)

    @spanned
    def onsets(self, t0, t1):
        (by,) = times_of(self, self.t0)
        return self.inner.onsets(by + t0, by + t1) - by

    @spanned
    def corners(self, t0, t1):
        (by,) = times_of(self, self.t0)
        return inside(self.inner.corners(by + t0, by + t1) - by, t0, t1)

    def shortest(self):
        return self.inner.shortest()

    def since(self, t0):
        if is_traced(self.t0) or abs(self.t0 + t0) > LATEST:
            return super().since(t0)
        return self.inner.since(float(self.t0 + t0))


# --- what the protocols share ----------------------------------------------------------------------------------------

TIME = (f"finite, within +-{LATEST:.4g}", lambda t: (np.abs(t) <= LATEST).all())
"""What a time in ms may be, in words and as a test."""
LENGTH = (f"> 0, by more than {RESOLUTION:g}, to {LATEST:.4g}", lambda t: ((t > RESOLUTION) & (t <= LATEST)).all())
FINITE = ("finite", lambda x: np.isfinite(x).all())


def number(x: Any) -> Any:
    """A number as it is, but not an array that its owner can change."""
    return np.array(x) if isinstance(x, np.ndarray) else x


def sequence(x: Any) -> Any:
    """Numbers as an array of our own: those of a list as float64, others in their own precision; else x as it is."""
    if isinstance(x, list | tuple) and is_traced(*x):
        return jnp.asarray(x, float)
    if not isinstance(x, list | tuple | np.ndarray):
        return x
    try:
        array = np.array(x)
    except ValueError:  # rows of several lengths
        return x
    if not is_real(array) and array.size:
        return x
    return array if isinstance(x, np.ndarray) and array.dtype.kind == "f" else np.asarray(array, float)


def check_numbers(name: str, value: Any, unit: str, allowed: str, is_allowed: Callable[[np.ndarray], Any]) -> None:
    """As `check`, for a list of numbers that must be given."""
    if value is None or (is_traced(value) and np.ndim(value) != 1):
        raise refusal(name, value, unit, f"a list of numbers, {allowed}")
    check(name, value, unit, allowed, is_allowed)


def check_kind(kind: Any) -> None:
    if not isinstance(kind, str) or kind not in ("current", "voltage"):
        raise refusal("kind", kind, "", "'current' or 'voltage'")


def check_part(name: str, part: Any) -> None:
    """A ValueError unless this part of a composition is a protocol."""
    if not isinstance(part, AbstractProtocol):
        raise refusal(name, part, "", "a protocol")


def check_count(name: str, value: Any, count: float, what: str, t0: float, t1: float) -> None:
    """A ValueError unless so many `what` from t0 to t1 fit in memory."""
    if not count <= MOST:
        raise ValueError(
            f"{name} = {value} ms: {count:.3g} {what} from {t0} to {t1} ms; allowed: at most {MOST:.0e} in one run"
        )


def unit_of(kind: Kind) -> str:
    return "mV" if kind == "voltage" else "pA/pF"


def namespace(protocol: AbstractProtocol, t: Any) -> Any:
    """numpy (float64, on the host) where every number is a host number, else jax.numpy."""
    leaves = (t, *jax.tree.leaves(protocol))
    return np if all(isinstance(x, (float, int, np.ndarray, np.generic)) for x in leaves) else jnp


def at_edges(xp: Any, t: Any) -> Any:
    """The time by which to tell on which side of an edge t (ms) is.

    On the host a time that rounding puts before an edge is at it. Compiled code keeps every time as it is: solvers look
    just before an edge for the value before it.
    """
    return t + RESOLUTION if xp is np else t


def times_of(protocol: AbstractProtocol, *values: Any) -> list[Any]:
    """Times of a protocol as float64 on the host; a ValueError if they are traced."""
    if is_traced(*values):
        raise ValueError(
            f"the times of {type(protocol).__name__} are traced, so its edges cannot be put on the time grid; "
            "make the protocol outside jit/grad/vmap, or pass grid= with the edges on it"
        )
    return [np.asarray(v, np.float64) for v in values]


def starting(times: np.ndarray, t0: float, t1: float) -> np.ndarray:
    """Those of the ascending onsets that are in [t0, t1)."""
    return times[(times >= t0 - RESOLUTION) & (times < t1 - RESOLUTION)]


def from_zero(time: Any) -> Any:
    """Times (ms) that are 0 but for rounding, as 0."""
    return np.where(np.abs(time) <= RESOLUTION / 2, 0.0, time)


def like(new: np.ndarray, old: Any) -> Any:
    """Host numbers in the precision, and on the side, of those that they take the place of."""
    return jnp.asarray(new, old.dtype) if isinstance(old, jax.Array) else new


def _is_constant(protocol: AbstractProtocol, t0: float, t1: float) -> bool:
    """Whether the value is seen to be the same all over [t0, t1]; False if that cannot be known."""
    n = np.ceil((t1 - t0) / PROBE)
    if n > PROBES:
        return False
    with jax.ensure_compile_time_eval():
        seen = protocol.value(np.linspace(t0, t1, max(int(n), 1000) + 1))
    if is_traced(seen):
        return False
    seen = np.asarray(seen, float)
    return bool((seen == seen.ravel()[0]).all())
