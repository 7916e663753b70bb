"""Comparators for windows: the least that a network must beat. eAP windows in, iAP windows out.

model = mean_predictor(train_pairs)
iap = model(eap)                    # (pair, sample) -> (pair, sample)
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from ...annotations import typed
from ...arguments import check_seed, refusal
from .table import folds_of

if TYPE_CHECKING:
    from ..pairs import Pairs

Windows = Float[np.ndarray, "pairs samples"]
Predictor = Callable[[Windows], Windows]
COMPONENTS: tuple[int, ...] = (5, 10, 20, 40, 80, 160)
"""Numbers to choose from. 320 gained nothing on new cells with 529 training pairs."""
RIDGES: tuple[float, ...] = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Penalties to choose from, as parts of the mean variance of the components used."""
MOST_WINDOWS = 3000
"""For the principal components: as many training windows, evenly spaced, are enough."""
HELD_OUT = 5
"""Without validation pairs, one part in so many of the training cells is held out to choose by."""
NEGLIGIBLE, TINY = 1e-10, float(np.finfo(float).tiny)
"""Part of the largest variance below which there is no further component; the smallest number to divide by."""


@typed
def mean_predictor(pairs: "Pairs") -> Predictor:
    """The mean iAP of the training pairs, whatever the eAP."""
    mean = np.asarray(pairs.iap).mean(axis=0, dtype=np.float64).astype(np.float32)
    return lambda eap: np.tile(mean, (len(eap), 1))


@typed
def eap_as_prediction(pairs: "Pairs") -> Predictor:
    """The normalised eAP itself, taken for the iAP. Nothing is learned; `pairs` is there for the common interface."""
    return lambda eap: np.asarray(eap, np.float32)


class ComponentRidge(NamedTuple):
    """A linear map from principal components of the eAP to the iAP.

    Attributes:
        mean_eap, basis: the components of a window are (eap - mean_eap) @ basis.
        slopes, mean_iap: the iAP is mean_iap + components @ slopes.
        ridge: the penalty that was chosen, as a part of the mean variance of the components.
        error: mean absolute error on the windows it was chosen by.
    """

    mean_eap: Float[np.ndarray, " samples"]
    basis: Float[np.ndarray, "samples components"]
    slopes: Float[np.ndarray, "components samples"]
    mean_iap: Float[np.ndarray, " samples"]
    ridge: float
    error: float = np.nan

    def __call__(self, eap: Windows) -> Windows:
        scores = (np.asarray(eap, np.float64) - self.mean_eap) @ self.basis
        return (self.mean_iap + scores @ self.slopes).astype(np.float32)


@typed
def component_ridge(pairs: "Pairs", validation: "Pairs | None" = None, *, seed: int = 0) -> ComponentRidge:
    """Ridge regression of the iAP on principal components of the eAP.

    The number of components (`COMPONENTS`) and the penalty (`RIDGES`) are those with the least mean absolute error on
    `validation`; without it, on a fifth of the training cells, after which all are fitted again.

    ValueError: fewer than two cells and no `validation`.
    """
    check_seed(seed)
    train = _split(pairs)
    if validation is not None:
        return _best(_moments(train), _split(validation))
    out = _held_out(np.asarray(pairs.cell), seed)
    chosen = _best(_moments(_Split(train.eap[~out], train.iap[~out])), _Split(train.eap[out], train.iap[out]))
    return _solved(_moments(train), chosen.basis.shape[1], chosen.ridge)._replace(error=chosen.error)


class _Split(NamedTuple):
    eap: Windows
    iap: Windows


class _Moments(NamedTuple):
    """What any ridge on the leading components of these windows needs."""

    mean_eap: np.ndarray
    mean_iap: np.ndarray
    basis: np.ndarray
    gram: np.ndarray
    cross: np.ndarray


def _split(pairs: "Pairs") -> _Split:
    return _Split(np.asarray(pairs.eap, np.float64), np.asarray(pairs.iap, np.float64))


def _held_out(cell: np.ndarray, seed: int) -> Bool[np.ndarray, " pairs"]:
    """A mask of the pairs of one cell in `HELD_OUT`, drawn at random."""
    names, index = np.unique(cell, return_inverse=True)
    if len(names) < 2:
        raise refusal("pairs", len(names), "cells", ">= 2 cells, or validation pairs to choose by")
    shuffled = np.random.default_rng(seed).permutation(len(names))[index]
    return folds_of(shuffled, HELD_OUT)[0]


def _best(train: _Moments, valid: _Split) -> ComponentRidge:
    counts = sorted({min(n, train.basis.shape[1]) for n in COMPONENTS})
    every = [_solved(train, n, ridge) for n in counts for ridge in RIDGES]
    errors = [float(np.abs(model(valid.eap) - valid.iap).mean()) for model in every]
    return every[int(np.argmin(errors))]._replace(error=min(errors))


def _moments(train: _Split) -> _Moments:
    mean_eap, mean_iap = train.eap.mean(axis=0), train.iap.mean(axis=0)
    basis = _basis(train.eap)
    scores = (train.eap - mean_eap) @ basis
    return _Moments(mean_eap, mean_iap, basis, scores.T @ scores, scores.T @ (train.iap - mean_iap))


def _basis(eap: Windows) -> Float[np.ndarray, "samples components"]:
    """Leading directions of the windows' variation, largest first, as far as there are any."""
    some = eap[:: -(-len(eap) // MOST_WINDOWS)]
    some = some - some.mean(axis=0)
    # The smaller of the two products has the same eigenvalues as the other.
    is_wide = some.shape[0] < some.shape[1]
    values, vectors = np.linalg.eigh(some @ some.T if is_wide else some.T @ some)
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = max(1, min(COMPONENTS[-1], int(np.sum(values > NEGLIGIBLE * max(values[0], TINY)))))
    vectors = some.T @ vectors[:, :kept] if is_wide else vectors[:, :kept]
    return vectors / np.maximum(np.linalg.norm(vectors, axis=0), TINY)


def _solved(train: _Moments, count: int, ridge: float) -> ComponentRidge:
    gram = train.gram[:count, :count]
    penalty = ridge * np.trace(gram) / count + TINY
    slopes = np.linalg.solve(gram + penalty * np.eye(count), train.cross[:count])
    return ComponentRidge(train.mean_eap, train.basis[:, :count], slopes, train.mean_iap, ridge)
