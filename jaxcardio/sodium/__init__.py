"""The sodium channel learned: the published network, surrogates that work, their rivals and their evaluation."""

from .evaluate import EXPERIMENTS as EXPERIMENTS
from .evaluate import evaluate as evaluate
from .evaluation.table import Evaluation as Evaluation
from .evaluation.table import Row as Row
