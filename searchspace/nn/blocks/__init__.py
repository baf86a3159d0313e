"""The torch side of every kind of block: one file each, named as its file in `searchspace.blocks`."""

from searchspace.nn.blocks import (
    classifier,
    conv,
    fire,
    fused,
    ghost,
    hgnet,
    maxpool,
    mbconv,
    mixconv,
    rep_conv,
    residual,
    shuffle,
    shuffle_v2,
    universal,
)
from searchspace.nn.blocks.protocol import (
    MODULES,
    HeadModule,
    MakeConv,
    initialise,
    make_block,
    module_of,
    residual_norms,
)
