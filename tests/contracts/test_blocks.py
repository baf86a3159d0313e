"""What holds for every kind of block: those of searchspace.blocks, and a toy that registers from outside."""

import random
from dataclasses import fields, replace
from functools import partial

import pytest
import torch

from search.budget import CostModel
from search.candidates import PricedSpace
from search.latency.kernels import placed_blocks, signatures
from search.netadapt.proposals import propose
from search.samplers.network_sampler import NetworkSampler, distributions
from searchspace.blocks import BLOCKS, Block, ConvBN, HeadRow, MixConv, UniversalIB, block_from_dict
from searchspace.blocks.protocol import ROWS
from searchspace.channels.coupling import coupling
from searchspace.channels.groups import ChannelGroup
from searchspace.channels.steps import remove_block, replace_blocks, smaller_kernels, without_se
from searchspace.cost import costs
from searchspace.describe import stage_rows, stage_table
from searchspace.errors import InvalidSpec
from searchspace.graph import Layer, lower
from searchspace.layers import NETWORK_INPUT, GraphBuilder
from searchspace.nn import build, module_macs
from searchspace.nn.blocks import MODULES, make_block, residual_norms
from searchspace.nn.execute import folded_weights, forward
from searchspace.nn.weights.prune import prune_network
from searchspace.spaces.encode import encode
from searchspace.spaces.space import SearchSpace
from searchspace.spaces.stage import StageChoices
from searchspace.spec import NetworkSpec
from searchspace.template import StageTemplate, Template
from searchspace.to_template import to_template
from tests.block_examples import accepted, all_choices, example, network_of
from tests.channel_checks import check_cover, check_cut, check_narrow, check_zero, filled, images, run
from tests.contracts.toy_block import ToyBlock, ToyRow

pytestmark = pytest.mark.usefixtures("one_thread")

KINDS = sorted(BLOCKS.values(), key=lambda kind: kind.__name__)
SEARCHED = [kind for kind in KINDS if ROWS[kind].choices is not None]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def examples(kind: type[Block], *, in_channels: int = 6, count: int = 12) -> list[Block]:
    """Random rows of a kind, the same ones each time."""
    rng = random.Random(f"{kind.__name__}{in_channels}")
    return [example(kind, in_channels, rng) for _ in range(count)]


def networks(kind: type[Block], *, count: int = 6) -> list[NetworkSpec]:
    """Random rows of a kind behind a convolution of 6 channels, the same ones each time."""
    return [network_of(ConvBN(out_channels=6), block) for block in examples(kind, count=count)]


def layers_of(block: Block, in_channels: int, size: int) -> list[Layer]:
    """The layers of a block behind a map of `in_channels` channels and `size` pixels."""
    graph = GraphBuilder((in_channels, size, size))
    block.lower(graph, "block.0")
    return graph.layers


@each_kind
def test_a_row_survives_json_and_its_fields_come_in_order(kind: type[Block]) -> None:
    for block, spec in zip(examples(kind), networks(kind, count=12), strict=True):
        data = block.to_dict()
        assert list(data) == ["block", *(field.name for field in fields(block))]
        assert block_from_dict(data, "here") == block
        assert NetworkSpec.from_json(spec.to_json()) == spec


@each_kind
def test_the_fingerprint_tells_every_field_apart_that_means_something(kind: type[Block]) -> None:
    tried = set()
    for spec in networks(kind, count=60):
        block = spec.blocks[1]
        idle = {name for size, names in block.unused.items() if not getattr(block, size) for name in names}
        for field, values in accepted(kind).items():
            for value in (*values, 3):
                try:
                    other = network_of(ConvBN(out_channels=6), replace(block, **{field: value}))
                except InvalidSpec:
                    continue
                same = value == getattr(block, field) or field in idle
                assert (other.fingerprint() == spec.fingerprint()) == same, (block, field, value)
                tried |= set() if same else {field}
    assert tried == {field.name for field in fields(kind)}


@each_kind
def test_the_row_the_layers_and_the_module_agree_on_channels_and_size(kind: type[Block]) -> None:
    for in_channels, size in ((6, 12), (5, 9)):
        for block in examples(kind, in_channels=in_channels):
            layers = layers_of(block, in_channels, size)
            channels = block.channels_after(in_channels)
            expected = (channels, 1, 1) if block.is_head else (channels, *[block.size_after(size)] * 2)
            assert layers[-1].out_shape == expected
            out = make_block(in_channels, block)(torch.zeros(2, in_channels, size, size))
            assert (*out.shape[1:], 1, 1)[:3] == expected


@each_kind
def test_the_layers_and_the_module_agree_on_names_parameters_and_macs(kind: type[Block]) -> None:
    for spec in networks(kind):
        graph, network = lower(spec), build(spec).eval()
        total = costs(graph)
        for layer in total.layers:
            assert sum(p.numel() for p in network.get_submodule(layer.name).parameters()) == layer.params
        assert sum(p.numel() for p in network.parameters()) == total.params
        counted = module_macs(network, in_channels=spec.in_channels, resolution=spec.resolution)
        assert (counted.macs, counted.unsupported) == (total.macs, {})


@each_kind
def test_the_layers_compute_what_the_module_computes(kind: type[Block]) -> None:
    for spec in networks(kind, count=4):
        network = filled(spec, 0, scale=0.3)
        outputs = forward(lower(spec), folded_weights(network), images(spec))
        _, logits = run(network, spec)
        torch.testing.assert_close(outputs[-1].flatten(1), logits, rtol=1e-9, atol=1e-9)


@each_kind
def test_a_network_becomes_a_template_and_the_same_network_again(kind: type[Block]) -> None:
    for spec in networks(kind, count=12):
        template = to_template(spec)
        assert template.expand() == spec
        assert to_template(template.expand()) == template


@each_kind
@pytest.mark.parametrize(("width", "depth"), [(0.5, 0.5), (1.7, 2.0), (3.0, 1.0)])
def test_a_scaled_network_is_valid_and_keeps_stride_classes_and_stages(
    kind: type[Block], width: float, depth: float
) -> None:
    for small in examples(kind, in_channels=2):
        wide = {f.name: 24 * getattr(small, f.name) for f in fields(small) if f.name.endswith("_channels")}
        spec = network_of(ConvBN(out_channels=48), replace(small, **wide))
        grown = to_template(spec).expand(width=width, depth=depth)
        assert (grown.total_stride, grown.classes) == (spec.total_stride, spec.classes)
        assert [stage.name for stage in grown.stages] == [stage.name for stage in spec.stages]
        before, after = costs(lower(spec)).params, costs(lower(grown)).params
        assert after > before if width > 1 else after < before


@each_kind
def test_every_free_channel_group_can_be_narrowed_and_zero_channels_cut(kind: type[Block]) -> None:
    for number, spec in enumerate(networks(kind, count=4)):
        check_cover(spec)
        check_zero(spec, number)
        check_cut(spec, number)
        for group in coupling(spec):
            if not group.fixed:
                check_narrow(spec, group, random.Random(number))


@each_kind
def test_steps_give_valid_cheaper_networks_that_take_over_their_weights(kind: type[Block]) -> None:
    for spec in networks(kind, count=8):
        lighter = [(blocks, replace_blocks(spec, blocks)) for blocks in (without_se(spec), smaller_kernels(spec))]
        steps = [step for blocks, step in lighter if blocks] + [make() for _, make in remove_block(spec)]
        for step in steps:
            assert costs(step.graph).params < costs(lower(spec)).params
            smaller = prune_network(filled(spec, 0), step)
            assert smaller.spec == step.spec
            assert torch.isfinite(smaller.double()(images(step.spec))).all()


@each_kind
def test_the_printed_row_fits_its_table(kind: type[Block]) -> None:
    for spec in networks(kind):
        rows = stage_rows(spec)
        assert max(len(row.kind) for row in rows) <= 10
        assert sum(row.layers for row in rows) == len(spec.blocks)
        assert max(map(len, stage_table(spec).splitlines())) <= 100


@each_kind
def test_a_residual_block_begins_without_its_branch(kind: type[Block]) -> None:
    """With the last batch norm of its branch at zero, its weights do not count; a projected shortcut's do."""
    for block in examples(kind):
        x = torch.randn(2, 6, 8, 8, generator=torch.Generator().manual_seed(0))
        outs = []
        for seed in (0, 1):
            module = build(network_of(block, in_channels=6), generator=torch.Generator().manual_seed(seed))[0][0]
            ends = list(residual_norms(module))
            for norm in ends:
                norm.weight.data.zero_()
            outs.append(module.eval()(x.clone()))
        assert not ends or torch.equal(*outs)
        sums = [layer for layer in layers_of(block, 6, 8) if layer.op == "add"]
        assert bool(ends) == any(NETWORK_INPUT in layer.inputs for layer in sums)


@each_kind
def test_onnx_computes_what_the_module_computes(kind: type[Block]) -> None:
    pytest.importorskip("onnxruntime")
    from searchspace.nn.onnx_model import logits_difference, to_onnx

    for spec in networks(kind, count=3):
        network = build(spec, generator=torch.Generator().manual_seed(0)).eval()
        assert logits_difference(network, to_onnx(network).SerializeToString()) < 1e-4


@each_kind
def test_a_kind_is_registered_with_a_row_and_a_module_and_no_other_kind_has_its_name(kind: type[Block]) -> None:
    assert kind in ROWS
    assert kind in MODULES
    assert issubclass(ROWS[kind], HeadRow) == kind.is_head == ROWS[kind].is_head
    from searchspace.blocks import register

    twin = type(kind.__name__, (Block,), {})
    with pytest.raises(InvalidSpec, match=f"a name of its own, '{kind.__name__}' is taken"):
        register(row=ROWS[kind])(twin)


# Kinds that a search space can have


def space_of(kind: type[Block]) -> SearchSpace:
    """Two stages of the kind, a few values of each choice."""
    stage = partial(
        StageChoices,
        block=kind.__name__,
        base_width=16,
        expand_ratio=(2, 3),
        kernel=(3, 5),
        activation=("relu", "h_swish"),
        layers=(1, 2),
        width_mult=(0.5, 1.0),
        others={
            ToyBlock: {"mid_ratio": (0.5, 1.5)},
            MixConv: {"kernels": (1, 3)},
            UniversalIB: {"start_kernel": (0, 3), "middle_kernel": (3, 5)},
        }.get(kind, {}),
    )
    stages = (stage(name="first", stride=2), stage(name="second", stride=2, layers=(2, 3)))
    return SearchSpace(name="small", stages=stages, stem_width=8, head_width=16, classes=3, resolution=16)


each_searched = pytest.mark.parametrize("kind", SEARCHED, ids=lambda kind: kind.__name__)


@each_searched
def test_a_point_of_a_space_is_encoded_as_itself(kind: type[Block]) -> None:
    space, rng = space_of(kind), random.Random(0)
    for choices in [space.sample(rng) for _ in range(20)] + [space.corner("smallest"), space.corner("largest")]:
        spec = space.spec(choices)
        assert space.spec(encode(space, spec)) == spec
        assert all(ROWS[kind].may_give(block) for stage in spec.stages[1:-2] for block in stage.blocks)
    assert len(list(space.neighbours(choices))) == sum(len(values) - 1 for values in space.parameters().values())


@each_searched
def test_the_kernels_of_a_space_are_known_before_it_is_searched(kind: type[Block]) -> None:
    space = space_of(kind)
    known = signatures(placed_blocks(space))
    rng = random.Random(1)
    for _ in range(20):
        assert {layer.signature for layer in lower(space.spec(space.sample(rng))).layers} <= known


# The toy alone, through everything that a user does with a network


@pytest.fixture
def toy_space() -> SearchSpace:
    return space_of(ToyBlock)


def test_a_space_of_toys_is_told_from_others_in_a_studys_settings(toy_space: SearchSpace) -> None:
    stage = toy_space.to_dict()["stages"][0]
    assert (stage["block"], stage["mid_ratio"]) == ("ToyBlock", [0.5, 1.5])
    narrower = toy_space.with_choices({"*.mid_ratio": (0.5,)})
    assert narrower.parameters()["first.mid_ratio"] == (0.5,)
    assert toy_space.size() == 4 * narrower.size() == len({tuple(c.items()) for c in all_choices(toy_space)})


def test_toys_are_searched_within_a_budget(toy_space: SearchSpace) -> None:
    import optuna

    priced = PricedSpace(toy_space, CostModel("macs"))
    limit = 2.0 * priced.fastest().latency_ms
    sampler = NetworkSampler(priced, limit_ms=limit, seed=0, kind="random", known=set(), starting_points=[])
    study = optuna.create_study(sampler=sampler)
    for _ in range(5):
        trial = study.ask(fixed_distributions=distributions(toy_space))
        candidate = priced.price(toy_space.canonical(trial.params))
        assert candidate.latency_ms <= limit
        study.tell(trial, 0.5)
        sampler.known.add(candidate.fingerprint)


def equal_scores(group: ChannelGroup) -> list[float]:
    return [1.0] * len(group.cells)


def test_toys_are_pruned_and_grown(toy_space: SearchSpace) -> None:
    spec = toy_space.spec(toy_space.corner("largest"))
    model = CostModel("macs")
    cost = model.cost(lower(spec))
    proposals = propose(spec, model, target=0.97 * cost, floor=0.0, moves=("channels", "kernel", "block"))
    assert {proposal.move for proposal in proposals} == {"channels", "kernel", "block"}
    for proposal in proposals:
        pruned = proposal.make(equal_scores).spec
        assert model.cost(lower(pruned)) == pytest.approx(proposal.cost)
        grown = to_template(pruned).expand(width=1.5, depth=2.0)
        assert costs(lower(grown)).params > costs(lower(pruned)).params
    table = Template("toys", (StageTemplate("all", (ToyRow(width=8, repeats=2), *to_template(spec).stages[-1].rows)),))
    assert to_template(table.expand(width=2.0)).expand() == table.expand(width=2.0)
