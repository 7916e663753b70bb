"""A trained gating network in a file."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from ..annotations import typed
from ..arguments import check, refusal
from ..files.hdf5 import read_network, write_network
from .gating import GatingNetwork

FORMAT = "jaxcardio gating network 1"


@typed
def save_network(path: str | Path, network: GatingNetwork) -> None:
    """Writes a gating network, of `first_pass` or of a `TwoPartNetwork`, whole or not at all."""
    ends = zip((network.centre - network.scale).tolist(), (network.centre + network.scale).tolist(), strict=True)
    about = {
        "gates": network.gates,
        "ranges": dict(zip(network.observables, ends, strict=True)),
        "width": network.dense[0].out_features,
        "step": network.cell.step,
        "activation": network.activation,
    }
    write_network(path, FORMAT, about, _float32(network))


@typed
def load_network(path: str | Path) -> GatingNetwork:
    """Reads what `save_network` wrote; anything else is a ValueError that names the path."""
    return read_network(path, FORMAT, _empty)[1]


def _empty(about: dict[str, Any]) -> GatingNetwork:
    """A network of the same structure, to be filled."""
    gates, ranges = about["gates"], about["ranges"]
    if not isinstance(gates, list) or not gates or not all(isinstance(x, str) for x in gates):
        raise refusal("gates", gates, "", "a list of names of states")
    if not isinstance(ranges, dict) or not ranges:
        raise refusal("ranges", ranges, "", "an object of lowest and highest values")
    for name, ends in ranges.items():
        check(f"ranges: {name}", ends, "", "lowest and highest value", lambda x: x.shape == (2,) and x[0] < x[1])
    options = {name: about[name] for name in ("step", "width", "activation")}
    return _float32(GatingNetwork(tuple(gates), ranges, key=jax.random.key(0), **options))


def _float32(network: GatingNetwork) -> GatingNetwork:
    return jax.tree.map(lambda x: x.astype(jnp.float32) if eqx.is_inexact_array(x) else x, network)
