"""What a network is and what it costs. No torch here: `searchspace.nn` builds modules."""

from searchspace.blocks import (
    Classifier,
    ClassifierRow,
    Conv,
    ConvBN,
    ConvClassifier,
    ConvClassifierRow,
    ConvRow,
    Fire,
    FireRow,
    FusedConv,
    FusedMBConv,
    FusedMBConvRow,
    MaxPool,
    MaxPoolRow,
    MBConv,
    MBConvRow,
    SeparableConv,
    ShuffleRow,
    ShuffleUnit,
    ShuffleUnitV2,
    ShuffleV2Row,
    UniversalIB,
    UniversalRow,
)
from searchspace.cost import Costs, LayerCost, costs, macs, params
from searchspace.graph import Graph, Layer, lower
from searchspace.spec import Conventions, NetworkSpec, Stage
from searchspace.template import StageTemplate, Template
