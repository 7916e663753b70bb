"""The command line: `jaxcardio VERB ...`, or `python -m jaxcardio VERB ...`. One verb a job; `--help` after each."""

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Sequence

from .cli.arguments import parser

MODULES = {
    "models": "models",
    "simulate": "run",
    "drug": "drug",
    "biomarkers": "beats",
    "population": "population",
    "dataset": "dataset",
    "twin": "twin",
    "hidden-state": "hidden_state",
    "check": "check",
}
"""The module of `cli` that does what a verb says: `run(arguments) -> exit status`. Imported when the verb is chosen."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb. Exit status: 0 done, 1 the run or a check did not end well, 2 wrong input, 130 interrupted."""
    try:
        given = parser().parse_args(arguments)
        if given.verb != "models" or given.model is not None:  # the list of models needs no JAX
            _start_jax(given)
        return importlib.import_module(f"{__package__}.cli.{MODULES[given.verb]}").run(given)
    except SystemExit as stop:  # argparse: 0 after --help, 2 with its own message
        return stop.code if isinstance(stop.code, int) else 2
    except BrokenPipeError:  # the reader of our output has seen enough
        sys.stderr.close()
        return 0
    except (ValueError, OSError) as error:
        print(f"jaxcardio: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\njaxcardio: interrupted", file=sys.stderr)
        return 130


def _start_jax(given: argparse.Namespace) -> None:
    """Double precision; and compiled programs in the user's cache folder, where there can be one."""
    # JAX 0.12 logs as an error whenever a program comes from the cache. Failures of XLA are exceptions all the same.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import jax

    from .cache import use_cache

    jax.config.update("jax_enable_x64", True)
    if given.no_cache:
        jax.config.update("jax_enable_compilation_cache", False)
    else:
        with contextlib.suppress(ValueError):
            use_cache()


if __name__ == "__main__":
    sys.exit(main())
