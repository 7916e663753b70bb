"""Runs of tissues for tests: made up, with known activation times or potentials; and plane waves that really run."""

import jax.numpy as jnp
import numpy as np

import jaxcardio as jc
from jaxcardio.tissue import Run, Stimulus, Tissue, simulate


def _run(tissue, ts, V, activation_times, repolarisation_times):
    return Run(
        ts=ts,
        ys={tissue.cell.potential: V},
        activation_times=activation_times,
        repolarisation_times=repolarisation_times,
        activations=jnp.sum(jnp.isfinite(activation_times), axis=0),
        status=jnp.zeros(tissue.shape, int),
        final_state=None,
        tissue=tissue,
        stimuli=(),
        threshold=-30.0,
        settings="made up",
    )


def activated(times, spacing, mask=None, apd=None):
    """A run whose cells are activated at these times, (*grid) or (beats, *grid), for these APDs (one a beat), ms."""
    times = times[None] if times.ndim == len(spacing) else times
    tissue = Tissue(jc.models.TenTusscher2004(), times.shape[1:], spacing, 0.154, mask=mask)
    fall = times if apd is None else times + np.reshape(apd, (-1, *(1 for _ in spacing)))
    return _run(tissue, np.zeros(1), jnp.zeros((1, *tissue.shape)), times, fall)


def showing(V, tissue, ts=None):
    """A run that saved these potentials, (time, *grid), at these times (default 0, 1, 2, ... ms)."""
    none = np.full((1, *tissue.shape), np.nan)
    return _run(tissue, np.arange(1.0 * len(V)) if ts is None else ts, jnp.asarray(V), none, none)


def plane_wave(cell, shape, *, t1, axis=-1, spacing=0.1, diffusivity=0.154, width=10, **options):
    """A run of a wave from one end of an axis, where the first `width` cells are stimulated."""
    tissue = Tissue(cell, shape, spacing, diffusivity)
    region = [slice(None)] * len(shape)
    region[axis] = slice(width)
    pulse = jc.protocols.PulseTrain(amplitude=-52.0, duration=1.0, period=np.inf)
    return simulate(tissue, [Stimulus(pulse, tuple(region))], t1=t1, **options)
