"""The loss is the papers' formulas, falls towards the targets, and is finite whatever the network gives."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from scaling.efficientdet.anchors import anchor_boxes, encode
from scaling.efficientdet.loss import DetectionLoss, focal_loss, iou_loss
from scaling.efficientdet.matching import IGNORED, Objects, assign
from scaling.efficientdet.neck import LEVELS
from scaling.efficientdet.presets import get
from scaling.efficientdet.spec import Anchors
from searchspace.errors import InvalidArgument

pytestmark = pytest.mark.usefixtures("one_thread")
SPEC = replace(get("d0", classes=3).with_resolution(128), anchors=Anchors(octaves=1))
KINDS = ("huber", "giou", "diou")
Outputs = tuple[list[Tensor], list[Tensor]]


def objects(*rows: tuple[float, ...], ignored: tuple[bool, ...] = ()) -> Objects:
    """Rows of y1, x1, y2, x2, label."""
    table = torch.tensor(rows).reshape(-1, 5)
    flags = torch.tensor(ignored) if ignored else None
    return Objects.of(table[:, :4], table[:, 4].long(), flags)


SCENE = [objects((10, 10, 60, 50, 0), (70, 60, 120, 125, 2)), objects()]


def unflatten(flat: Tensor) -> list[Tensor]:
    """(batch, N, last) -> levels (batch, anchors * last, height, width)."""
    levels, start = [], 0
    for level in LEVELS:
        side = 128 // 2**level
        own = flat[:, start : start + side * side * 3]
        levels.append(own.reshape(len(flat), side, side, -1).permute(0, 3, 1, 2))
        start += side * side * 3
    return levels


def outputs(scenes: list[Objects], *, sureness: float, error: float = 0.0, noise: float = 0.0) -> Outputs:
    """What a network gives that is so sure of the true classes, and so wrong about the boxes."""
    anchors = anchor_boxes(SPEC)
    logits = torch.full((len(scenes), len(anchors), SPEC.classes), -sureness)
    deltas = torch.zeros(len(scenes), len(anchors), 4)
    for image, scene in enumerate(scenes):
        matches = assign(scene, anchors)
        (own,) = (matches >= 0).nonzero(as_tuple=True)
        logits[image, own, scene.labels[matches[own]]] = sureness
        deltas[image, own] = encode(scene.boxes[matches[own]], anchors[own]) + error
    if noise:
        generator = torch.Generator().manual_seed(0)
        logits = logits + noise * torch.randn(logits.shape, generator=generator)
    return unflatten(logits), unflatten(deltas)


def plain_focal(logits: Tensor, targets: Tensor, alpha: float, gamma: float, smoothing: float) -> Tensor:
    """As the formula stands, in float64, with one target for each logit."""
    x = logits.double()
    hot = torch.nn.functional.one_hot(targets.clamp(min=0), x.shape[-1]) * (targets >= 0)[..., None]
    right = torch.where(hot == 1, x.sigmoid(), 1 - x.sigmoid())
    soft = hot * (1 - smoothing) + smoothing / 2
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(x, soft, reduction="none")
    weight = torch.where(hot == 1, alpha, 1 - alpha) * (targets != IGNORED)[..., None]
    return (weight * (1 - right) ** gamma * entropy).sum()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("gamma", [0.1, 1.5])
@given(seed=st.integers(0, 2**32 - 1), classes=st.sampled_from((1, 5)))
@settings(max_examples=3)
def test_focal_loss_and_its_gradient_are_the_formula(seed: int, gamma: float, smoothing: float, classes: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = (5 * torch.randn(2, 30, classes, generator=generator)).requires_grad_()
    targets = torch.randint(IGNORED, classes, (2, 30), generator=generator)
    values = [loss(logits, targets, 0.25, gamma, smoothing) for loss in (focal_loss, plain_focal)]
    gradients = [torch.autograd.grad(3 * each, logits)[0] for each in values]
    torch.testing.assert_close(values[0], values[1].float(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(gradients[0], gradients[1].float(), rtol=1e-4, atol=1e-5)


def test_more_logits_than_are_taken_at_a_time_give_the_same_loss() -> None:
    logits = torch.randn(1, 2**15, 5, generator=torch.Generator().manual_seed(0))
    targets = torch.randint(IGNORED, 5, (1, 2**15), generator=torch.Generator().manual_seed(0))
    expected = plain_focal(logits, targets, 0.25, 1.5, 0.0)
    torch.testing.assert_close(focal_loss(logits, targets, 0.25, 1.5), expected.float(), rtol=1e-4, atol=0)


def test_both_parts_are_per_found_anchor_and_the_huber_loss_is_a_mean_of_four() -> None:
    """Outputs off by 0.3 from delta 0.1 on: 0.1 * (0.3 - 0.05) each, times n / (n + 1)."""
    loss = DetectionLoss(SPEC, gamma=2.0, alpha=0.5)
    found = loss(outputs(SCENE, sureness=0.0, error=0.3), SCENE)
    count = int((assign(SCENE[0], loss.anchors) >= 0).sum())
    assert found.boxes.item() == pytest.approx(0.025 * count / (count + 1), rel=1e-4)
    logits = 2 * len(loss.anchors) * SPEC.classes
    assert found.classes.item() == pytest.approx(0.5 * 0.25 * 0.6931472 * logits / (count + 1), rel=1e-4)
    assert found.total.item() == pytest.approx(found.classes.item() + 50 * found.boxes.item(), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_falls_towards_the_targets_and_is_least_there(kind: str) -> None:
    loss = DetectionLoss(SPEC, box_loss=kind)
    steps = [loss(outputs(SCENE, sureness=s, error=e), SCENE) for s, e in ((0, 0.5), (2, 0.2), (5, 0.05), (20, 0))]
    for part in range(3):
        values = [float(each[part]) for each in steps]
        assert values == sorted(values, reverse=True)
        assert values[-1] == pytest.approx(0, abs=1e-4)


def test_iou_losses_are_the_papers() -> None:
    """Boxes of 2 x 2 pixels, 1 apart: a hull of 10, 2 of it in none; middles 3 apart, a diagonal of 29 ** .5."""
    first, second = torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[0.0, 3, 2, 5]])
    assert iou_loss(first, second, "giou").item() == pytest.approx(1 + 2 / 10)
    assert iou_loss(first, second, "diou").item() == pytest.approx(1 + 9 / 29)
    inner = torch.tensor([[0.0, 0, 2, 1]])
    assert iou_loss(first, inner, "giou").item() == pytest.approx(0.5)
    assert iou_loss(first, inner, "diou").item() == pytest.approx(0.5 + 0.25 / 8)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_against_the_gradient_reach_the_targets(kind: str) -> None:
    loss = DetectionLoss(SPEC, box_loss=kind)
    class_outputs, box_outputs = outputs(SCENE, sureness=0.0, error=0.4)
    weights = [each.clone().requires_grad_() for each in (*class_outputs, *box_outputs)]
    losses = []
    for _ in range(30):
        losses.append(loss((weights[:5], weights[5:]), SCENE))
        for each, gradient in zip(weights, torch.autograd.grad(losses[-1].total, weights), strict=True):
            each.data.sub_(gradient.sign(), alpha=0.03 if each.shape[1] == 12 else 0.2)
    assert losses[-1].boxes < 0.5 * losses[0].boxes
    assert losses[-1].classes < 0.25 * losses[0].classes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("scale", [0.0, 1e2, 1e6])
def test_loss_and_gradient_are_finite_for_wild_outputs(kind: str, scale: float) -> None:
    generator = torch.Generator().manual_seed(1)
    scenes = [*SCENE, objects((5, 5, 5, 90, 1), (300, 300, 400, 400, 1), (0, 0, 1e-3, 1e-3, 0))]
    sizes = [128 // 2**level for level in LEVELS]
    wild = [
        (scale * torch.randn(3, 3 * last, side, side, generator=generator)).requires_grad_()
        for last in (SPEC.classes, 4)
        for side in sizes
    ]
    found = DetectionLoss(SPEC, box_loss=kind, label_smoothing=0.1)((wild[:5], wild[5:]), scenes)
    assert torch.isfinite(torch.stack(found)).all()
    found.total.backward()
    assert all(torch.isfinite(each.grad).all() for each in wild if each.grad is not None)
    assert all(each.grad is not None for each in wild)


def test_a_batch_without_boxes_has_a_loss_of_classes_alone() -> None:
    scenes = [objects(), objects((0, 0, 128, 128, 0), ignored=(True,))]
    found = DetectionLoss(SPEC)(outputs(scenes, sureness=1.0), scenes)
    assert found.boxes == 0
    assert 0 < found.classes < float("inf")


def test_what_is_found_on_ignored_objects_costs_nothing() -> None:
    plain = [objects((10, 10, 60, 50, 0))]
    crowded = [objects((10, 10, 60, 50, 0), (0, 0, 128, 128, 1), ignored=(False, True))]
    loss = DetectionLoss(SPEC)
    given_outputs = outputs(plain, sureness=-3.0)
    assert loss(given_outputs, crowded).classes < 0.5 * loss(given_outputs, plain).classes
    assert loss(given_outputs, crowded).boxes == loss(given_outputs, plain).boxes


def test_logits_in_half_precision_have_gradients_of_their_own_kind() -> None:
    class_outputs, box_outputs = (
        [each.bfloat16().requires_grad_() for each in part] for part in outputs(SCENE, sureness=1.0, error=0.2)
    )
    found = DetectionLoss(SPEC)((class_outputs, box_outputs), SCENE)
    assert found.total.dtype == torch.float32
    found.total.backward()
    assert class_outputs[0].grad is not None
    assert class_outputs[0].grad.dtype == torch.bfloat16


@pytest.mark.parametrize("wrong", [{"box_loss": "iou"}, {"alpha": 1.0}, {"gamma": 0.0}, {"label_smoothing": 1.0}])
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InvalidArgument, match="got"):
        DetectionLoss(SPEC, **wrong)  # type: ignore[arg-type]


def test_outputs_and_objects_that_do_not_belong_together_are_refused() -> None:
    given_outputs = outputs(SCENE, sureness=1.0)
    with pytest.raises(InvalidArgument, match="of 2 images, as the outputs, got 1"):
        DetectionLoss(SPEC)(given_outputs, SCENE[:1])
    with pytest.raises(InvalidArgument, match=r"of 4092 anchors.*got 1023"):
        DetectionLoss(SPEC.with_resolution(256))(given_outputs, SCENE)
