"""Search spaces: the choices, and the network that each combination of them means."""
