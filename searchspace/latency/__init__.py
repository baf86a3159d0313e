"""What a table of measured kernels says of a network's latency. No torch here: `search.latency` measures."""
