"""Which current of a cell changed: a gating network learns a model, and is retrained on V and Ca_i.

OBSERVATIONS.h5 has a group for each condition, and in it a group for each cycle length with datasets `V` (attribute
unit: mV or V) and `Ca_i` (unit: mM, uM or nM) and the attributes cycle_length_ms, sampling_interval_ms (at most 2) and
stimulus_onset_ms (of each cycle): whole cycles of steady pacing, at least two.

Examples:
  jaxcardio hidden-state train --out gates.net
  jaxcardio hidden-state example observations.h5 --scenario long-qt
  jaxcardio hidden-state explain observations.h5 --network gates.net
  jaxcardio hidden-state retrain observations.h5 --group control --network gates.net
"""

from .shared import Parser, add_jobs, model_name, mV, output_arguments, whole

SCENARIOS = {"long-qt": {"g_Kr": 0.5}, "short-qt": {"g_CaL": 0.5}, "ito": {"g_to": 3.0}}
"""The three of the study, for ten Tusscher 2004: what each conductance is multiplied by."""


def add_arguments(parser: Parser) -> None:
    add_jobs(parser, train=_train, example=_example, retrain=_retrain, explain=_explain)


def _model_argument(parser: Parser) -> None:
    parser.add_argument(
        "--model", type=model_name, default="TenTusscher2004", help="what is learned (default TenTusscher2004)"
    )


def _train(parser: Parser) -> None:
    """Learn the gates of a model: a minute or less."""
    _model_argument(parser)
    parser.add_argument("--steps", type=whole, default=12_000, help="of training (default 12000)")
    parser.add_argument("--seed", type=whole, default=0, help="of the initial weights (default 0)")
    output_arguments(parser, "gates.net", figure=False)


def _example(parser: Parser) -> None:
    """Write simulated observations, control and treatment, to begin with."""
    _model_argument(parser)
    parser.add_argument("file", metavar="OBSERVATIONS.h5")
    parser.add_argument("--scenario", choices=SCENARIOS, default="long-qt", help="of the study (default long-qt)")
    parser.add_argument("--scale", nargs="+", metavar="NAME=RATIO", help="instead: conductances and their ratios")
    parser.add_argument("--noise", type=mV, default=0.0, metavar="MV", help="of V; of Ca_i 1e-6 mM a mV (default 0)")
    parser.add_argument("--interval", type=whole, choices=(1, 2), default=1, help="ms between samples (default 1)")


def _observed_arguments(parser: Parser) -> None:
    _model_argument(parser)
    parser.add_argument("observations", metavar="OBSERVATIONS.h5")
    parser.add_argument("--network", metavar="FILE", help="of `train` (default: the model's own gates)")


def _retrain(parser: Parser) -> None:
    """Fit how large each current is in one condition, relative to the model."""
    _observed_arguments(parser)
    parser.add_argument("--group", default="treatment", help="the condition (default treatment)")
    output_arguments(parser, "retrained.json", figure=False)


def _explain(parser: Parser) -> None:
    """Tell which currents the treatment changed, by how much, and what else it could have been."""
    _observed_arguments(parser)
    parser.add_argument("--control", default="control", metavar="GROUP", help="default control")
    parser.add_argument("--treatment", default="treatment", metavar="GROUP", help="default treatment")
    output_arguments(parser, "explanation.json")
