"""The command line: `jaxcardio VERB ...`, or `python -m jaxcardio VERB ...`. One verb a job; `--help` after each."""

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from .cache import use_cache
from .cli.arguments import parser
from .one_cell import tune_for_one_cell
from .progress import say

MODULES = {
    "models": "models",
    "simulate": "run",
    "drug": "drug",
    "biomarkers": "beats",
    "population": "population",
    "dataset": "dataset",
    "tissue": "tissue",
    "twin": "twin",
    "hidden-state": "hidden_state",
    "sodium": "sodium",
    "intracellular": "intracellular",
    "check": "check",
}
"""The module of `cli` that does what a verb says: `run(arguments) -> exit status`. Imported when the verb is chosen."""


POSITIONAL = ("file", "folder", "model", "observations", "recording", "source")
"""Arguments that have no option's name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb. Exit status: 0 done, 1 the run or a check did not end well, 2 wrong input, 130 interrupted."""
    given = argparse.Namespace()
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
        say(f"jaxcardio: error: {_of_option(' '.join(str(error).split()), given)}\n")
        return 2
    except (MemoryError, RecursionError, OverflowError, FloatingPointError) as error:
        say(f"jaxcardio: error: {_limit(error)}\n")
        return 2
    except RuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        say(f"jaxcardio: error: {_limit(MemoryError())}\n")
        return 2
    except KeyboardInterrupt:
        say("\njaxcardio: interrupted\n")
        return 130


def _of_option(error: str, given: argparse.Namespace) -> str:
    """What is said of an argument of ours, said of the option that it came from."""
    name, equals, rest = error.partition(" = ")
    dest = "cells" if name == "n" else name
    if not equals or not hasattr(given, dest) or dest in POSITIONAL:
        return error
    option = f"--{dest.replace('_', '-')}"
    return f"{option} = {rest}" if option == f"--{name}" else f"{option}: {error}"


def _limit(error: BaseException) -> str:
    """What to do about a limit of the machine, or of the numbers, that the arguments went beyond."""
    if isinstance(error, MemoryError):
        return "the memory does not suffice for this; allowed: fewer cells, fewer samples or a shorter run"
    if isinstance(error, RecursionError):
        return "the input is nested too deep"
    if isinstance(error, OverflowError):
        return f"a number is too large ({error})"
    return f"{error}: JAX_DEBUG_NANS is set; without it the run ends with a status"


def _start_jax(given: argparse.Namespace) -> None:
    """Double precision, compiled programs in the user's cache folder if there can be one, one cell at full speed."""
    if given.verb in ("simulate", "sodium") and "jax" not in sys.modules:
        tune_for_one_cell()
    if not given.no_cache:
        with contextlib.suppress(ValueError):
            use_cache()
    import jax

    jax.config.update("jax_enable_x64", True)
    if given.verb == "tissue":
        _use_every_core(jax)
    if given.no_cache:
        jax.config.update("jax_enable_compilation_cache", False)
    if platforms := os.environ.get("JAX_PLATFORMS"):
        try:
            jax.devices()
        except Exception as error:  # JAX raises what its plugins do
            why = str(error).partition("\n")[0] or type(error).__name__
            raise ValueError(f"JAX_PLATFORMS = {platforms}: JAX cannot start there ({why}); allowed: cpu") from None


def _use_every_core(jax) -> None:
    """A tissue is divided over devices: on a CPU each core is one, unless JAX has started or XLA_FLAGS says another."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", cores)


def program() -> NoReturn:
    """What the shell runs: `main` with streams that can be written to.

    It ends without taking JAX apart, which takes half a second: every file is closed by then.
    """
    _open_streams()
    status = main()
    try:
        sys.stdout.flush()
    except BrokenPipeError:  # the reader of our output has seen enough
        pass
    except (OSError, ValueError) as error:
        say(f"jaxcardio: error: standard output: {error}\n")
        status = status or 1
    with contextlib.suppress(OSError, ValueError):  # full or closed: nobody is to hear of it, the work is done
        sys.stderr.flush()
    os._exit(status)


def _open_streams() -> None:
    """Opens what a daemon has closed of stdin, stdout, stderr: a file of ours must not become one of them."""
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(number, mode, closefd=False))  # noqa: SIM115


if __name__ == "__main__":
    program()
