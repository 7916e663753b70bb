"""A trained gating network in a file: a line of JSON, then its leaves."""

import json
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp

from .gating import GatingNetwork

FORMAT = "jaxcardio gating network 1"


def save_network(path: str | Path, network: GatingNetwork) -> None:
    """Writes the network, whole or not at all."""
    ranges = zip(network.centre - network.scale, network.centre + network.scale, strict=True)
    about = {
        "format": FORMAT,
        "gates": network.gates,
        "ranges": dict(zip(network.observables, ((float(a), float(b)) for a, b in ranges), strict=True)),
        "width": network.dense[0].out_features,
        "step": network.cell.step,
    }
    partial = Path(path).with_name(f"{Path(path).name}.part")
    with open(partial, "wb") as file:
        file.write((json.dumps(about) + "\n").encode())
        eqx.tree_serialise_leaves(file, _float32(network))
    partial.replace(path)


def load_network(path: str | Path) -> GatingNetwork:
    """Reads what `save_network` wrote; anything else is a ValueError that names the path."""
    try:
        with open(path, "rb") as file:
            about = json.loads(file.readline())
            if about["format"] != FORMAT:
                raise ValueError(f"another format, {about['format']!r}")
            ranges = {name: tuple(ends) for name, ends in about["ranges"].items()}
            like = GatingNetwork(
                tuple(about["gates"]), ranges, step=about["step"], width=about["width"], key=jax.random.key(0)
            )
            return eqx.tree_deserialise_leaves(file, _float32(like))
    except FileNotFoundError:
        raise ValueError(f"path = {path}: no such file") from None
    except Exception as error:
        raise ValueError(f"path = {path}: not a whole {FORMAT} ({error})") from None


def _float32(network: GatingNetwork) -> GatingNetwork:
    return jax.tree.map(lambda x: x.astype(jnp.float32) if eqx.is_inexact_array(x) else x, network)
