"""The study's network: potential -> the three gates of Nav1.5, without a memory.

Sánchez J & Loewe A, "Accelerating Cardiac Myocyte Simulations with Physics-Informed Neural Networks for Sodium Channel
Gating" (Computing in Cardiology 2025), as printed. Its losses are in `published_objective.py`, its training in
`published_training.py`, and what it does in a cell in `published_result.py`.

Why this cannot work. A gate is a state because it remembers: on its way up, V passes -40 mV while m has opened and h1
has not yet closed, and for those tenths of a millisecond the channel carries nanoamperes. A map from V to the gates
gives the same product m^3 h1 h2 whenever V is the same: the window current, half a picoampere at most. So the
membrane follows the stimulus alone. That holds for the exact steady states (`SteadySodiumGating`, the control), and no
training changes it.
"""

from typing import Any, Self

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ..annotations import typed
from ..arguments import check_known, check_whole
from ..models.sodium_gating import AbstractSodiumGating, SkibsbyeSodiumGating, SodiumRelaxations
from ..relaxation import Relaxation

WIDTH, BLOCKS = 64, 4
"""Units of a dense layer; residual blocks (the paper's Figure 1)."""
SHARPNESS = 5.0
"""beta of softplus(x) = log(1 + exp(beta x)) / beta."""
SCALE = 100.0
"""mV. The paper's input is V_m and nothing is said of its scale. The first layer sees V / SCALE, -1 to 1 over the
training voltages: of V in mV the usual initial weights make 64 copies of one straight line through 0 mV."""
EPSILON = 1e-5
"""Added to the variance in a batch norm (the default of the paper's library)."""
INSTANT = 1000.0
"""1/ms. A gate without memory is a relaxation of a microsecond."""


@jax.custom_jvp
def softplus(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """log(1 + exp(5 x)) / 5, whose slope, and the slope of that, take one sigmoid: training is three times faster."""
    return jax.nn.softplus(SHARPNESS * x) / SHARPNESS


@softplus.defjvp
def _softplus_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    return softplus(x), jax.nn.sigmoid(SHARPNESS * x) * dx


class ResidualBlock(eqx.Module):
    """x -> batch norm of (x + softplus(dense x)); elementwise in the batch, by the statistics that it holds."""

    dense: eqx.nn.Linear
    gain: Float[Array, " width"]
    offset: Float[Array, " width"]
    mean: Float[Array, " width"]
    variance: Float[Array, " width"]

    def __init__(self, width: int, *, key: Key[Array, ""]):
        self.dense = eqx.nn.Linear(width, width, dtype=jnp.float32, key=key)
        self.gain, self.variance = jnp.ones(width, jnp.float32), jnp.ones(width, jnp.float32)
        self.offset, self.mean = jnp.zeros(width, jnp.float32), jnp.zeros(width, jnp.float32)

    def summed(self, x: Float[Array, " width"]) -> Float[Array, " width"]:
        return x + softplus(self.dense(x))

    def normalised(self, x: Float[Array, " width"]) -> Float[Array, " width"]:
        return (x - self.mean) * jax.lax.rsqrt(self.variance + EPSILON) * self.gain + self.offset

    def __call__(self, x: Float[Array, " width"]) -> Float[Array, " width"]:
        return self.normalised(self.summed(x))


class PublishedPINN(AbstractSodiumGating):
    """V -> dense 64 -> four residual blocks -> dense 3 -> (m, h1, h2), unconstrained, as printed.

    The statistics of its batch norms are leaves. As it stands it uses those it holds, so it is elementwise in V, and
    works under jit, vmap and grad; `in_training` is its other mode. It computes in the dtype of V.
    """

    first: eqx.nn.Linear
    blocks: tuple[ResidualBlock, ...]
    last: eqx.nn.Linear
    scale: float = eqx.field(static=True)

    @typed
    def __init__(self, *, width: int = WIDTH, blocks: int = BLOCKS, scale: float = SCALE, key: Key[Array, ""]):
        """An untrained network, float32.

        Args:
            width: of every dense layer but the last.
            blocks: residual blocks.
            scale: mV that the first layer sees as 1.
            key: of the initial weights.
        """
        check_whole("width", width, "units")
        check_whole("blocks", blocks, "blocks")
        check_known("scale", scale, "mV", "above 0 and finite", lambda x: (x > 0) & (x < jnp.inf))
        one, other, *keys = jax.random.split(key, blocks + 2)
        self.first = eqx.nn.Linear(1, width, dtype=jnp.float32, key=one)
        self.blocks = tuple(ResidualBlock(width, key=k) for k in keys)
        self.last = eqx.nn.Linear(width, 3, dtype=jnp.float32, key=other)
        self.scale = float(scale)

    def gates(self, V: Float[Array, "*shape"]) -> tuple[Float[Array, "*shape"], ...]:
        """(m, h1, h2) at V (mV), elementwise; nothing keeps them between 0 and 1."""
        found = jax.vmap(self.astype(V.dtype)._of_one)(V.reshape(-1))
        return tuple(found[:, k].reshape(V.shape) for k in range(3))

    def relaxations(self, V) -> SodiumRelaxations:
        """The network's gates as the steady states of relaxations of a microsecond."""
        m, h1, h2 = (_instant(gate) for gate in self.gates(jnp.asarray(V)))
        return SodiumRelaxations(m, h1, h2)

    def in_training(self, V: Float[Array, " batch"]) -> tuple[Float[Array, "3 batch"], Float[Array, "3 batch"], Self]:
        """The training mode: gates and slopes d(gate)/dV (1/mV) at the voltages V (mV) of one batch, and the network
        with the statistics of that batch, by which both were normalised. The slopes hold them."""
        x, dx = jax.jvp(jax.vmap(self._first), (V,), (jnp.ones_like(V),))
        blocks = []
        for block in self.blocks:  # value and slope together: passing twice takes four times as long to differentiate
            x, dx = jax.jvp(jax.vmap(block.summed), (x,), (dx,))
            block = eqx.tree_at(lambda b: (b.mean, b.variance), block, (jnp.mean(x, 0), jnp.var(x, 0)))
            x, dx = jax.jvp(jax.vmap(block.normalised), (x,), (dx,))
            blocks.append(block)
        gates, slopes = jax.jvp(jax.vmap(self.last), (x,), (dx,))
        return gates.T, slopes.T, eqx.tree_at(lambda n: n.blocks, self, tuple(blocks))

    def astype(self, dtype) -> Self:
        """The network with its numbers in this dtype."""
        return jax.tree.map(lambda x: x.astype(dtype), self)

    def architecture(self) -> dict[str, Any]:
        """What `of_architecture` makes a network of the same structure from."""
        return {"width": self.first.out_features, "blocks": len(self.blocks), "scale": self.scale}

    @classmethod
    def of_architecture(cls, about: dict[str, Any]) -> Self:
        """A network of the structure that is described, to be filled. KeyError or ValueError: it is not described."""
        options = {name: about[name] for name in ("width", "blocks", "scale")}
        return cls(**options, key=jax.random.key(0))

    def _first(self, V: Float[Array, ""]) -> Float[Array, " width"]:
        return self.first(V[None] / self.scale)

    def _of_one(self, V: Float[Array, ""]) -> Float[Array, "3"]:
        x = self._first(V)
        for block in self.blocks:
            x = block(x)
        return self.last(x)


class SteadySodiumGating(AbstractSodiumGating):
    """The control: another gating's steady states, exact and at once. No map from V to the gates can be better.

    `gating` is the Skibsbye cell's own unless given.
    """

    gating: AbstractSodiumGating = eqx.field(default_factory=SkibsbyeSodiumGating)

    def relaxations(self, V) -> SodiumRelaxations:
        m, h1, h2 = (_instant(r.steady) for r in self.gating.relaxations(V))
        return SodiumRelaxations(m, h1, h2)


def _instant(gate: Float[Array, "*shape"]) -> Relaxation:
    return Relaxation(gate, rate=jnp.full_like(gate, INSTANT))


def is_weight(network: PublishedPINN) -> PublishedPINN:
    """Of every leaf whether it is trained: all but the statistics of the batch norms."""
    every = jax.tree.map(lambda _: True, network)
    statistics = [x for block in every.blocks for x in (block.mean, block.variance)]
    return eqx.tree_at(
        lambda n: [x for block in n.blocks for x in (block.mean, block.variance)], every, [False] * len(statistics)
    )
