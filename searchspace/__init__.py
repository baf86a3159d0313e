"""What a network is and what it costs. No torch here: `searchspace.nn` builds modules."""

from searchspace.blocks import (
    Classifier,
    Conv,
    ConvBN,
    ConvClassifier,
    Fire,
    MaxPool,
    MBConv,
    SeparableConv,
    ShuffleUnit,
    ShuffleUnitV2,
)
from searchspace.cost import Costs, LayerCost, costs, macs, params
from searchspace.graph import Graph, Layer, lower
from searchspace.spec import Conventions, NetworkSpec, Stage
from searchspace.template import (
    ClassifierRow,
    ConvClassifierRow,
    ConvRow,
    FireRow,
    MaxPoolRow,
    MBConvRow,
    ShuffleRow,
    ShuffleV2Row,
    StageTemplate,
    Template,
)

__all__ = [
    "Classifier",
    "ClassifierRow",
    "Conv",
    "ConvBN",
    "ConvClassifier",
    "ConvClassifierRow",
    "ConvRow",
    "Conventions",
    "Costs",
    "Fire",
    "FireRow",
    "Graph",
    "Layer",
    "LayerCost",
    "MBConv",
    "MBConvRow",
    "MaxPool",
    "MaxPoolRow",
    "NetworkSpec",
    "SeparableConv",
    "ShuffleRow",
    "ShuffleUnit",
    "ShuffleUnitV2",
    "ShuffleV2Row",
    "Stage",
    "StageTemplate",
    "Template",
    "costs",
    "lower",
    "macs",
    "params",
]
