"""What a tissue refuses: at once, in one line that names the argument, its value, its unit and what is allowed."""

from collections.abc import Iterable
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxcardio as jc

CELL = jc.models.AlievPanfilov1996()
TT = jc.models.TenTusscher2004()
PULSE = jc.protocols.PulseTrain(-1.0, 1.0, 1000.0, 0.0)
SHEET: dict[str, Any] = dict(cell=CELL, shape=(4, 5), spacing=0.5, diffusivity=1.0)
TISSUE = jc.tissue.Tissue(**SHEET)
EDGES = [np.ones((3, 5)), np.ones((4, 4))]
TURNED: dict[str, Any] = dict(diffusivity=(1.0, 0.2), fibres=0.3)


def each(
    name: str, values: Iterable[Any], message: str, others: dict[str, Any] | None = None
) -> list[tuple[dict[str, Any], str]]:
    """A case for each wrong value of one argument."""
    return [({**(others or {}), name: value}, message) for value in values]


WRONG_TISSUES: list[tuple[dict[str, Any], str]] = [
    (dict(cell=jc.models.AlievPanfilov1996), r"cell = .*allowed: a cell"),
    (dict(cell=CELL.replace(a=np.full((5, 4), 0.1))), r"cell: parameter a has shape \(5, 4\); allowed: .*\(4, 5\)"),
    (dict(cell=CELL.replace(a=np.full(5, 0.1))), r"cell: parameter a has shape \(5,\); allowed: .*\(4, 5\)"),
    *each(
        "shape",
        [0, (4, 0), (4, -5), (4.5, 5), "45", (2, 2, 2, 2), (1,), None, True],
        r"shape = .*cells; allowed: \(nx,\), \(ny, nx\)",
    ),
    *each(
        "spacing",
        [0.0, -0.1, np.nan, np.inf, (0.1, 0.1, 0.1), None, "1"],
        r"spacing = .* mm; allowed: > 0, finite; a number, or 2",
    ),
    *each(
        "diffusivity",
        [
            -1.0,
            np.nan,
            np.inf,
            None,
            "1",
            (1.0, -1.0),
            (1.0, 1.0, 1.0),
            np.ones((5, 4)),
            [np.ones((4, 5)), np.ones((5, 4))],
            np.full((4, 5), np.nan),
            (1.0, None),
        ],
        r"diffusivity = .* mm\^2/ms; allowed: ",
    ),
    *each(
        "diffusivity",
        [1.0, (1.0, 0.0), (1.0, 1.0, 1.0), np.ones((4, 5))],
        r"diffusivity = .* mm\^2/ms; allowed: ",
        others=TURNED,
    ),
    *each(
        "fibres",
        [30.0, np.nan, np.zeros(5), np.zeros((5, 4)), "0"],
        r"fibres = .*allowed: from -2 pi to 2 pi",
        others=TURNED,
    ),
    (dict(shape=20, diffusivity=1.0, fibres=0.1), r"fibres = 0.1 radians; allowed: None on a cable"),
    *each("mask", [np.ones((5, 4), bool), np.ones((4, 5)), np.zeros((4, 5), bool), True], r"mask = .*allowed: "),
    *each(
        "coupling",
        [1.0, [None], [np.ones((4, 5)), None], [-EDGES[0], None], [EDGES[0] * np.nan, None], EDGES[::-1], ["x", None]],
        r"coupling.* = .*allowed: ",
    ),
]


@pytest.mark.parametrize(("change", "message"), WRONG_TISSUES, ids=lambda x: str(x)[:50].replace("\n", " "))
def test_a_tissue_refuses(change, message):
    with pytest.raises(ValueError, match=message) as error:
        jc.tissue.Tissue(**{**SHEET, **change})
    assert "\n" not in str(error.value)


def at(region: Any, protocol: Any = PULSE) -> Any:
    return jc.tissue.Stimulus(protocol, region)


Y0 = TISSUE.initial_state()
WRONG_RUNS: list[tuple[dict[str, Any], str]] = [
    (dict(dt=0.07), r"dt = 0.07 ms; allowed .* 1 / \(2 sum D_i / dx_i\^2\) = 0.0625 ms; or diffusion=\"implicit\""),
    *each("dt", [0.0, -1.0, np.nan, np.inf, "1"], r"dt = .* ms; allowed"),
    *each("t1", [-1.0, np.nan, 0.0, "1", None], r"t1 = .*allowed"),
    *each("save_every", [0.0, -1.0, np.nan], r"save_every = .* ms; allowed"),
    (dict(save_at=[3.0]), r"save_at"),
    (dict(outputs=["V"]), r"no state or current named 'V'; known: u, v"),
    (dict(solver=diffrax.Kvaerno3()), r"solver = 'Kvaerno3'; allowed: an explicit one, e.g. jaxcardio.RushLarsen2"),
    (dict(solver="RushLarsen2"), r"solver = .*allowed"),
    (dict(splitting="lie"), r"splitting = 'lie'; allowed: .*strang.*godunov"),
    (dict(diffusion="fast"), r"diffusion = 'fast'; allowed: .*explicit.*implicit"),
    *each("beats", [0, 1.5], r"beats = .*allowed: a whole number"),
    *each("threshold", [np.nan, "0", [0.5]], r"threshold = .*allowed: (finite|one number)"),
    (dict(y0=TT.initial_state()), r"y0: expected AlievPanfilovState with fields .*got TenTusscher"),
    (dict(y0=Y0._replace(u=jnp.zeros((5, 4)))), r"y0.u = 'shape \(5, 4\)' 1; allowed: a number, or shape \(4, 5\)"),
    (dict(y0=Y0._replace(u=np.nan)), r"y0.u = 'NaN or infinite' 1; allowed: finite"),
    (dict(devices=[]), r"devices = \[\]; allowed: one or more"),
    (dict(devices=[0]), r"devices = \[0\]; allowed: one or more"),
    (dict(devices=jax.devices(), diffusion="implicit"), r"devices = 2 devices; allowed: one with implicit"),
    *each(
        "stimuli",
        [
            *(
                [at(r)]
                for r in (
                    np.s_[7:9],
                    np.s_[:9],
                    np.s_[0, 0, 0],
                    np.ones((5, 4), bool),
                    np.ones((4, 5)),
                    np.s_[2:2],
                    "x",
                    9,
                )
            )
        ],
        r"region = .*allowed: ",
    ),
    (dict(stimuli=[3.0]), r"stimuli\[0\] = 3.0; allowed: a jaxcardio.tissue.Stimulus"),
    (dict(stimuli=3.0), r"stimuli = 3.0; allowed: .*Stimulus"),
    (
        dict(stimuli=[at(0), at(0, jc.protocols.PulseTrain(1.0, 1.0, 1000.0, 0.0))]),
        r"stimuli\[1\] = 'a PulseTrain of up to 1' pA/pF; allowed: negative amplitudes",
    ),
    (
        dict(stimuli=[at(0, jc.protocols.PulseTrain(-900.0, 0.8, 1000.0, 0.0))]),
        r"stimuli\[0\] = 'a PulseTrain of 720 mV .*; allowed: .*500 mV",
    ),
]


@pytest.mark.parametrize(("change", "message"), WRONG_RUNS, ids=lambda x: str(x)[:50].replace("\n", " "))
def test_a_run_refuses(change, message):
    with pytest.raises(ValueError, match=message) as error:
        jc.tissue.simulate(**{**dict(tissue=TISSUE, stimuli=(), t1=1.0, dt=0.05), **change})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("protocol", [None, 3.0, jc.protocols.VoltageSteps([-80.0], [10.0])])
def test_a_stimulus_refuses_what_is_no_current(protocol):
    with pytest.raises(ValueError, match=r"protocol = .*allowed: a stimulus current"):
        jc.tissue.Stimulus(protocol, 0)


@pytest.mark.parametrize("function", [jc.tissue.diffusivity_of, jc.tissue.conductivity_of])
@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf, "1", True])
def test_conductivities_are_refused(function, value):
    with pytest.raises(ValueError, match=r"(con|dif).* = .*; allowed: (>= 0, finite|numbers)"):
        function(value)
    with pytest.raises(ValueError, match=r"chi = .*; allowed: (> 0, finite|one number)"):
        function(0.1, chi=value)
    with pytest.raises(ValueError, match=r"intracellular = .*; allowed: (> 0, finite|numbers)"):
        jc.tissue.monodomain_conductivity(value, 0.1)


def test_conductivities_of_the_benchmark():
    """Niederer et al. 2011: 0.17 and 0.62 S/m in series are 0.1334177 S/m, and D 0.095298 mm^2/ms."""
    series = jc.tissue.monodomain_conductivity(0.17, 0.62)
    assert float(series) == pytest.approx(0.1334177, rel=1e-6)
    D = jc.tissue.diffusivity_of(series)
    assert float(D) == pytest.approx(0.095298, rel=1e-5)
    assert float(jc.tissue.conductivity_of(D)) == pytest.approx(float(series), rel=1e-12)


@pytest.mark.slow
def test_a_mesh_too_coarse_for_its_wave_is_named():
    pulse = jc.protocols.PulseTrain(-52.0, 2.0, 1000.0, 0.0)
    coarse = jc.tissue.Tissue(TT, 20, 0.5, 0.154)
    run = jc.tissue.simulate(coarse, [at(np.s_[:4], pulse)], t1=25.0, dt=0.05, save_every=25.0)
    assert any("spacing = 0.5 mm along axis 0; allowed" in text for text in run.problems())


@pytest.mark.slow
def test_what_is_never_activated_and_what_is_no_longer_finite_are_named():
    weak = jc.tissue.simulate(TISSUE, [at(0, jc.protocols.PulseTrain(-0.01, 1.0, 1000.0, 0.0))], t1=2.0, dt=0.05)
    assert any("no cell was activated" in text for text in weak.problems())
    bad = np.where(np.arange(20).reshape(4, 5) == 19, np.nan, 0.1)
    run = jc.tissue.simulate(TISSUE.replace(cell=CELL.replace(a=bad)), [at(())], t1=2.0, dt=0.05)
    assert any("(0, 0) the first" in text and "finite" in text for text in run.problems())


def test_times_cannot_be_traced():
    def end(dt):
        return jc.tissue.simulate(TISSUE, t1=1.0, dt=dt).V[-1].sum()

    with pytest.raises(ValueError, match=r"dt.*traced|traced.*dt"):
        jax.grad(end)(0.05)
