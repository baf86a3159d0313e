"""Labelled images for a search: read from anywhere, split by seed, decoded once into a cache."""

from search.data.dataset import Dataset, Split, load

__all__ = ["Dataset", "Split", "load"]
