"""Preparations: small coupled cultures of stem-cell cardiomyocytes that differ in cells, temperature, drug and rhythm.

A preparation is a strip of Kernik-Clancy cells coupled by gap junctions. Its potentials, and the current that each cell
gets from its neighbours, are what an electrode sees (`electrode`).
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ..annotations import typed
from ..arguments import check_seed, refusal
from ..cell import AbstractCell, astype, hold
from ..models import KernikClancy2019
from ..pharmacology import DRUGS, Block, Drug, block, targets
from ..simulation.compiled import compiled
from ..solvers import RatesTerm, RushLarsen2

NODES = 7
"""Cells of a strip. The stimulus is at the first; an electrode is on one of those within."""
PROBES = (2, 3, 4)
"""The cells of a strip that an electrode may be on."""
BLOCK = 32
"""Preparations that are simulated together, always so many: a preparation is the same to the last bit in any chunk."""
DT = 0.1
"""Step, ms."""
SETTLING, KEPT = 8000.0, 8000.0
"""Time before the first saved sample, and time saved, ms."""
RATE = 5000.0
"""Samples a second of what is saved, Hz."""
VECTOR = 16
"""Numbers that a processor takes at once: a program for a multiple of that many cells is three times as fast."""
STIMULUS, STIMULUS_DURATION = -50.0, 2.0
"""pA/pF and ms, at the first cells."""
FIRST_STIMULUS = 50.0
"""ms."""
BODY = 310.0
"""Temperature of the model's own kinetics, K."""
LEAST_BLOCK, MOST_BLOCK = 0.05, 0.8
"""Between which the drug blocks its main current, the one of the lowest IC50. Doses are uniform in their logarithm."""

LIDOCAINE = Drug(
    "lidocaine",
    {"I_Na": Block(10_000.0, 1.0)},
    None,
    "Bean, Cohen and Tsien 1983, J Gen Physiol 81:613-642, doi 10.1085/jgp.81.5.613, abstract: one-to-one binding, "
    "half block at about 10 uM where inactivation is nearly complete (above 300 uM where there is none). Other "
    "currents were not measured there, and are not blocked here",
)
"""At the depolarised diastole of stem-cell cardiomyocytes most sodium channels are inactivated."""
TRAINING_DRUGS = ("none", "dofetilide", "quinidine", "nifedipine", "flecainide", "lidocaine")
"""Those of the paper's training set, and no drug."""
UNSEEN_DRUG = "propranolol"
"""That of the paper's second test set."""

SPREAD: Mapping[str, float] = {
    "scale_g_Kr": 0.25,
    "scale_p_CaL": 0.20,
    "scale_g_Ks": 0.30,
    "scale_g_K1": 0.30,
    "scale_g_Na": 0.30,
    "scale_g_f": 0.40,
    "scale_g_to": 0.40,
    "scale_g_CaT": 0.30,
    "scale_k_NaCa": 0.15,
    "scale_Vmax_up": 0.15,
    "scale_k_rel": 0.15,
}
"""Standard deviation of the logarithm of each multiplier, between preparations."""
WITHIN = 0.05
"""The same between the cells of one preparation, for the four multipliers that matter most to repolarisation."""
VARIED_WITHIN = ("scale_g_Kr", "scale_p_CaL", "scale_g_K1", "scale_g_Na")
REPOLARISATION = (-2.3, 1.7)
"""Maturity of repolarisation, from fast to slow: exp(-0.8 z) multiplies I_Kr, exp(0.25 z) I_CaL."""


class Recipe(NamedTuple):
    """What makes one preparation: a function of (seed, number) and the list of drugs alone."""

    number: int
    drug: str
    concentration: float
    """nM."""
    temperature: float
    """K."""
    period: float
    """Of the stimulus, ms; inf for a preparation that beats by itself."""
    coupling: float
    """Between neighbours, 1/ms: conductance over capacitance."""
    scales: dict[str, np.ndarray]
    """Multipliers of the cells' conductances, (node,)."""


class Potentials(NamedTuple):
    """What was saved of a block of preparations, at `RATE`: of each cell of `PROBES`."""

    recipes: list[Recipe]
    V: Float[np.ndarray, "preparation probe sample"]
    """mV."""
    inflow: Float[np.ndarray, "preparation probe sample"]
    """Current from the neighbours over capacitance, mV/ms: the total membrane current, inward positive."""


def drug_named(name: str) -> Drug | None:
    """A drug of `pharmacology.DRUGS`, or lidocaine; None for "none". ValueError: an unknown name."""
    if name == "none":
        return None
    if name == LIDOCAINE.name:
        return LIDOCAINE
    if name not in DRUGS:
        raise refusal("drug", name, "", f"'none', 'lidocaine', {', '.join(map(repr, DRUGS))}")
    return DRUGS[name]


@typed
def recipes(seed: int, indices: Sequence[int], drugs: Sequence[str] = TRAINING_DRUGS) -> list[Recipe]:
    """The recipes of these preparations; each is a function of (seed, index, drugs) alone.

    Args:
        seed: of the whole set.
        indices: of the preparations.
        drugs: names; every preparation gets one of them ("none" is one), at a dose that blocks its main current by 5 to
            80 %.

    ValueError: an unknown drug, or one that blocks no current of the cell.
    """
    check_seed(seed)
    cell = KernikClancy2019()
    if not drugs:
        raise refusal("drugs", "()", "", "a list of names, at least one ('none' is one)")
    for name in drugs:
        found = drug_named(name)
        if found is not None and not targets(cell, found).blocked:
            raise refusal("drugs", name, "", "drugs that block a current of KernikClancy2019")
    return [_recipe(seed, int(i), tuple(drugs)) for i in indices]


def _recipe(seed: int, index: int, drugs: tuple[str, ...]) -> Recipe:
    draw = np.random.default_rng((seed, index))
    z = draw.uniform(*REPOLARISATION)
    scales = {name: np.full(NODES, np.exp(sd * draw.standard_normal())) for name, sd in SPREAD.items()}
    for name in VARIED_WITHIN:
        scales[name] = scales[name] * np.exp(WITHIN * draw.standard_normal(NODES))
    scales["scale_g_Kr"] = scales["scale_g_Kr"] * np.exp(-0.8 * z)
    scales["scale_p_CaL"] = scales["scale_p_CaL"] * np.exp(0.25 * z)
    scales["scale_g_K1"] = 1.5 * scales["scale_g_K1"]
    scales["scale_g_Na"] = 1.3 * scales["scale_g_Na"]
    scales["scale_g_f"] = 0.8 * scales["scale_g_f"]
    temperature = draw.uniform(BODY - 6, BODY)
    period = np.exp(draw.uniform(np.log(700), np.log(2000)))
    if draw.random() < 0.2:
        period = np.inf
        scales["scale_g_K1"] = 0.7 * scales["scale_g_K1"]
        scales["scale_g_f"] = scales["scale_g_f"] * np.where(np.arange(NODES) == 0, 2.0, 1.3)
    coupling = np.exp(draw.uniform(np.log(0.4), np.log(1.2)))
    name = drugs[draw.integers(len(drugs))]
    return Recipe(index, name, _dose(drug_named(name), draw.random()), temperature, period, coupling, scales)


def _dose(drug: Drug | None, u: float) -> float:
    """The dose, nM, at which a share u of the way from the least to the most block of the main current is gone."""
    if drug is None:
        return 0.0
    curves = [drug.blocks[current] for current in targets(KernikClancy2019(), drug).blocked]
    ic50, hill = min((float(np.asarray(curve.ic50)), float(np.asarray(curve.hill))) for curve in curves)
    low, high = (np.log(b / (1 - b)) / hill for b in (LEAST_BLOCK, MOST_BLOCK))
    return float(ic50 * np.exp(low + u * (high - low)))


def blocked(cell: AbstractCell, drug: str, concentration: float) -> AbstractCell:
    """The cell under a drug of `drug_named`; "none" leaves it as it is."""
    found = drug_named(drug)
    return cell if found is None else block(cell, found, concentration)


def simulated(recipes: Sequence[Recipe], together: int = 2) -> Iterator[Potentials]:
    """The potentials of blocks of up to `BLOCK` preparations, in order, of which so many are made at once."""
    blocks = [list(recipes[first : first + BLOCK]) for first in range(0, len(recipes), BLOCK)]
    with ThreadPoolExecutor(together) as pool:
        for first in range(0, len(blocks), together):
            yield from pool.map(_simulated, blocks[first : first + together])


def _simulated(some: list[Recipe]) -> Potentials:
    V, inflow = _strips(some + some[-1:] * (BLOCK - len(some)))
    return Potentials(some, *(np.ascontiguousarray(x[..., : len(some)].transpose(2, 1, 0)) for x in (V, inflow)))


def _strips(recipes: list[Recipe]) -> tuple[np.ndarray, np.ndarray]:
    """V and inflow of a block of strips, (sample, probe, preparation)."""
    cells = [_parameters(recipe) for recipe in recipes]
    values = {name: np.stack([c[name] for c in cells], axis=-1)[None].astype(np.float32) for name in cells[0]}
    period = np.array([r.period for r in recipes], np.float32)
    coupling = np.array([r.coupling for r in recipes], np.float32)
    rows, columns = np.zeros(len(PROBES), int), np.array(PROBES)
    return coupled(values, period, coupling, rows, columns, SETTLING, KEPT)


def _parameters(recipe: Recipe) -> dict[str, np.ndarray]:
    """Every parameter of the strip's cells that differs from the model's own, (node,)."""
    cell = blocked(KernikClancy2019(), recipe.drug, recipe.concentration)
    base = KernikClancy2019().parameters()
    changed = {
        name: float(cell.parameters()[name].value) for name in base if name in KernikClancy2019.conductances.values()
    }
    found = {name: np.full(NODES, value) for name, value in changed.items()}
    for name, scale in recipe.scales.items():
        found[name] = found.get(name, np.ones(NODES)) * scale
    return found | {"temperature": np.full(NODES, recipe.temperature)}


def coupled(
    parameters: Mapping[str, Float[np.ndarray, "row column culture"]],
    period: Float[np.ndarray, " culture"],
    coupling: Float[np.ndarray, " culture"],
    rows: Int[np.ndarray, " probe"],
    columns: Int[np.ndarray, " probe"],
    settling: float,
    kept: float,
) -> tuple[Float[np.ndarray, "sample probe culture"], Float[np.ndarray, "sample probe culture"]]:
    """V (mV) and inflow (mV/ms) of cultures of coupled cells at some of their cells, at `RATE`, in float32.

    Cells in rows and columns exchange coupling (V_neighbour - V) mV/ms with each of up to four neighbours; the border
    passes no current. The whole first column is stimulated every `period` ms, from 50 ms on. Intracellular sodium and
    potassium are held, so that cells with other conductances settle in seconds.

    Args:
        parameters: of `KernikClancy2019`, where they differ from its own.
        period: ms; inf for no stimulus.
        coupling: 1/ms; the explicit step needs 8 coupling DT < 2.
        rows, columns: of the cells that are saved.
        settling, kept: ms before the first sample, and ms that are saved.
    """
    names = tuple(sorted(parameters))
    shape = parameters[names[0]].shape
    full = {name: jnp.asarray(np.broadcast_to(parameters[name], shape), jnp.float32) for name in names}
    of_culture = jnp.asarray(period, jnp.float32), jnp.asarray(coupling, jnp.float32)
    probes = jnp.asarray(rows), jnp.asarray(columns)
    V, inflow = _run(full, *of_culture, *probes, round(settling / DT), round(kept * RATE / 1000))
    return np.asarray(V), np.asarray(inflow)


def _integrated(values: dict[str, Array], period, coupling, rows, columns, settling: int, frames: int):
    # All cells in one axis, of a length that fills vectors, and parameters that are alike as numbers.
    rows_there, columns_there, cultures = shape = next(iter(values.values())).shape
    cells = rows_there * columns_there * cultures
    missing = -cells % VECTOR

    def flat(x):
        return jnp.pad(jnp.broadcast_to(x, shape).reshape(-1), (0, missing), mode="edge")

    cell = astype(KernikClancy2019(), jnp.float32).replace(**{name: flat(x) for name, x in values.items()})
    cell = hold(cell, "Na_i", "K_i")
    y = jax.tree.map(lambda x: jnp.full(cells + missing, x, jnp.float32), KernikClancy2019().initial_state())
    first = flat((jnp.arange(columns_there) == 0)[:, None])
    couplings = _neighbours((rows_there, columns_there, cultures), coupling)
    neighbours = [(stride, flat(weight).at[cells:].set(0)) for stride, weight in couplings]
    period = flat(period)
    solver = RushLarsen2()
    dt = jnp.asarray(DT, jnp.float32)

    def inflow(V):
        return functools.reduce(jnp.add, [weight * (jnp.roll(V, -stride) - V) for stride, weight in neighbours])

    def rates(t, y, args):
        since = t - FIRST_STIMULUS
        phase = jnp.where(jnp.isinf(period), since, since - period * jnp.floor(since / period))
        on = first & (phase < STIMULUS_DURATION) & (since >= 0) & ~jnp.isinf(period)
        stimulus = jnp.where(on, jnp.float32(STIMULUS), jnp.float32(0))
        return cell.rates(t, y, stimulus - inflow(y.V))

    term = RatesTerm(rates)

    def step(carry, _):
        k, y, memory = carry
        t = k.astype(jnp.float32) * dt
        y, _, _, memory, _ = solver.step(term, t, t + dt, y, None, memory, jnp.asarray(False))
        return (k + 1, y, memory), None

    def frame(carry, _):
        carry, _ = jax.lax.scan(step, carry, None, length=round(1000 / RATE / DT))
        V = carry[1].V
        return carry, tuple(x[:cells].reshape(shape)[rows, columns] for x in (V, inflow(V)))

    zero = jnp.zeros((), jnp.float32)
    carry = (jnp.zeros((), jnp.int32), y, solver.init(term, zero, dt, y, None))
    carry, _ = jax.lax.scan(step, carry, None, length=settling)
    _, saved = jax.lax.scan(frame, carry, None, length=frames)
    return saved


_run = compiled(_integrated)


def _neighbours(shape: tuple[int, int, int], coupling: Array) -> list[tuple[int, Array]]:
    """Of cells in one axis: how far on each neighbour is, and what couples it, 1/ms; 0 beyond the border."""
    rows, columns, cultures = shape
    row, column = (x[..., None] for x in np.indices((rows, columns)))
    there = {cultures: column < columns - 1, -cultures: column > 0}
    if rows > 1:
        there |= {columns * cultures: row < rows - 1, -columns * cultures: row > 0}
    return [
        (stride, jnp.asarray(is_there, jnp.float32) * coupling[None, None, :]) for stride, is_there in there.items()
    ]
