"""Learned gating of the cardiac sodium channel: train it, and measure it in the cell beside the converged solution.

GATING is a network that ships (rates, flow_map, published, markov_flow), a file of `train`, or `exact`: the model's own
gating, with which all errors are those of the step. A `markov_flow` is measured beside the Markov channel it learned.

Examples:
  jaxcardio sodium train rates --out mine.h5 --seed 1
  jaxcardio sodium evaluate rates --dt 0.1
  jaxcardio sodium evaluate exact --dt 0.1 --solver rush-larsen --experiments beats,restitution
  jaxcardio sodium evaluate mine.h5 --beats 10 --out mine.json
"""

from .shared import Parser, add_jobs, ms, whole

NETWORKS = ("rates", "flow_map", "published", "markov_flow")
"""What can be trained, and what ships."""
EXACT = "exact"
SOLVERS = ("rush-larsen", "rush-larsen-2", "rush-larsen-midpoint")
EXPERIMENTS = ("beats", "restitution", "clamps", "ap_clamp", "cable")


def add_arguments(parser: Parser) -> None:
    add_jobs(parser, train=_train, evaluate=_evaluate)


def _train(parser: Parser) -> None:
    """Train a network anew: a minute or two; the same seed gives the same network (on one machine, bit by bit)."""
    parser.add_argument(
        "network", choices=NETWORKS, help="rates, flow_map, published (the study's own), or markov_flow"
    )
    parser.add_argument("--seed", type=whole, default=0, help="of weights and data (default 0)")
    parser.add_argument("--out", metavar="FILE.h5", help="where to write (default: sodium_NETWORK.h5)")


def _evaluate(parser: Parser) -> None:
    """Print the table of the bars: RMSE, biomarkers, restitution, clamps and velocity, beside the converged cell."""
    parser.add_argument("gating", nargs="?", default="rates", metavar="GATING", help="see above (default rates)")
    parser.add_argument("--dt", type=ms, default=0.1, metavar="MS", help="step that is evaluated, ms (default 0.1)")
    parser.add_argument(
        "--solver",
        choices=SOLVERS,
        default="rush-larsen-midpoint",
        help="default rush-larsen-midpoint",
    )
    parser.add_argument(
        "--experiments", metavar="NAME,NAME,...", help=f"of {', '.join(EXPERIMENTS)} (default: all of them)"
    )
    parser.add_argument("--beats", type=whole, default=100, help="of which the last is measured (default 100)")
    parser.add_argument("--float32", action="store_true", help="evaluate in single precision (default: double)")
    parser.add_argument("--out", metavar="FILE", help="also write the table (.json) or its figure (.png, .svg, .pdf)")
