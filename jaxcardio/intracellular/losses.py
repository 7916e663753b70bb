"""What training lowers: errors of the data, and how far the traces are from the modified Aliev-Panfilov model.

Numbers of equations are those of doi 10.1038/s41467-024-55571-6. What differs from the text, and why:

- Eq 21 is printed with the sign reversed; see `pinball`.
- Time derivatives are in the model's time units (`TIME_UNIT` ms) and of a trace smoothed over `SMOOTHING` ms: those of
  an unsmoothed trace are the noise of differencing.
- The model rests at v = 0, the traces of Eq 10 at 0.1: `potential` undoes that before the model is asked.
- log(L_P + `FLOOR`) instead of log(L_P), which has no lowest value.
"""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from ..annotations import typed
from ..arguments import check_known, check_whole
from ..models import AlievPanfilovModified
from ..models.aliev_panfilov import AlievPanfilovModifiedState
from ..simulation.simulate import simulate
from .features.moving import check_rate, moving_average, samples_of
from .unet import TIME_UNIT, Physics, Prediction

QUANTILES = (0.05, 0.5, 0.95)
"""Of the lower, the median and the upper trace."""
SHARPNESS = 1000.0
"""n of Eq 14."""
SOFTNESS = 50.0
"""n that gradients see: those of a step as sharp as Eq 14's are zero almost everywhere and enormous elsewhere."""
SMOOTHING = 6.0
"""ms: traces are averaged over so long before they are differentiated."""
FLOOR = 1e-3
"""Added to the physics residual before its logarithm, 1/t.u.^2: a third of what a typical action potential has at its
best parameters."""
SMALLEST = 0.02
"""Potential below which 1/v is held: noise at rest would be divided by next to nothing."""
REST = 0.1
"""Of a trace normalised by Eq 10, whose peak is 1."""
STEP = 0.5
"""Longest step of the simulated model, ms."""
Values = Array | np.ndarray


@typed
def mean_absolute_error(
    actual: Float[Values, "batch sample"], predicted: Float[Values, "batch sample"]
) -> Float[Array, ""]:
    """Mean of |predicted - actual| (Eq 18)."""
    return jnp.mean(jnp.abs(predicted - actual))


@typed
def pinball(
    actual: Float[Values, "batch sample"], predicted: Float[Values, "batch sample"], q: float
) -> Float[Array, ""]:
    """Mean of max(q u, (q - 1) u) with u = actual - predicted: lowest where a share q of the values lies below.

    Eq 21 has u = predicted - actual, with which the 5 % head would learn the 95 % quantile. ValueError: q is not
    between 0 and 1.
    """
    check_known("q", q, "", "above 0 and below 1", lambda x: (x > 0) & (x < 1))
    u = actual - predicted
    return jnp.mean(jnp.maximum(q * u, (q - 1) * u))


@typed
def potential(iap: Float[Values, "batch sample"]) -> Float[Array, "batch sample"]:
    """A trace normalised by Eq 10 (rest 0.1, peak 1) as the model's v (rest 0, peak 1)."""
    return (jnp.asarray(iap) - REST) / (1 - REST)


@typed
def derivatives(
    v: Float[Values, "batch sample"], sampling_rate: float
) -> tuple[Float[Array, "batch inner"], Float[Array, "batch inner"], Float[Array, "batch inner"]]:
    """The smoothed trace without its ends, and its first and second time derivatives (Eqs 16, 17), 1/t.u. and 1/t.u.^2.

    Smoothed by a moving average of `SMOOTHING` ms, an odd number of samples; the half of it at either end is left out.
    """
    step = 1000.0 / check_rate(sampling_rate) / TIME_UNIT
    width = samples_of(SMOOTHING, sampling_rate) // 2 * 2 + 1
    smooth = jax.vmap(lambda trace: moving_average(trace, width))(v)
    edge = width // 2
    smooth = smooth[:, edge : smooth.shape[1] - edge]
    before, here, after = smooth[:, :-2], smooth[:, 1:-1], smooth[:, 2:]
    return here, (after - before) / (2 * step), (after + before - 2 * here) / step**2


@typed
def recovery_rate(
    v: Float[Values, "batch sample"], a: Float[Values, " batch"], x: Float[Values, " batch"]
) -> Float[Array, "batch sample"]:
    """eps of Eq 14, 1/t.u.: x below the threshold a, 1 - x above, with n = 1000.

    Its gradient is that of n = 50: the same step, seen from further away.
    """
    a, x = jnp.asarray(a)[:, None], jnp.asarray(x)[:, None]
    sharp, soft = (jax.nn.sigmoid(n * (v - a)) for n in (SHARPNESS, SOFTNESS))
    above = soft + jax.lax.stop_gradient(sharp - soft)
    return x + (1 - 2 * x) * above


@typed
def aliev_panfilov_residual(
    v: Float[Values, "batch sample"], physics: Physics, sampling_rate: float
) -> Float[Array, "batch inner"]:
    """v F_AP (Eq 15 times v, as in the released code), 1/t.u.^2, at all samples but those near the ends.

    v'^2 / v - v'' - v' [eps - k v (1 - 2 v + a)] - k eps v (v^2 - a v + a): zero along any solution of Eqs 12 and 13.
    1/v is held below v = 0.02.

    Args:
        v: potential of the model, rest 0 and peak 1 (`potential`).
        physics: k, a, x of each trace, (batch,).
        sampling_rate: Hz.
    """
    here, first, second = derivatives(v, sampling_rate)
    eps = recovery_rate(here, physics.a, physics.x)
    k, a = physics.k[:, None], physics.a[:, None]
    growth = jnp.square(first) / jnp.maximum(here, SMALLEST)
    linear = first * (eps - k * here * (1 - 2 * here + a))
    return growth - second - linear - k * eps * here * (jnp.square(here) - a * here + a)


@typed
def physics_loss(iap: Float[Values, "batch sample"], physics: Physics, sampling_rate: float) -> Float[Array, ""]:
    """Mean of |v F_AP| of normalised traces (Eqs 19, 22), 1/t.u.^2."""
    return jnp.mean(jnp.abs(aliev_panfilov_residual(potential(iap), physics, sampling_rate)))


@typed
def simulated(
    physics: Physics, start: Float[Values, " batch"], samples: int, sampling_rate: float
) -> Float[Array, "batch sample"]:
    """v of `AlievPanfilovModified` with these parameters, from v = start and w = 0, by Heun's method.

    Differentiable. The threshold's sharpness is n = 50 here, for the sake of gradients.

    Args:
        physics: k, a, x of each trace, (batch,).
        start: potential at the first sample; above a for an action potential.
        samples: of a trace.
        sampling_rate: Hz.
    """
    dtype = physics.k.dtype
    check_whole("samples", samples, "samples", least=2)
    interval = 1000.0 / check_rate(sampling_rate)
    fine = max(1, int(np.ceil(interval / STEP - 1e-9)))
    grid = np.arange((samples - 1) * fine + 1) * (interval / fine / TIME_UNIT)
    cell = AlievPanfilovModified(k=physics.k, a=physics.a, x=physics.x, n=jnp.full_like(physics.k, SOFTNESS))
    state = AlievPanfilovModifiedState(v=start.astype(dtype), w=jnp.zeros_like(physics.k))
    trace = simulate(
        cell, t1=float(grid[-1]), grid=grid, save_at=grid[::fine], y0=state, solver=diffrax.Heun(), outputs=("v",)
    )
    return trace.ys.v


@typed
def solver_loss(iap: Float[Values, "batch sample"], physics: Physics, sampling_rate: float) -> Float[Array, ""]:
    """Mean distance of normalised traces from the model simulated with the predicted k, a and x.

    Each run begins at the steepest rise, with the potential that the trace has there (but not below half way from the
    threshold to the peak, so that it is an action potential), and is compared until the end of the window.
    """
    v = potential(iap)
    _, first, _ = derivatives(v, sampling_rate)
    samples = v.shape[1]
    upstroke = jnp.argmax(first, 1) + (samples - first.shape[1]) // 2
    start = jax.lax.stop_gradient(jnp.take_along_axis(v, upstroke[:, None], 1)[:, 0])
    start = jnp.clip(start, (physics.a + 1) / 2, 1.0)  # far outside of 0 to 1 the model is stiffer than its step allows
    model = simulated(physics, start, samples, sampling_rate)
    place = jnp.arange(samples)[None] + upstroke[:, None]
    inside = place < samples
    along = jnp.take_along_axis(v, jnp.minimum(place, samples - 1), 1)
    inside = inside.astype(v.dtype)
    return jnp.sum(inside * jnp.abs(model - along)) / jnp.sum(inside)


@typed
def total_loss(
    actual: Float[Values, "batch sample"],
    predicted: Prediction,
    sampling_rate: float,
    *,
    alpha: float = 10.0,
    beta: float = 0.01,
    solver_weight: float = 0.0,
) -> Float[Array, ""]:
    """What training lowers: alpha L_D + beta log(L_P + floor) (Eq 20; with quantiles Eq 23) + weight x solver loss.

    Without quantiles L_D is the mean absolute error. With them it is the sum of the three pinball losses, and L_P that
    of the three traces, each with its own k, a and x. A part with weight 0 is not computed.
    """
    check_rate(sampling_rate)
    for name, weight in (("alpha", alpha), ("beta", beta), ("solver_weight", solver_weight)):
        check_known(name, weight, "", "finite, >= 0", lambda x: (x >= 0) & np.isfinite(x))
    if predicted.physics.k.ndim == 1:
        data = mean_absolute_error(actual, predicted.median)
        traces = [(predicted.median, predicted.physics)]
    else:
        of = predicted[:3]
        data = sum(pinball(actual, trace, q) for trace, q in zip(of, QUANTILES, strict=True))
        traces = [(trace, Physics(*(p[:, k] for p in predicted.physics))) for k, trace in enumerate(of)]
    loss = jnp.asarray(alpha * data)
    if beta:
        residual = sum(physics_loss(trace, physics, sampling_rate) for trace, physics in traces)
        loss = loss + beta * jnp.log(residual + FLOOR)
    if solver_weight:
        runs = sum(solver_loss(trace, physics, sampling_rate) for trace, physics in traces)
        loss = loss + solver_weight * runs / len(traces)
    return loss
