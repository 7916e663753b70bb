"""The sodium channel learned: the published network, surrogates that work, their rivals and their evaluation."""
