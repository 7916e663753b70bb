"""Datasets of simulated cells on disk: make, resume, verify, info.

A dataset is a folder: a manifest that says how its cells are made, and shards (HDF5) of equal numbers of cells. Cells
are sampled around the model's baseline, screened on a run of their own (which of them beat and come back to rest), and
those that are viable are recorded under a protocol. An interrupted or killed run goes on where it was.

Examples:
  jaxcardio dataset make data --cells 1000
  jaxcardio dataset make data --cells 10000 --sobol 0.4 --temperature 298 --range apd90=100:800
  jaxcardio dataset make data --steps "-80:500,0:250,-40:500" --save-every 0.5 --outputs I_ion_total,I_CaL
  jaxcardio dataset resume data
"""

import argparse

from .shared import (
    Parser,
    add_jobs,
    chunk_argument,
    ms,
    population_arguments,
    rules_arguments,
    stimulus_arguments,
    whole,
)


def add_arguments(parser: Parser) -> None:
    add_jobs(parser, make=_make, resume=_resume, verify=_verify, info=_info)


def _resume(parser: Parser) -> None:
    """Go on with a dataset that was interrupted; its manifest says how."""
    _folder_argument(parser)
    chunk_argument(parser)


def _verify(parser: Parser) -> None:
    """Read every byte of every shard; exit status 1 and a line for each bad file."""
    _folder_argument(parser)


def _info(parser: Parser) -> None:
    """What there is of a dataset, and how it was made."""
    _folder_argument(parser)


def _folder_argument(parser: Parser) -> None:
    parser.add_argument("folder", metavar="FOLDER")


def _make(parser: Parser) -> None:
    """Make a dataset, or what is missing of it.

    Every parameter varies by an independent uniform factor in 1 +- 0.2 unless another design is named. The same
    command on an unfinished dataset goes on with it; another recipe on it is refused.
    """
    parser.add_argument("folder", metavar="FOLDER", help="new, or holding this dataset unfinished")
    population_arguments(parser)
    stimulus_arguments(
        parser, "a clamp in the published style: 7 s of 250 ms steps from -120 to 50 mV, first -100 mV, -120 mV at 6 s"
    )
    record = parser.add_argument_group("recording")
    record.add_argument("--t1", type=ms, metavar="MS", help="length, ms (default: all of the steps; stimuli 5000)")
    record.add_argument("--save-every", type=ms, default=1.0, metavar="MS", help="sampling interval, ms (default 1)")
    record.add_argument(
        "--outputs", default="I_ion_total", metavar="NAMES", help="states and currents to keep (default I_ion_total)"
    )
    record.add_argument("--dt", type=ms, metavar="MS", help="longest step, ms (default: chosen by the protocol)")
    screening = rules_arguments(parser)
    screening.add_argument(
        "--screen", action=argparse.BooleanOptionalAction, default=True, help="keep viable cells only (default)"
    )
    screening.add_argument("--screen-t1", type=ms, default=10_000.0, metavar="MS", help="its length, ms (10000)")
    screening.add_argument("--screen-discard", type=ms, default=5_000.0, metavar="MS", help="not looked at, ms (5000)")
    files = parser.add_argument_group("files and memory")
    files.add_argument(
        "--shard", type=whole, default=1024, metavar="N",
        help="cells in a file, the most that an interruption costs (1024)",
    )  # fmt: skip
    chunk_argument(files)
