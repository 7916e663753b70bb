"""The cells and protocols that several tests share."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

import jaxcardio as jc


class Case(NamedTuple):
    """A cell, its usual stimulus, and a stretch of its action potential without jumps of a rate (ms, or t.u.)."""

    cell: Any
    pacing: jc.protocols.PulseTrain
    smooth: tuple[float, float]
    steps: tuple[float, ...]


CASES = {
    "ten_tusscher": Case(
        jc.models.TenTusscher2004(),
        jc.protocols.PulseTrain(-52.0, 1.0, 1000.0, 10.0),
        (15.0, 60.0),
        (0.08, 0.04, 0.02, 0.01),
    ),
    "ten_tusscher_panfilov": Case(
        jc.models.TenTusscherPanfilov2006(),
        jc.protocols.PulseTrain(-52.0, 1.0, 1000.0, 10.0),
        (15.0, 60.0),
        (0.08, 0.04, 0.02, 0.01),
    ),
    "kernik": Case(
        jc.models.KernikClancy2019(),
        jc.protocols.PulseTrain(-3.0, 5.0, 1000.0, 10.0),
        (30.0, 80.0),
        (0.08, 0.04, 0.02, 0.01),
    ),
    "skibsbye": Case(
        jc.models.Skibsbye2016(),
        jc.protocols.PulseTrain(-11.5, 2.0, 1000.0, 0.0),
        (12.0, 60.0),
        (0.04, 0.02, 0.01, 0.005),
    ),
    "aliev_panfilov": Case(
        jc.models.AlievPanfilov1996(),
        jc.protocols.PulseTrain(-0.5, 1.0, 50.0, 5.0),
        (8.0, 14.0),
        (0.04, 0.02, 0.01, 0.005),
    ),
    "aliev_panfilov_modified": Case(
        jc.models.AlievPanfilovModified(),
        jc.protocols.PulseTrain(-0.5, 1.0, 50.0, 5.0),
        (8.0, 10.0),
        (0.02, 0.01, 0.005, 0.0025),
    ),
}


def rms(x) -> float:
    return float(jnp.sqrt(jnp.mean(jnp.square(x))))


def slope(h, error) -> float:
    """Slope of log(error) against log(h): the observed order."""
    return float(np.polyfit(np.log(np.asarray(h)), np.log(np.asarray(error)), 1)[0])
