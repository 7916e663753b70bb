"""The competitors of `populations.py`: each simulates the same cells, in the way that its own documentation shows.

Each is made ready once (model loaded, code generated and compiled) and then run as often as wanted. The two that have
their own model language read ten Tusscher 2004 from `ten_tusscher.mmt` and `ten_tusscher.ode`, which were written from
the equations; `derivatives` is there so that their right-hand sides can be checked against ours.
"""

import logging
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

import jaxcardio as jc

FOLDER = Path(__file__).parent
GATES = ("m", "h", "j", "d", "f", "fCa", "r", "s", "Xs", "Xr1", "Xr2", "g")


class Contestant(NamedTuple):
    """Something that simulates a population.

    run: V (cells, time) in mV at the given ascending times in ms. The times may have any values, but compiled
        contestants expect as many as the first call had.
    steps: steps of a run, where all cells take the same.
    derivatives: state (17,) in the order of our model -> its rate of change, from the contestant's own equations.
    """

    run: Callable[[np.ndarray], Any]
    steps: int | None = None
    derivatives: Callable[[np.ndarray], np.ndarray] | None = None


def versions() -> dict[str, str | None]:
    """Of the peers that are here (None for those that are not), and of the SUNDIALS that Myokit compiled."""
    found: dict[str, str | None] = {}
    for name in ("myokit", "gotranx"):
        try:
            found[name] = version(name)
        except ImportError:
            found[name] = None
    if found["myokit"] is not None:
        try:
            found["sundials"] = import_module("myokit").Sundials.version()
        except Exception:  # Myokit raises its own kinds when compiler or library are missing
            found["sundials"] = None
    return found


def cvode(cells: jc.AbstractCell, pacing: jc.protocols.PulseTrain, t1: float, tolerance: float) -> Contestant:
    """Myokit: its own C code compiled against SUNDIALS' CVODE(S), one cell after the other."""
    myokit: Any = import_module("myokit")
    model = myokit.load_model(str(FOLDER / "ten_tusscher.mmt"))
    protocol = myokit.pacing.blocktrain(pacing.period, pacing.duration, offset=pacing.start, level=1)
    simulation = myokit.Simulation(model, protocol)
    simulation.set_tolerance(tolerance, tolerance)
    where = {variable.name(): variable.qname() for variable in model.variables(const=True, deep=True)}
    names = [variable.name() for variable in model.states()]
    n = cells.population_size()
    assert n is not None
    varied = {where[name]: np.asarray(values) for name, values in _varied(cells).items()}

    def run(ts: np.ndarray) -> np.ndarray:
        rows = []
        for i in range(n):
            simulation.reset()
            for name, values in varied.items():
                simulation.set_constant(name, values[i])
            rows.append(simulation.run(t1 + 1, log=["membrane.V"], log_times=ts)["membrane.V"])
        return np.array(rows)

    order = [names.index(name) for name in jc.models.TenTusscher2004().initial_state()._fields]

    def derivatives(y: np.ndarray) -> np.ndarray:
        ours = np.empty(len(names))
        ours[order] = y
        return np.asarray(model.evaluate_derivatives(ours))[order]

    return Contestant(run, derivatives=derivatives)


def naive_diffrax(
    cells: jc.AbstractCell,
    pacing: jc.protocols.PulseTrain,
    t1: float,
    solver: diffrax.AbstractSolver,
    tolerance: float,
    stimulus: str,
) -> Contestant:
    """`vmap` of `diffeqsolve` of the cell's vector field, as a newcomer to Diffrax writes it.

    stimulus: what the newcomer does about the pulse: "ignored" (an adaptive step from rest jumps over it), "dtmax"
        (no step longer than the pulse) or "jump_ts" (the edges are told to the controller).
    """
    controller = diffrax.PIDController(tolerance, tolerance, dtmax=pacing.duration if stimulus == "dtmax" else None)
    if stimulus == "jump_ts":
        controller = diffrax.ClipStepSizeController(controller, jump_ts=jnp.asarray(pacing.edges(0.0, t1)))

    def solve(cell, ts):
        return diffrax.diffeqsolve(
            diffrax.ODETerm(cell.vector_field),
            solver,
            t0=0.0,
            t1=t1,
            dt0=None,
            y0=cell.initial_state(),
            args=pacing,
            saveat=diffrax.SaveAt(ts=ts, fn=lambda t, y, args: y.V),
            stepsize_controller=controller,
            max_steps=100_000,
        ).ys

    compiled = jax.jit(jax.vmap(solve, in_axes=(cells.population_axes(), None)))
    return Contestant(lambda ts: compiled(cells, jnp.asarray(ts)))


def gotranx_rush_larsen(
    cells: jc.AbstractCell, pacing: jc.protocols.PulseTrain, t1: float, dt: float, scheme: str, layout: str
) -> Contestant:
    """gotranx: JAX code generated from the `.ode` file, stepped by `dt`; saves V every ms and at no other times.

    scheme: "generalized_rush_larsen" (every state, by the diagonal of the Jacobian) or "hybrid_rush_larsen" (gates
        only, the rest forward Euler: what our `RushLarsen` does).
    layout: how cells are put side by side: "arrays" (states of shape (17, cells) into the generated step), "vmap" (of
        that step over states (cells, 17)), both under one `scan`; or "loop": arrays, and a Python loop over steps, as
        in gotranx's documentation.

    gotranx's search for removable singularities, four minutes for this model, is off; the only one is guarded in the
    `.ode` file, as it is in our model.
    """
    gotranx: Any = import_module("gotranx")
    gotran2py: Any = import_module("gotranx.cli.gotran2py")
    import_module("structlog").configure(
        wrapper_class=import_module("structlog").make_filtering_bound_logger(logging.ERROR)
    )
    ode = gotranx.load_ode(FOLDER / "ten_tusscher.ode", remove_singularities=False)
    code = gotran2py.get_code(
        ode, scheme=[gotranx.schemes.Scheme(scheme)], backend=gotran2py.Backend.jax, stiff_states=list(GATES)
    )
    model: dict[str, Any] = {}
    exec(compile(code, "ten_tusscher.ode", "exec"), model)
    n = cells.population_size()
    assert n is not None
    y0, one = model["init_state_values"](), model["init_parameter_values"]()
    parameters = jnp.broadcast_to(one[:, None], (len(one), n))
    for name, values in _varied(cells).items():
        parameters = parameters.at[model["parameter_index"](name)].set(values)
    states = jnp.broadcast_to(y0[:, None], (len(y0), n))
    step, V = model[scheme], model["state_index"]("V")
    if layout == "vmap":
        states, parameters, step = states.T, parameters.T, jax.vmap(step, in_axes=(0, None, None, 0))

    def potential(y):
        return y[:, V] if layout == "vmap" else y[V]

    per_ms = round(1 / dt)
    within = dt * np.arange(per_ms)

    def scanned(y, parameters):
        def one_ms(y, ms):
            y, _ = jax.lax.scan(lambda y, t: (step(y, t, dt, parameters), None), y, ms + within)
            return y, potential(y)

        _, after = jax.lax.scan(one_ms, y, jnp.arange(t1))
        return jnp.concatenate([potential(y)[None], after]).T

    def looped(y, parameters):
        saved = [potential(y)]
        for ms in range(round(t1)):
            for t in ms + within:
                y = step(y, t, dt, parameters)
            saved.append(potential(y))
        return jnp.stack(saved).T

    go = looped if layout == "loop" else jax.jit(scanned)
    fields = jc.models.TenTusscher2004().initial_state()._fields
    order = [model["state_index"](name) for name in fields]

    def derivatives(y: np.ndarray) -> np.ndarray:
        ours = np.empty(len(order))
        ours[order] = y
        return np.asarray(model["rhs"](0.0, jnp.asarray(ours), one))[order]

    def run(ts: np.ndarray):
        assert len(ts) == round(t1) + 1, "every ms"
        return go(states, parameters)

    return Contestant(run, per_ms * round(t1), derivatives)


def _varied(cells: jc.AbstractCell) -> dict[str, Any]:
    """The parameters that differ between cells, (cells,) each."""
    return {name: p.value for name, p in cells.parameters().items() if jnp.ndim(p.value) == 1}
