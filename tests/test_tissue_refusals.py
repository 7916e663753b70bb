"""What a tissue refuses: at once, in one line that names the argument, its value, its unit and what is allowed."""

from collections.abc import Iterable
from typing import Any

import diffrax
import equinox as eqx
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
            [],
            [[1.0] * 5, [1.0]],  # a row is no diffusivity of an axis
            [[1.0] * 5] * 2,
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
    *each(
        "mask",
        [np.ones((5, 4), bool), np.ones((4, 5)), np.zeros((4, 5), bool), True, [[True] * 5, [True]]],
        r"mask = .*allowed: ",
    ),
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
    (dict(dt=None, tissue=TISSUE.replace(spacing=1e-4)), r"dt = None: .*; allowed: at least 1e-05 ms .*spacing in mm"),
    (dict(dt=None, tissue=TISSUE.replace(spacing=1e-300)), r"dt = None: .*; allowed: at least 1e-05 ms"),
    (dict(tissue=TISSUE.replace(shape=(10**5, 10**5))), r"shape = \(100000, 100000\), .*allowed on this machine"),
    (dict(tissue=TISSUE.replace(shape=(10**20, 2))), r"shape = .*allowed on this machine"),
    (dict(beats=10**12), r"beats = 1000000000000: .*allowed on this machine"),
    (
        dict(tissue=TISSUE.replace(mask=np.arange(20).reshape(4, 5) > 4), stimuli=[at(np.s_[0])]),
        r"stimuli\[0\].region = 0; allowed: at least one cell where the mask is True",
    ),
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
                    np.s_[..., 3:9],
                    np.s_[:9, ...],
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


def test_regions_that_differ_anywhere_are_not_the_same():
    """The text of a long array leaves out its middle: a program compiled for one region would be taken for another."""
    masks = np.zeros((2, 3000), bool)
    masks[0, 1000] = masks[1, 2000] = True
    for make in (np.asarray, jnp.asarray, lambda mask: (mask,), lambda mask: np.where(mask), list):
        here, there = (at(make(mask)) for mask in masks)
        assert here.region != there.region and here.region == at(make(masks[0])).region
        value = eqx.filter_jit(lambda stimulus: jnp.asarray(stimulus.cells((3000,))))
        assert int(value(here).argmax()) == 1000 and int(value(there).argmax()) == 2000


def test_a_region_is_any_index_of_numpy():
    for index in (np.int64(3), np.s_[..., 3], np.s_[1:, ...], np.s_[..., -2:], (np.array([0, 2]), np.array([1, 1]))):
        wanted = np.zeros((4, 5), bool)
        wanted[index] = True
        np.testing.assert_array_equal(at(index).cells((4, 5)), wanted)


def test_a_list_of_rows_is_a_map():
    rows = [[1.0, 1.0, 1.0], [2.0, 2.0, 2.0]]
    tissue = jc.tissue.Tissue(CELL, (2, 3), 0.5, rows)
    np.testing.assert_array_equal(tissue.tensor(), jc.tissue.Tissue(CELL, (2, 3), 0.5, np.array(rows)).tensor())


CABLE = jc.tissue.Tissue(CELL, 12, 0.6, 1.0)
SHORT: dict[str, Any] = dict(stimuli=[at(np.s_[:4])], t1=8.0, dt=0.05)


@pytest.mark.parametrize("how", ["explicit", "implicit"])
def test_a_traced_diffusivity_that_would_be_refused_makes_everything_nan(how):
    """An explicit step that is too long makes activations of its own before it overflows."""

    def run(D):
        found = jc.tissue.simulate(CABLE.replace(diffusivity=D), **SHORT, diffusion=how)
        return found.activation_time, found.status, found.V[-1]

    times, status, V = jax.vmap(run)(jnp.array([1.0, 15.0, -1.0]))
    alone = [np.asarray(x) for x in run(1.0)]
    good = [True, how == "implicit", False]
    for k, is_good in enumerate(good):
        assert np.isfinite(times[k]).all() == np.isfinite(V[k]).all() == (status[k] == jc.Status.OK).all() == is_good
        if not is_good:
            assert np.isnan(times[k]).all() and np.isnan(V[k]).all() and (status[k] == jc.Status.NON_FINITE).all()
    np.testing.assert_allclose(times[0], alone[0], rtol=1e-12)
    np.testing.assert_allclose(V[0], alone[2], rtol=1e-9)


def test_a_mask_can_be_traced():
    holes = np.stack([np.ones(12, bool), np.arange(12) != 8])
    times = jax.vmap(lambda mask: jc.tissue.simulate(CABLE.replace(mask=mask), **SHORT).activation_time)(holes)
    for mask, found in zip(holes, times, strict=True):
        alone = jc.tissue.simulate(CABLE.replace(mask=mask), **SHORT).activation_time
        np.testing.assert_allclose(found, alone, rtol=1e-12)
    assert np.isfinite(times[0]).all() and np.isnan(times[1, 8:]).all()


def test_a_stimulus_cannot_be_traced_nor_a_traced_run_asked_for_its_problems():
    def by_amplitude(a):
        pulse = jc.protocols.PulseTrain(a, 1.0, 1000.0, 0.0)
        return jc.tissue.simulate(CABLE, [at(0, pulse)], t1=2.0, dt=0.05).V.sum()

    with pytest.raises(ValueError, match=r"stimuli\[0\] is traced; allowed: concrete"):
        jax.grad(by_amplitude)(-1.0)
    with pytest.raises(ValueError, match="the run is traced; allowed"):
        jax.jit(lambda D: jc.tissue.simulate(CABLE.replace(diffusivity=D), **SHORT).problems())(1.0)


PACED: dict[str, Any] = dict(cycle_length=50.0, amplitude=-2.0)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("cell", lambda x: jc.tissue.conductivity_for(CELL.replace(a=x), 1.0, 0.3)),
        (
            "tissue",
            lambda x: jc.tissue.fit_conductivity(CABLE.replace(diffusivity=x), [at(0)], np.ones(12), np.zeros(12, int)),
        ),
        ("activation_time", lambda x: jc.tissue.fit_conductivity(CABLE, [at(0)], x * np.ones(12), np.zeros(12, int))),
        ("tissue", lambda x: jc.tissue.restitution(CABLE.replace(diffusivity=x), [30.0], **PACED)),
        ("tissue", lambda x: jc.tissue.dynamic_restitution(CABLE.replace(diffusivity=x), [30.0], amplitude=-2.0)),
    ],
)
def test_what_decides_by_numbers_cannot_be_traced(name, function):
    with pytest.raises(ValueError, match=f"^{name} is traced; allowed: concrete"):
        jax.jit(function)(0.1)


def test_problems_of_the_grid_are_those_of_waves():
    """A stimulus activates its cells almost at once, however different they are: that is no wave."""
    unlike = CABLE.replace(cell=CELL.replace(a=np.linspace(0.1, 0.12, 12)))
    assert jc.tissue.simulate(unlike, [at(())], t1=8.0, dt=0.05).problems() == []
    in_micrometres = jc.tissue.simulate(CABLE.replace(spacing=100.0), **SHORT)
    (problem,) = in_micrometres.problems()
    assert "no cell beyond the stimulated ones was activated until 8 ms" in problem


def test_a_run_without_the_potential_says_so_and_is_no_table(tmp_path):
    run = jc.tissue.simulate(CABLE, **SHORT, outputs=["v"])
    with pytest.raises(ValueError, match=r"outputs = 'v'; allowed: .*u in simulate"):
        _ = run.V
    with pytest.raises(ValueError, match=r"path = .*run.csv; allowed: .*HDF5"):
        run.save(tmp_path / "run.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("y0", "message"),
    [
        (TT.initial_state(), r"y0: expected AlievPanfilovState"),
        (CABLE.initial_state(), r"y0 = .*the state of one cell"),
    ],
)
def test_a_conductivity_is_sought_from_the_state_of_one_such_cell(y0, message):
    with pytest.raises(ValueError, match=message):
        jc.tissue.conductivity_for(CELL, 1.0, 0.3, y0=y0)


def test_regions_of_a_fit_are_whole_numbers():
    with pytest.raises(ValueError, match=r"regions = 'an array of float64'; allowed: whole numbers"):
        jc.tissue.fit_conductivity(CABLE, [at(0)], np.ones(12), np.zeros(12))


def test_times_cannot_be_traced():
    def end(dt):
        return jc.tissue.simulate(TISSUE, t1=1.0, dt=dt).V[-1].sum()

    with pytest.raises(ValueError, match=r"dt.*traced|traced.*dt"):
        jax.grad(end)(0.05)
