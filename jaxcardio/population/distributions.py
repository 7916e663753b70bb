"""Distributions of the factors that make a population: each is a function of (seed, names, indices) alone."""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ..annotations import typed
from ..arguments import check_known
from .hashing import owen_scrambled, permuted, random_words, sobol_points

JITTER_BITS = 20
"""Of the place inside a stratum: with up to 32 bits of stratum, their sum is exact in float64."""


class AbstractDistribution(abc.ABC):
    """How parameters are varied: what each one of a cell is multiplied by."""

    @abc.abstractmethod
    def factors(
        self, names: Sequence[str], *, seed: int, indices: Int[np.ndarray, " n"]
    ) -> Float[np.ndarray, "n parameters"]:
        """The factor of each named parameter in each of the cells `indices` (0 <= index < 2^32), float64.

        ValueError: an index, or a number of names, that the design does not have.
        """


@dataclasses.dataclass(frozen=True)
class Uniform(AbstractDistribution):
    """Independent uniform factors in 1 +- spread, 0 <= spread < 1.

    A parameter of a cell is the same whichever others are varied.
    """

    spread: float

    def __post_init__(self):
        _check_spread(self.spread)

    def factors(self, names, *, seed, indices):
        return np.stack([_around_one(_uniform(seed, name, indices), self.spread) for name in names], axis=1)


@dataclasses.dataclass(frozen=True)
class LogNormal(AbstractDistribution):
    """Independent log-normal factors with median 1; `sigma` >= 0 is the standard deviation of their natural logarithm.

    Without `truncation` |ln factor| stays below 6.4 sigma; with it, below that many sigmas: the distribution given
    that it lies there, not values moved to its ends. A parameter of a cell is the same whichever others are varied. A
    cell is bitwise the same on one machine; elsewhere another exponential may round the last bit differently.
    """

    sigma: float
    truncation: float | None = None

    def __post_init__(self):
        check_known("sigma", self.sigma, "", ">= 0 (of the natural logarithm)", lambda x: 0 <= x < np.inf)
        if self.truncation is not None:
            check_known("truncation", self.truncation, "sigmas", "> 0 sigmas, or None", lambda x: 0 < x < np.inf)

    def factors(self, names, *, seed, indices):
        from scipy.special import ndtr, ndtri  # costs time to import, and only this needs it

        tail = 0.0 if self.truncation is None else ndtr(-self.truncation)
        u = np.stack([_uniform(seed, name, indices) for name in names], axis=1)
        return np.exp(self.sigma * ndtri(tail + (1 - 2 * tail) * u))


@dataclasses.dataclass(frozen=True)
class LatinHypercube(AbstractDistribution):
    """A Latin hypercube of `cells` cells in 1 +- spread: each of `cells` equal strata of each parameter has one cell.

    The design is all of its cells; any part of it can be made alone, and an index beyond it is an error. Cell i and
    its parameter are the same whichever other parameters are varied, but not in a design of another size.
    """

    spread: float
    cells: int

    def __post_init__(self):
        _check_spread(self.spread)
        if not _is_whole(self.cells) or not 1 <= self.cells <= 2**32:
            raise ValueError(f"cells = {self.cells} cells; allowed: a whole number from 1 to 2^32")

    def factors(self, names, *, seed, indices):
        if indices.max() >= self.cells:
            raise ValueError(f"index = {indices.max()}; allowed: 0 to {self.cells - 1}, the cells of {self}")
        return np.stack([_around_one(self._places(name, seed, indices), self.spread) for name in names], axis=1)

    def _places(self, name, seed, indices):
        stratum = permuted(seed, f"Latin hypercube, strata of {name}", indices, self.cells)
        jitter = random_words(seed, f"Latin hypercube, jitter of {name}", indices) >> np.uint32(32 - JITTER_BITS)
        return (stratum + (jitter + 0.5) / 2**JITTER_BITS) / self.cells


@dataclasses.dataclass(frozen=True)
class Sobol(AbstractDistribution):
    """A scrambled Sobol sequence in 1 +- spread: every block of 2^k cells (from a multiple of it) fills space evenly.

    The sequence is that of scipy (Joe and Kuo's direction numbers), Owen-scrambled by the seed and the parameter's
    name. Dimension k belongs to the k-th name: the list of names, and its order, is part of the definition of a cell.
    Populations of two seeds are not independent cell by cell (a scrambling only swaps halves, quarters, ...); their
    means are.
    """

    spread: float

    def __post_init__(self):
        _check_spread(self.spread)

    def factors(self, names, *, seed, indices):
        from scipy.stats import qmc  # half a second to import, and only these designs need it

        if len(names) > qmc.Sobol.MAXDIM:
            raise ValueError(f"parameters = {len(names)} names; allowed for Sobol: at most {qmc.Sobol.MAXDIM}")
        points = sobol_points(indices, len(names)).T
        streams = [f"Sobol, scrambling of {name}" for name in names]
        places = [_unit(owen_scrambled(seed, stream, x)) for stream, x in zip(streams, points, strict=True)]
        return np.stack([_around_one(u, self.spread) for u in places], axis=1)


KINDS: dict[str, type[AbstractDistribution]] = {x.__name__: x for x in (Uniform, LogNormal, LatinHypercube, Sobol)}


@typed
def distribution_to_json(distribution: AbstractDistribution) -> dict[str, Any]:
    """The distribution as a plain dict that JSON can hold, e.g. `{"type": "Uniform", "spread": 0.2}`."""
    fields = dataclasses.asdict(distribution)  # pyright: ignore[reportArgumentType]
    plain = {k: v if v is None or _is_whole(v) else float(v) for k, v in fields.items()}
    return {"type": type(distribution).__name__, **plain}


def distribution_from_json(written: Mapping[str, Any]) -> AbstractDistribution:
    """The distribution that `distribution_to_json` wrote; a ValueError says what is wrong with it."""
    if not isinstance(written, Mapping) or written.get("type") not in KINDS:
        kind = written.get("type") if isinstance(written, Mapping) else written
        raise ValueError(f"distribution: type {kind!r}; allowed: {', '.join(KINDS)}")
    kind = KINDS[written["type"]]
    try:
        return kind(**{k: v for k, v in written.items() if k != "type"})
    except TypeError as error:  # a field that is missing, or that there is none of
        raise ValueError(f"distribution: {error}") from None


def _uniform(seed, stream, indices):
    return _unit(random_words(seed, stream, indices))


def _unit(words):
    """Random words as numbers inside (0, 1), never its ends."""
    return (words.astype(np.float64) + 0.5) / 2**32


def _around_one(u, spread):
    return 1 + spread * (2 * u - 1)


def _check_spread(spread):
    try:
        check_known("spread", spread, "", "", lambda x: 0 <= x < 1)
    except ValueError:
        said = " ".join(str(spread).split())
        raise ValueError(f"spread = {said}; allowed: 0 <= spread < 1 (relative)") from None


def _is_whole(x) -> bool:
    return isinstance(x, int) and not isinstance(x, bool)
