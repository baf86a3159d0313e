"""Classes of unequal size: what they weigh, and the accuracy that counts each alike."""

import numpy as np
import pytest
import torch
from torch import nn

from search.data import Split
from search.training.balance import balance, balanced_accuracy, class_weights, cross_entropy
from search.training.recipe import Recipe
from search.training.ridge import ridge
from search.training.trainer import Trainer
from search.training.variation import check_class_weights
from searchspace.errors import InvalidArgument
from tests.scripted import dataset_of

pytestmark = pytest.mark.usefixtures("one_thread")


def labels(*counts: int) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts).astype(np.int64)


def of(counts: tuple[int, ...]) -> Split:
    return Split(np.zeros((sum(counts), 8, 8, 3), np.uint8), labels(*counts))


def test_balanced_weights_make_classes_alike_and_an_image_weigh_1_on_average() -> None:
    weights = class_weights("balanced", labels(90, 10))
    assert weights is not None
    assert (90 * weights[0], 10 * weights[1]) == (pytest.approx(50), pytest.approx(50))
    assert class_weights("none", labels(90, 10)) is None
    with pytest.raises(InvalidArgument, match="--class-weights must be none or balanced, got 'even'"):
        check_class_weights("even")


def test_a_class_without_training_images_takes_nothing_from_the_others() -> None:
    weights = class_weights("balanced", labels(4, 0, 4))
    assert weights is not None
    assert weights[[0, 2]].tolist() == [1, 1]


def test_the_weighted_loss_is_the_mean_of_the_means_of_classes_also_where_the_last_class_was_never_seen() -> None:
    logits, target = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0] * 6 + [1] * 2)
    weights = class_weights("balanced", target.numpy())
    each = nn.functional.cross_entropy(logits, target, reduction="none")
    found = cross_entropy(logits, target, weights=weights, smoothing=0.0)
    assert float(found) == pytest.approx(float((each[:6].mean() + each[6:].mean()) / 2))


def test_balanced_accuracy_is_the_mean_over_classes() -> None:
    right = [True] * 90 + [False] * 10
    assert balanced_accuracy(right, labels(90, 10)) == 0.5
    assert balanced_accuracy([True, False], np.array([0, 2])) == 0.5  # a class without images does not count


def test_balanced_accuracy_stands_beside_accuracy_above_three_to_one() -> None:
    test = of((3, 1))
    assert balance(dataset_of(of((30, 10)), test), [True] * 4) == {}
    found = balance(dataset_of(of((31, 10)), test), [True, True, True, False])
    assert found == {"test_balanced_accuracy": 0.5, "largest_class": ["a", 31], "smallest_class": ["b", 10]}


def test_a_training_with_balanced_weights_names_the_rare_class_where_images_do_not_say() -> None:
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 255, (160, 8, 8, 3)).astype(np.uint8), rng.permutation(labels(136, 24)))
    shares = {}
    for how in ("none", "balanced"):
        torch.manual_seed(0)
        module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
        recipe = Recipe(epochs=5, batch_size=16, class_weights=how)
        Trainer(train=split, validation=split, recipe=recipe, seed=0, device="cpu").fit(module)
        shares[how] = float(module(torch.zeros(1, 3, 8, 8)).softmax(1)[0, 1].detach())
    assert shares["none"] < 0.3
    assert 0.35 < shares["balanced"] < 0.65


def test_the_weighted_ridge_is_the_one_of_the_normal_equations() -> None:
    generator = torch.Generator().manual_seed(0)
    features, target = torch.randn(40, 5, generator=generator), torch.tensor([0] * 30 + [1] * 10)
    weights = torch.tensor([2 / 3, 2.0])
    found = ridge(features, target, classes=2, class_weights=weights)
    x, each = features.double(), weights.double()[target][:, None]
    y = nn.functional.one_hot(target).double() * 2 - 1
    x, y = x - (each * x).mean(0), y - (each * y).mean(0)
    expected = torch.linalg.solve(x.T @ (each * x) + found.penalty * torch.eye(5).double(), x.T @ (each * y)).T
    torch.testing.assert_close(found.weight.double(), expected, rtol=1e-5, atol=1e-7)
    plain = ridge(features, target, classes=2)
    torch.testing.assert_close(plain.weight, ridge(features, target, classes=2, class_weights=torch.ones(2)).weight)
