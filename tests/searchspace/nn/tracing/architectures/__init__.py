"""Public architectures as users write them, with the widths of their papers where nothing else is said."""
