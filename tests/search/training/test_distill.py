"""A teacher: its new classifier, what it says once for each image, and the loss that listens to it."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from search.data import Split
from search.training.distill import Teacher, distillation_loss
from search.training.evaluate import evaluate
from searchspace.errors import InvalidArgument
from searchspace.nn import build
from searchspace.nn.weights.sources import Parent
from searchspace.spaces.mnasnet import mnasnet_space
from tests.scripted import two_halves

pytestmark = pytest.mark.usefixtures("one_thread")

SPACE = mnasnet_space(classes=2, resolution=32)
SPEC = SPACE.spec(SPACE.corner("smallest"))
IMAGES = two_halves(40, pixels=32)


def parent(classes: int) -> Parent:
    network = build(SPEC.with_classes(classes), generator=torch.Generator().manual_seed(0)).eval()
    return Parent("old_master", network, "these tests", None, None, "0" * 64)


def logits(count: int, classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (3 * torch.randn(count, classes, generator=generator) for _ in range(2))
    return student, teacher, torch.randint(classes, (count,), generator=generator)


@given(seed=st.integers(0, 10**6), count=st.integers(1, 6), classes=st.integers(2, 5), smoothing=st.floats(0, 0.3))
def test_without_weight_the_teacher_is_not_heard_and_with_all_of_it_the_labels_are_not(
    seed: int, count: int, classes: int, smoothing: float
) -> None:
    student, teacher, labels = logits(count, classes, seed)
    plain = torch.nn.functional.cross_entropy(student, labels, label_smoothing=smoothing)
    deaf = distillation_loss(student, labels, teacher, temperature=2.0, weight=0.0, label_smoothing=smoothing)
    torch.testing.assert_close(deaf, plain)
    heard = [distillation_loss(student, each, teacher, temperature=3.0, weight=1.0) for each in (labels, 0 * labels)]
    assert heard[0] == heard[1] >= -1e-6
    torch.testing.assert_close(
        distillation_loss(teacher, labels, teacher, temperature=3.0, weight=1.0), torch.tensor(0.0), atol=1e-5, rtol=0
    )


def test_the_loss_of_two_classes_by_hand() -> None:
    student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[2 * math.log(3), 0.0]])
    found = distillation_loss(student, torch.tensor([0]), teacher, temperature=2.0, weight=0.25)
    divergence = 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)
    assert found.item() == pytest.approx(0.75 * math.log(2) + 0.25 * 4 * divergence, abs=1e-6)


def test_of_an_image_without_a_label_only_the_teacher_tells() -> None:
    student, teacher, labels = logits(4, 3, 0)
    unlabelled = torch.full((4,), -1)
    loss = distillation_loss(student, unlabelled, teacher, temperature=2.0, weight=0.5)
    alone = distillation_loss(student, labels, teacher, temperature=2.0, weight=1.0)
    torch.testing.assert_close(loss, 0.5 * alone)


def test_a_teacher_of_imagenet_gets_a_classifier_for_these_images_and_one_of_their_classes_is_taken_as_it_is() -> None:
    mixed = Split(IMAGES.pixels, IMAGES.labels.copy())
    mixed.labels[30:] = -1
    teacher = Teacher.of(parent(1000), mixed, classes=2, pixels=32, device="cpu")
    assert evaluate(teacher.network, IMAGES, device="cpu") > 0.9
    own = parent(2)
    assert Teacher.of(own, IMAGES, classes=2, pixels=32).network is own.network


def test_a_teacher_with_other_classes_is_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"classes of the images \(2\) or those of ImageNet.*old_master has 7"):
        Teacher.of(parent(7), IMAGES, classes=2, pixels=32)


def test_a_teacher_looks_at_each_image_once() -> None:
    teacher = Teacher.of(parent(2), IMAGES, classes=2, pixels=48, device="cpu")
    looked = list[int]()
    teacher.network.register_forward_pre_hook(lambda _, inputs: looked.append(len(inputs[0])))
    first = teacher.logits(torch.tensor([3, 1, 3]))
    torch.testing.assert_close(teacher.logits(torch.tensor([1, 5]))[0], first[1])
    assert looked == [2, 1]
    assert torch.equal(first[0], first[2])
    loss = teacher.loss(first.clone().requires_grad_(), torch.tensor([0, 1, 0]), torch.tensor([3, 1, 3]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert sum(looked) == 3
