"""A user's own torch module as a network that has costs and channel groups: `searchspace.nn.trace` does it."""
