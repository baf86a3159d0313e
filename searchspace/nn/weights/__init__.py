"""Weights: published ones in and out, files, and those of one network for another."""
