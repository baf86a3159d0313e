"""Labelled images for a search: read from anywhere, split by a seed, decoded once into a cache."""

from search.data.dataset import Dataset, Split, load
from search.data.native import native_resolution
from search.data.readers.embedded import is_digits

__all__ = ["Dataset", "Split", "is_digits", "load", "native_resolution"]
