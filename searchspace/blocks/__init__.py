"""One file per kind of block: its rows, scaling, layers, coupled channels, cuts and printed row (see protocol.py)."""

from searchspace.blocks.activations import ACTIVATIONS, GATES
from searchspace.blocks.classifier import Classifier, ClassifierRow, ConvClassifier, ConvClassifierRow
from searchspace.blocks.conv import Conv, ConvBN, ConvRow
from searchspace.blocks.fire import Fire, FireRow
from searchspace.blocks.fused import FusedConv, FusedMBConv, FusedMBConvRow
from searchspace.blocks.ghost import GhostBottleneck, GhostRow
from searchspace.blocks.hgnet import AffineClassifier, AffineClassifierRow, HGBlock, HGBlockRow, HGStem, HGStemRow
from searchspace.blocks.maxpool import MaxPool, MaxPoolRow
from searchspace.blocks.mbconv import MBConv, MBConvRow, SeparableConv
from searchspace.blocks.mixconv import MixConv, MixConvRow
from searchspace.blocks.protocol import (
    BLOCKS,
    Block,
    CoupledChannels,
    Head,
    HeadRow,
    Row,
    block_from_dict,
    register,
)
from searchspace.blocks.rep_conv import RepConv, RepConvRow
from searchspace.blocks.residual import BasicBlock, BasicBlockRow, Bottleneck, BottleneckRow
from searchspace.blocks.rules import PADDINGS
from searchspace.blocks.shuffle import ShuffleRow, ShuffleUnit
from searchspace.blocks.shuffle_v2 import ShuffleUnitV2, ShuffleV2Row
from searchspace.blocks.universal import UniversalIB, UniversalRow
