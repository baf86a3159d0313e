"""Labelled images for a search: read from anywhere, split by a seed, decoded once into a cache.

    from search.data import inspect, load
    found = inspect("photos/")   # what a person should know before a search
    images = load("photos/", resolution=64)

The names are imported when they are used: this package alone imports no numpy.
"""

from typing import TYPE_CHECKING

from searchspace.lazy import lazy_names

if TYPE_CHECKING:
    from search.data.dataset import Dataset, Split, load
    from search.data.inspection import Inspection, inspect
    from search.data.native import native_resolution
    from search.data.readers.embedded import is_digits

__all__ = ["Dataset", "Inspection", "Split", "inspect", "is_digits", "load", "native_resolution"]
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "Dataset": "search.data.dataset",
        "Inspection": "search.data.inspection",
        "Split": "search.data.dataset",
        "inspect": "search.data.inspection",
        "is_digits": "search.data.readers.embedded",
        "load": "search.data.dataset",
        "native_resolution": "search.data.native",
    },
)
