"""PIA-UNET: from extracellular windows to intracellular action potentials, with quantiles and model parameters."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from ...annotations import typed
from ...arguments import check_whole, refusal
from .heads import PhysicsHead, Quantiles, TraceHead
from .layers import BatchNorm
from .levels import STRIDE, DecoderLevel, EncoderLevel
from .prediction import Prediction


class PIAUNet(eqx.Module):
    """The attention U-net of the study, with the physics head, and with quantiles (Q-PIA-UNET) unless "none".

    `levels` encoder levels, each with a fifth of the samples of the one above it and `channels` channels more, of
    `depth` residual blocks each; `levels - 1` decoder levels with attention gates. The study's text says five decoder
    levels; its code has three with four encoder levels, as here.

    `net(eap)` uses frozen statistics; `net.train_call(eap)` those of the batch.

    Source: doi 10.1038/s41467-024-55571-6, "PIA-UNET architecture", and the released code where the text differs.
    """

    encoder: tuple[EncoderLevel, ...]
    decoder: tuple[DecoderLevel, ...]
    """From the lowest one up."""
    traces: TraceHead
    physics: PhysicsHead
    samples: int = eqx.field(static=True)
    settings: tuple[tuple[str, Any], ...] = eqx.field(static=True)

    @typed
    def __init__(
        self,
        *,
        channels: int = 32,
        depth: int = 8,
        kernel: int = 11,
        levels: int = 4,
        samples: int = 8000,
        quantiles: Quantiles = "non-crossing",
        physics_width: int = 144,
        key: Key[Array, ""],
    ):
        """An untrained network; the arguments' own values are the study's.

        Args:
            channels: of the first level, and what each further one has more.
            depth: residual blocks of each level.
            kernel: samples of a convolution; odd.
            levels: of the encoder.
            samples: of a window, a multiple of 5 ** (levels - 1), and of 5.
            quantiles: "non-crossing" (5 %, 50 %, 95 %, in order by construction), "published" (three parallel
                outputs) or "none".
            physics_width: of the hidden layer of the physics head.

        ValueError: a number out of its range.
        """
        for name, value, least in (("channels", channels, 1), ("depth", depth, 1), ("levels", levels, 2)):
            check_whole(name, value, "", least)
        check_whole("physics_width", physics_width, "")
        check_whole("kernel", kernel, "samples")
        if kernel % 2 == 0:
            raise refusal("kernel", kernel, "samples", "an odd number")
        check_whole("samples", samples, "samples")
        if samples % STRIDE ** (levels - 1):
            raise refusal("samples", samples, "samples", f"a multiple of {STRIDE ** (levels - 1)} with {levels} levels")
        down, up, out, head = jax.random.split(key, 4)
        of = [0, *(channels * (k + 1) for k in range(levels))]
        self.encoder = tuple(
            EncoderLevel(of[k] or 1, of[k + 1], depth, kernel, STRIDE if k else 1, key=jax.random.fold_in(down, k))
            for k in range(levels)
        )
        self.decoder = tuple(
            DecoderLevel(of[k], of[k + 1], kernel, key=jax.random.fold_in(up, k)) for k in range(levels - 1, 0, -1)
        )
        self.traces = TraceHead(channels, kernel, quantiles, key=out)
        sets = 1 if quantiles == "none" else 3
        self.physics = PhysicsHead(samples, channels, kernel, physics_width, sets, key=head)
        self.samples = samples
        names = {"channels": channels, "depth": depth, "kernel": kernel, "levels": levels, "samples": samples}
        self.settings = tuple((names | {"quantiles": quantiles, "physics_width": physics_width}).items())

    @staticmethod
    @typed
    def full(key: Key[Array, ""], quantiles: Quantiles = "non-crossing") -> "PIAUNet":
        """The study's size, for 8000 samples at 5 kHz: 6.13 million parameters and 0.23 million of the physics head."""
        return PIAUNet(quantiles=quantiles, key=key)

    @staticmethod
    @typed
    def small(key: Key[Array, ""], quantiles: Quantiles = "non-crossing") -> "PIAUNet":
        """The lower three levels with fewer channels, for 1600 samples at 1 kHz: trains on two CPU cores in minutes."""
        return PIAUNet(channels=12, depth=2, levels=3, samples=1600, quantiles=quantiles, physics_width=16, key=key)

    @property
    def quantiles(self) -> Quantiles:
        return self.traces.quantiles

    @typed
    def __call__(self, eap: Float[Array, "batch sample"]) -> Prediction:
        """Traces and model parameters of normalised windows (Eq 11), with frozen statistics.

        Computed in the dtype of `eap` where that is bfloat16, in float32 otherwise; given in float32. ValueError:
        windows of another length.
        """
        return self._apply(eap, training=False)[0]

    @typed
    def train_call(self, eap: Float[Array, "batch sample"]) -> tuple[Prediction, "PIAUNet"]:
        """As a call, with the statistics of this batch; and the network with its running statistics moved to them."""
        return self._apply(eap, training=True)

    def _apply(self, eap: Float[Array, "batch sample"], training: bool) -> tuple[Prediction, "PIAUNet"]:
        if np.ndim(eap) != 2 or np.shape(eap)[1] != self.samples:
            raise refusal(
                "eap", np.shape(eap), "", f"windows of {self.samples} samples, of shape (batch, {self.samples})"
            )
        y = jnp.asarray(eap)[..., None]
        y = y if y.dtype == jnp.bfloat16 else y.astype(jnp.float32)
        skips, encoder, decoder = [], [], []
        for level in self.encoder:
            y, level = level(y, training)
            skips.append(y)
            encoder.append(level)
        skips.pop()
        for level in self.decoder:
            y, level = level(skips.pop(), y, training)
            decoder.append(level)
        net = eqx.tree_at(lambda net: (net.encoder, net.decoder), self, (tuple(encoder), tuple(decoder)))
        lower, median, upper = self.traces(y)
        return Prediction(lower, median, upper, self.physics(y)), net


def is_weight(net: PIAUNet) -> PIAUNet:
    """A tree of truth values: which leaves are trained. Running statistics are not."""
    weights = jax.tree.map(_is_inexact, net)

    def norms(tree: Any) -> list[BatchNorm]:
        found = jax.tree.leaves(tree, is_leaf=lambda x: isinstance(x, BatchNorm))
        return [x for x in found if isinstance(x, BatchNorm)]

    return eqx.tree_at(
        lambda tree: [s for n in norms(tree) for s in (n.mean, n.variance)], weights, replace_fn=lambda _: False
    )


def _is_inexact(leaf: Any) -> bool:
    """Whether it is an array of floating-point numbers, or the shape of one."""
    return hasattr(leaf, "dtype") and bool(jnp.issubdtype(leaf.dtype, jnp.inexact))


def count(tree: Any) -> int:
    """Trained parameters of a network or a part of one, or of the shapes of one."""
    return sum(x.size for x in jax.tree.leaves(eqx.filter(tree, is_weight(tree))))
