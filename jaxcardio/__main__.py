"""The command line: `jaxcardio VERB ...`, or `python -m jaxcardio VERB ...`. One verb a job; `--help` after each."""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version

import jax

from .cli import VERBS


def parser() -> argparse.ArgumentParser:
    """The whole command line, verbs included."""
    top = argparse.ArgumentParser("jaxcardio", description="Cardiac cell models in JAX.")
    top.add_argument("--version", action="version", version=f"jaxcardio {version('jaxcardio')}")
    verbs = top.add_subparsers(title="verbs", dest="verb", required=True, metavar="VERB")
    for name, verb in VERBS.items():
        summary = (verb.__doc__ or "").strip().splitlines()[0]
        raw = argparse.RawDescriptionHelpFormatter
        own = verbs.add_parser(name, help=summary, description=verb.__doc__, formatter_class=raw)
        verb.add_arguments(own)
        own.set_defaults(run=verb.run)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one verb. Exit status: 0 done, 1 the run or a check did not end well, 2 wrong input, 130 interrupted."""
    jax.config.update("jax_enable_x64", True)
    try:
        given = parser().parse_args(arguments)
        return given.run(given)
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


if __name__ == "__main__":
    sys.exit(main())
