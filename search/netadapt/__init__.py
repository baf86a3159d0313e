"""NetAdapt (arXiv:1804.03230): bring a trained network down to a budget, by what the device takes for it."""
