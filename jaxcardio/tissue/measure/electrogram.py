"""What an electrode in the bath sees of a tissue: the extracellular potential of what its cells conduct."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from ...annotations import typed
from ...arguments import check, check_known, is_traced, refusal
from ..conductivity import C_M, CHI, POSITIVE, conductivity_of

if TYPE_CHECKING:
    from ..grid import Tissue
    from ..run import Run

SIGMA_E = 1.0
"""Conductivity of the bath, S/m."""
THICKNESS = 1.0
"""Of a sheet, and of a cable in both other directions, mm."""
LEAST_RADIUS = 2.0
"""Of an electrode that touches the tissue, in spacings: what it sees is then within 1 % of that of a fine mesh."""
AT_ONCE = 2**22
"""Most cells of frames whose currents are held at once."""


@typed
def electrogram(
    run: "Run",
    position: ArrayLike | Sequence[Any],
    *,
    radius: float = 0.0,
    sigma_e: ArrayLike = SIGMA_E,
    chi: ArrayLike = CHI,
    C_m: ArrayLike = C_M,
    thickness: ArrayLike = THICKNESS,
) -> Float[Array, " time *electrodes"]:
    """Unipolar electrogram at points around the tissue, mV, at every saved time (`run.ts`).

        phi = -1 / (4 pi sigma_e) integral of sigma grad V . grad(1/r),    sigma = D chi C_m

    of the tissue in a bath without end; a distant electrode is the reference. A front that comes nearer gives a
    positive deflection. sigma is what the monodomain conducts. This is also the pseudo-ECG of the tissue. The
    integral is summed over the faces of the cells with the very fluxes that the run had, masks, fibres and blocked
    edges included: tissue of one V gives exactly 0.

    Where the tissue has fewer than three axes it is a thin sheet in the plane z = 0, or a thin cable on the line
    y = z = 0, and `thickness` is how much tissue there is across. Cell (..., k) has its centre at x = (k + 1/2) dx.

    With a `radius` the electrode is a metal disc that faces along z, at one potential all over: the mean over its face,
    weighted by the density at which such a disc would give off current; in closed form, no quadrature. On an insulating
    plate twice as much is seen: halve `sigma_e`.

    The error is of second order in the spacing: of a sheet, 3e-4 at ten spacings, 4e-3 at one, 1 % for a disc of a
    radius of two spacings that touches it.

    Can be differentiated in V, conductivities and the other numbers. For many electrodes at once, one number per
    electrode and cell is held.

    Args:
        run: what `simulate` gave, with V among its outputs (mV; in the unit of V otherwise).
        position: (x, y, z) of the electrode, mm, or (electrodes, 3).
        radius: of the electrode, mm; 0 for a point.
        sigma_e: conductivity of the bath, S/m.
        chi: membrane area per volume, 1/mm.
        C_m: membrane capacitance, uF/cm^2.
        thickness: of a sheet; of a cable in both other directions, mm.

    Returns:
        (time,), or (time, electrodes) for several.

    Raises:
        ValueError: a point nearer to the centre of a cell than the spacing, or a disc that near with a radius below two
            spacings: it would see single cells of the grid. Numbers out of range.

    Source: Plonsey and Barr, Bioelectricity (2007); the field of a disc electrode: Wiley and Webster, IEEE
    Transactions on Biomedical Engineering 29, 381 (1982).
    """
    for name, value, unit in (
        ("sigma_e", sigma_e, "S/m"),
        ("chi", chi, "1/mm"),
        ("C_m", C_m, "uF/cm^2"),
        ("thickness", thickness, "mm"),
    ):
        check(name, value, unit, POSITIVE[0] + "; one number", lambda x: POSITIVE[1](x) and x.shape == ())
    near = nearness(run.tissue, position, radius=radius)
    V = jnp.asarray(run.V)
    # Currents sum to zero: only differences of nearness count, and float32 keeps more of those.
    near = near - near.mean(axis=tuple(range(-run.tissue.axes, 0)), keepdims=True)
    volume = np.prod(run.tissue.spacing)
    across = jnp.asarray(thickness, V.dtype) ** (3 - run.tissue.axes)
    # 1 mm^2/ms times chi C_m is so many S/m; (S/m) (mV/mm^2) mm^3 (1/mm) / (S/m) is mV.
    strength = conductivity_of(1.0, chi=1.0, C_m=1.0).astype(V.dtype) * chi * C_m * across / (4 * np.pi * sigma_e)
    return strength * _seen(run.tissue, V, jnp.asarray(near * volume, V.dtype))


@typed
def bipolar_electrogram(
    run: "Run", position: ArrayLike | Sequence[Any], reference: ArrayLike | Sequence[Any], **options: Any
) -> Float[Array, " time *electrodes"]:
    """Electrogram at `position` less that at `reference`, mV, (time,) or (time, electrodes); options of `electrogram`.

    Args:
        run: what `simulate` gave.
        position, reference: (x, y, z) of the two electrodes of a pair, mm, or (electrodes, 3) of each.
    """
    if np.shape(position) != np.shape(reference):
        raise refusal("reference", f"shape {np.shape(reference)}", "", f"shape {np.shape(position)}, that of position")
    return electrogram(run, position, **options) - electrogram(run, reference, **options)


@typed
def nearness(
    tissue: "Tissue", position: ArrayLike | Sequence[Any], *, radius: float = 0.0
) -> Float[np.ndarray, "*electrodes_and_grid"]:
    """1/r between electrodes and the centre of each cell, 1/mm: its mean over the electrode where that has a radius.

    The potential at the electrode is the sum of the current that each cell gives off times this, over 4 pi sigma_e.

    Args:
        tissue: whose cells.
        position: (x, y, z), mm, or (electrodes, 3); known now.
        radius: of a disc that faces along z, mm; 0 for a point.

    Returns:
        (*grid), or (electrodes, *grid); float64.
    """
    check_known("radius", radius, "mm", ">= 0, finite", lambda x: np.isfinite(x) & (x >= 0))
    points = _positions(position)
    radius = float(radius)
    found = []
    for point in points.reshape(-1, 3):
        flat, height = _offsets(tissue, point)
        _check_apart(tissue, point, np.sqrt(flat**2 + height**2), radius)
        found.append(_mean_inverse(flat, height, radius))
    return np.stack(found).reshape(*points.shape[:-1], *tissue.shape)


def _positions(position: Any) -> np.ndarray:
    allowed = "(x, y, z), finite, or shape (electrodes, 3)"
    if is_traced(*jax.tree.leaves(position)):
        raise ValueError(f"position is traced; allowed: concrete numbers, mm, {allowed}")
    check("position", position, "mm", allowed, lambda x: np.isfinite(x).all())
    points = np.asarray(position, float)
    if points.ndim not in (1, 2) or points.shape[-1] != 3 or points.size == 0:
        raise refusal("position", position, "mm", allowed)
    return points


def _offsets(tissue: "Tissue", point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each cell's centre from the point, mm: the distance in the plane of x and y, and the height along z."""
    centres = dict(zip("zyx"[-tissue.axes :], np.meshgrid(*tissue.centres(), indexing="ij"), strict=True))
    x, y, z = (centres.get(name, np.zeros(tissue.shape)) - p for name, p in zip("xyz", point, strict=True))
    return np.hypot(x, y), z


def _mean_inverse(flat: np.ndarray, height: np.ndarray, radius: float) -> np.ndarray:
    """1/r from a point; from a disc (1/a) arcsin(2a / (sum of the distances to the near and far rim)), 1/mm."""
    if radius == 0:
        return 1 / np.hypot(flat, height)
    rims = np.hypot(flat - radius, height) + np.hypot(flat + radius, height)
    return np.arcsin(np.minimum(2 * radius / rims, 1)) / radius


def _check_apart(tissue: "Tissue", point: np.ndarray, distances: np.ndarray, radius: float) -> None:
    """A ValueError where the electrode would see single cells of the grid."""
    coarsest = max(n_dx for n, n_dx in zip(tissue.shape, tissue.spacing, strict=True) if n > 1)
    if tissue.mask is not None and not is_traced(tissue.mask):
        distances = distances[np.asarray(tissue.mask)]
    # Of points said to lie one spacing away, rounding may leave a little less.
    if distances.min() >= coarsest * (1 - 1e-6) or radius >= LEAST_RADIUS * coarsest * (1 - 1e-6):
        return
    raise refusal(
        "position",
        tuple(point.tolist()),
        "mm",
        f"at least one spacing, {coarsest:g} mm, from the centre of every cell (here {distances.min():.4g} mm), or an "
        f"electrode with radius >= {LEAST_RADIUS * coarsest:g} mm",
    )


@eqx.filter_jit
def _seen(tissue: "Tissue", V: Array, weights: Array) -> Array:
    """Of each frame, the sum over cells of div(D grad V) times the weights: (time, *electrodes)."""
    diffusion = tissue.diffusion()
    lead = weights.reshape(*weights.shape[: weights.ndim - tissue.axes], -1)

    def frame(v):
        return lead @ diffusion(v).reshape(-1)

    return jax.lax.map(frame, V, batch_size=max(1, AT_ONCE // max(1, V[0].size)))
