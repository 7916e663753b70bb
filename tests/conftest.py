"""House rules of the tests: float64, two devices, strict promotion, rank promotion an error, warnings are errors."""

import gc
import os
from pathlib import Path

os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"  # the command line's cache is the user's, and no test is to lean on it

import jax
import pytest
from hypothesis import settings

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 2)  # populations are spread over two devices throughout
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# A continuous-integration run draws the same examples every time; elsewhere each run looks at new ones.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

MANY_MAPPINGS = 28_000
"""Linux allows a process 65,530. Compiled programs of a few hundred tests take more, and the compiler crashes."""


def mappings() -> int:
    """Memory mappings of this process; 0 where the system does not list them."""
    listed = Path("/proc/self/maps")
    return listed.read_bytes().count(b"\n") if listed.exists() else 0


@pytest.fixture(scope="module", autouse=True)
def forget_compiled_programs():
    """Drops what JAX has compiled once a file of tests is done, where much has come together."""
    yield
    if mappings() > MANY_MAPPINGS:
        jax.clear_caches()
        gc.collect()


SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def references() -> Path:
    """The full reference files, which live beside the project; tests that need them skip where they are absent."""
    folder = SHARED / "references"
    if not folder.is_dir():
        pytest.skip("the full reference files are not here")
    return folder


@pytest.fixture(scope="session")
def cellml_files() -> Path:
    """Public CellML files of models, which live beside the project; tests that need them skip where they are absent."""
    folder = SHARED / "models" / "cellml"
    if not folder.is_dir():
        pytest.skip("the CellML files are not here")
    return folder


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The really recorded cells, which live beside the project; tests that need them skip where they are absent."""
    file = SHARED / "data" / "ipsc_patch_clamp.h5"
    if not file.is_file():
        pytest.skip("the recorded cells are not here")
    return file
