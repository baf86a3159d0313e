"""The only torch in searchspace: specs become modules."""

from searchspace.nn.build import Network, build
from searchspace.nn.fold import fold_batch_norm

__all__ = ["Network", "build", "fold_batch_norm"]
