"""The only torch in searchspace: specs become modules, and published weights become theirs."""

from searchspace.nn.build import Network, build, untrained
from searchspace.nn.fold import fold_batch_norm
from searchspace.nn.module_macs import ModuleMacs, module_macs
from searchspace.nn.tracing.calls import count_inputs
from searchspace.nn.tracing.trace import TracedNetwork, trace, trace_shapes
from searchspace.nn.weights.belonging import check_belongs, load_network
from searchspace.nn.weights.files import network_bytes, read_about, read_weights, weights_bytes
from searchspace.nn.weights.published import (
    load_published,
    load_weights,
    published_conventions,
    to_published,
    weights_classes,
)
