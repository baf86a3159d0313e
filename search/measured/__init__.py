"""Networks that somebody has measured: read from a CSV, learnt from, searched."""
