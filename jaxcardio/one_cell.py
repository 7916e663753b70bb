"""What one cell alone needs to run fast on jax 0.10: a setting of XLA that must be made before JAX starts."""

import os
import sys

FLAG = "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=65536"
"""XLA compiles a loop that touches fewer bytes than this into one function. The default of jax 0.10 is 1024, just below
what one cell takes, so that every step is a hundred calls; later versions do not need it, and take it."""


def tune_for_one_cell() -> None:
    """Makes this process run one cell three to five times faster on a CPU with jax 0.10; populations stay as they are.

    Call it before JAX is imported: `import jaxcardio as jc; jc.tune_for_one_cell()`. It adds `FLAG` to the environment
    variable XLA_FLAGS. Other versions of JAX run one cell as fast without.

    Raises:
        ValueError: if JAX is already imported, when it may be too late.
    """
    if "jax" in sys.modules:
        raise ValueError("tune_for_one_cell: JAX is imported already; allowed: a call before `import jax`")
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_backend_extra_options" not in flags:  # XLA knows one such list; the user's own wins
        os.environ["XLA_FLAGS"] = f"{flags} {FLAG}".strip()
