"""One set of weights for all networks of a search space."""
