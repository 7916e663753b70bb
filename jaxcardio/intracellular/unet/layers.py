"""The blocks that PIA-UNET is made of. Arrays are (batch, sample, channel): on CPUs XLA convolves that layout fastest.

A block is a function (values, training) -> (values, block): in training it normalises by the statistics of the batch
and gives back the block with its running statistics moved towards them; otherwise it uses the running ones, so that
what a window becomes depends on that window alone, and gives itself back.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

MOMENTUM = 0.95
"""Of the running statistics: what stays of them after a batch."""
EPSILON = 1e-3
"""Added to variances."""
REDUCTION = 8
"""Of the channels within squeeze-and-excitation."""


class Convolution(eqx.Module):
    """A convolution along the samples that keeps their number, or divides it by its stride.

    Weights are drawn as He and colleagues do (normal, cut off at two standard deviations), biases are 0.
    """

    weight: Float[Array, "kernel inputs outputs"]
    bias: Float[Array, " outputs"] | None
    stride: int = eqx.field(static=True)

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = True, *, key: Key[Array, ""]
    ):
        self.weight = jax.nn.initializers.he_normal()(key, (kernel, inputs, outputs), jnp.float32)
        self.bias = jnp.zeros(outputs, jnp.float32) if bias else None
        self.stride = stride

    def __call__(self, x: Float[Array, "batch sample inputs"]) -> Float[Array, "batch fewer outputs"]:
        """In the dtype of `x`."""
        y = jax.lax.conv_general_dilated(
            x, self.weight.astype(x.dtype), (self.stride,), "SAME", dimension_numbers=("NWC", "WIO", "NWC")
        )
        return y if self.bias is None else y + self.bias.astype(x.dtype)[None, None]


class Dense(eqx.Module):
    """x W + b, for each row of a matrix."""

    weight: Float[Array, "inputs outputs"]
    bias: Float[Array, " outputs"]

    def __init__(self, inputs: int, outputs: int, *, key: Key[Array, ""]):
        self.weight = jax.nn.initializers.he_normal()(key, (inputs, outputs), jnp.float32)
        self.bias = jnp.zeros(outputs, jnp.float32)

    def __call__(self, x: Float[Array, "batch inputs"]) -> Float[Array, "batch outputs"]:
        return x @ self.weight.astype(x.dtype) + self.bias.astype(x.dtype)[None]


class BatchNorm(eqx.Module):
    """Each channel with mean 0 and variance 1, times `scale`, plus `shift`; statistics are float32 throughout."""

    scale: Float[Array, " channel"]
    shift: Float[Array, " channel"]
    mean: Float[Array, " channel"]
    """Running; no weight: `is_weight` of `network.py` leaves it out."""
    variance: Float[Array, " channel"]

    def __init__(self, channels: int):
        self.scale, self.variance = jnp.ones(channels, jnp.float32), jnp.ones(channels, jnp.float32)
        self.shift, self.mean = jnp.zeros(channels, jnp.float32), jnp.zeros(channels, jnp.float32)

    def __call__(
        self, x: Float[Array, "batch sample channel"], training: bool
    ) -> tuple[Float[Array, "batch sample channel"], "BatchNorm"]:
        mean, variance, norm = self.mean, self.variance, self
        if training:
            of = x.astype(jnp.float32)
            mean = jnp.mean(of, (0, 1))
            variance = jnp.mean(jnp.square(of - mean[None, None]), (0, 1))
            moved = [
                MOMENTUM * old + (1 - MOMENTUM) * jax.lax.stop_gradient(new)
                for old, new in ((self.mean, mean), (self.variance, variance))
            ]
            norm = eqx.tree_at(lambda n: (n.mean, n.variance), self, tuple(moved))
        slope = self.scale * jax.lax.rsqrt(variance + EPSILON)
        offset = self.shift - mean * slope
        return x * slope.astype(x.dtype)[None, None] + offset.astype(x.dtype)[None, None], norm


class ConvolutionBlock(eqx.Module):
    """Convolution, batch normalisation, ReLU or sigmoid: the study's CBR block."""

    convolution: Convolution
    norm: BatchNorm
    activation: str = eqx.field(static=True)

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        activation: str = "relu",
        *,
        key: Key[Array, ""],
    ):
        self.convolution = Convolution(inputs, outputs, kernel, stride, bias=False, key=key)  # the norm has a shift
        self.norm = BatchNorm(outputs)
        self.activation = activation

    def __call__(self, x: Float[Array, "batch sample inputs"], training: bool):
        y, norm = self.norm(self.convolution(x), training)
        y = jax.nn.relu(y) if self.activation == "relu" else jax.nn.sigmoid(y)
        return y, eqx.tree_at(lambda block: block.norm, self, norm)


class SqueezeExcite(eqx.Module):
    """A factor for each channel, from the channels' means over the window."""

    squeeze: Dense
    excite: Dense

    def __init__(self, channels: int, *, key: Key[Array, ""]):
        one, other = jax.random.split(key)
        fewer = max(1, channels // REDUCTION)
        self.squeeze = Dense(channels, fewer, key=one)
        self.excite = Dense(fewer, channels, key=other)

    def __call__(self, x: Float[Array, "batch sample channel"]) -> Float[Array, "batch channel"]:
        return jax.nn.sigmoid(self.excite(jax.nn.relu(self.squeeze(jnp.mean(x, 1)))))


class ResidualBlock(eqx.Module):
    """Two convolution blocks (ReLU, then sigmoid), weighed by squeeze-and-excitation of the input, plus the input."""

    first: ConvolutionBlock
    second: ConvolutionBlock
    weigh: SqueezeExcite

    def __init__(self, channels: int, kernel: int, *, key: Key[Array, ""]):
        a, b, c = jax.random.split(key, 3)
        self.first = ConvolutionBlock(channels, channels, kernel, key=a)
        self.second = ConvolutionBlock(channels, channels, kernel, activation="sigmoid", key=b)
        self.weigh = SqueezeExcite(channels, key=c)

    def __call__(self, x: Float[Array, "batch sample channel"], training: bool):
        y, first = self.first(x, training)
        y, second = self.second(y, training)
        y = x + y * self.weigh(x)[:, None]
        return y, eqx.tree_at(lambda block: (block.first, block.second), self, (first, second))
