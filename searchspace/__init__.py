"""What a network is and what it costs. No torch here: `searchspace.nn` builds modules."""

from searchspace.blocks import Classifier, ConvBN, MBConv, SeparableConv
from searchspace.cost import Costs, LayerCost, costs, macs, params
from searchspace.graph import Graph, Layer, lower
from searchspace.spec import NetworkSpec, Stage
from searchspace.template import ClassifierRow, ConvRow, MBConvRow, StageTemplate, Template

__all__ = [
    "Classifier", "ClassifierRow", "ConvBN", "ConvRow", "Costs", "Graph", "Layer", "LayerCost", "MBConv",
    "MBConvRow", "NetworkSpec", "SeparableConv", "Stage", "StageTemplate", "Template", "costs", "lower", "macs",
    "params",
]  # fmt: skip
