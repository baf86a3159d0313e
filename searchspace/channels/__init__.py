"""Which channel counts of a network move together, and steps that make a network smaller."""
