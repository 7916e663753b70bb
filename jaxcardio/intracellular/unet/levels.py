"""The two halves of a level of PIA-UNET: residual blocks on the way down, an attention gate on the way up."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from .layers import Convolution, ConvolutionBlock, ResidualBlock

STRIDE = 5
"""From the samples of one level to those of the next."""


class EncoderLevel(eqx.Module):
    """A convolution block that enters the level (with a stride, from the level above), then residual blocks."""

    enter: ConvolutionBlock
    blocks: tuple[ResidualBlock, ...]  # no scan over them: gradients of convolutions within one are ten times slower

    def __init__(self, inputs: int, channels: int, depth: int, kernel: int, stride: int, *, key: Key[Array, ""]):
        one, other = jax.random.split(key)
        self.enter = ConvolutionBlock(inputs, channels, kernel, stride, key=one)
        self.blocks = tuple(ResidualBlock(channels, kernel, key=key) for key in jax.random.split(other, depth))

    def __call__(self, x: Float[Array, "batch sample inputs"], training: bool):
        y, enter = self.enter(x, training)
        blocks = []
        for block in self.blocks:
            y, block = block(y, training)
            blocks.append(block)
        return y, eqx.tree_at(lambda level: (level.enter, level.blocks), self, (enter, tuple(blocks)))


class AttentionGate(eqx.Module):
    """Which samples of the encoder's values the decoder looks at, decided at the resolution of the level below.

    sigmoid(W relu(U skip + V gate + b) + c), where U takes every fifth sample; the mask, one number a sample, is
    repeated five times and multiplied by the skip.
    """

    of_skip: Convolution
    of_gate: Convolution
    mask: Convolution

    def __init__(self, skip: int, gate: int, *, key: Key[Array, ""]):
        a, b, c = jax.random.split(key, 3)
        self.of_skip = Convolution(skip, skip, 1, STRIDE, bias=False, key=a)
        self.of_gate = Convolution(gate, skip, 1, key=b)
        self.mask = Convolution(skip, 1, 1, key=c)

    def __call__(
        self, skip: Float[Array, "batch sample skip"], gate: Float[Array, "batch fewer gate"]
    ) -> Float[Array, "batch sample skip"]:
        mask = jax.nn.sigmoid(self.mask(jax.nn.relu(self.of_skip(skip) + self.of_gate(gate))))
        return skip * jnp.repeat(mask, STRIDE, axis=1)


class DecoderLevel(eqx.Module):
    """The level below, repeated five times, beside the attended values of the encoder, through a convolution block."""

    attention: AttentionGate
    join: ConvolutionBlock

    def __init__(self, skip: int, below: int, kernel: int, *, key: Key[Array, ""]):
        one, other = jax.random.split(key)
        self.attention = AttentionGate(skip, below, key=one)
        self.join = ConvolutionBlock(skip + below, skip, kernel, key=other)

    def __call__(
        self, skip: Float[Array, "batch sample skip"], below: Float[Array, "batch fewer below"], training: bool
    ):
        both = jnp.concatenate([jnp.repeat(below, STRIDE, axis=1), self.attention(skip, below)], -1)
        y, join = self.join(both, training)
        return y, eqx.tree_at(lambda level: level.join, self, join)
