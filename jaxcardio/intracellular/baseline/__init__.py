"""What a network for intracellular action potentials is compared with: windows by simple maps, durations by features.

- `windows`: the mean iAP, the eAP itself, and a ridge on principal components; numpy alone.
- `table`, `recipes`: features of beats to APD10 to APD100, groups left out whole; the recipe is chosen within training.
- `durations`: the same on pairs of windows.
- `trees`: boosted trees as published, and SHAP values (`pip install jaxcardio[baseline]`).
"""

from .durations import DurationErrors as DurationErrors
from .durations import DurationModel as DurationModel
from .durations import feature_baseline as feature_baseline
from .durations import fit_durations as fit_durations
from .durations import table_of as table_of
from .recipes import CORE_RECIPES as CORE_RECIPES
from .recipes import RECIPES as RECIPES
from .recipes import ChosenModel as ChosenModel
from .recipes import GroupErrors as GroupErrors
from .recipes import Recipe as Recipe
from .recipes import RecipeModel as RecipeModel
from .recipes import fit_chosen as fit_chosen
from .recipes import fit_recipe as fit_recipe
from .recipes import leave_one_group_out as leave_one_group_out
from .recipes import mean_durations as mean_durations
from .table import FEATURES as FEATURES
from .table import BeatTable as BeatTable
from .table import read_beats as read_beats
from .trees import Explanation as Explanation
from .trees import PublishedTrees as PublishedTrees
from .trees import explain as explain
from .windows import ComponentRidge as ComponentRidge
from .windows import component_ridge as component_ridge
from .windows import eap_as_prediction as eap_as_prediction
from .windows import mean_predictor as mean_predictor
