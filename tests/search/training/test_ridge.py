"""The classifier in closed form: what leaving one out says is what refits say, for every kind of head."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.linear_model import RidgeClassifier, RidgeCV
from torch import Tensor

from search.data import Split
from search.training.errors import TrainingFailed
from search.training.evaluate import evaluate
from search.training.ridge import PENALTIES, Ridge, pooled_features, ridge, set_classifier
from searchspace.errors import InvalidArgument
from searchspace.nn import Network, build
from searchspace.spec import NetworkSpec
from searchspace.zoo import get
from tests.scripted import two_halves

pytestmark = pytest.mark.usefixtures("one_thread")


def clouds(count: int, width: int, classes: int, *, seed: int = 0, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    """Points around one centre for each class; every class is there."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % classes)
    points = rng.normal(size=(classes, width))[labels] + spread * rng.normal(size=(count, width)) + 3
    return torch.tensor(points, dtype=torch.float32), torch.tensor(labels)


def one_and_minus_one(labels: Tensor, classes: int) -> Any:
    return 2 * np.eye(classes)[labels.numpy()] - 1


@pytest.mark.parametrize(("count", "width"), [(60, 8), (20, 40), (30, 30)])
def test_the_classifier_and_its_penalty_are_sklearns(count: int, width: int) -> None:
    features, labels = clouds(count, width, 3, spread=2.0)
    found = ridge(features, labels, classes=3)
    x, y = features.numpy().astype(float), one_and_minus_one(labels, 3)
    theirs = RidgeClassifier(alpha=found.penalty).fit(x, labels.numpy())
    np.testing.assert_allclose(found.weight.numpy(), theirs.coef_, atol=1e-5)
    np.testing.assert_allclose(found.bias.numpy(), theirs.intercept_, atol=1e-4)
    unit = found.penalty / min(PENALTIES, key=lambda at: abs(np.log(found.penalty / at / spectrum_mean(x))))
    grid = [unit * at for at in PENALTIES]
    by_sklearn = RidgeCV(alphas=grid, store_cv_results=True).fit(x, y)
    assert found.penalty == pytest.approx(by_sklearn.alpha_)


def spectrum_mean(x: Any) -> float:
    values = np.linalg.eigvalsh((x - x.mean(0)) @ (x - x.mean(0)).T)
    return float(values[values > 1e-9 * values[-1]].mean())


@settings(max_examples=25)
@given(count=st.integers(4, 14), width=st.integers(1, 20), classes=st.integers(2, 4), seed=st.integers(0, 10**6))
def test_leaving_one_out_is_as_many_refits(count: int, width: int, classes: int, seed: int) -> None:
    features, labels = clouds(count, width, classes, seed=seed)
    found = ridge(features, labels, classes=classes)
    x, y = features.numpy().astype(float), one_and_minus_one(labels, classes)
    right = []
    for left_out in range(count):
        others = np.arange(count) != left_out
        outputs = SklearnRidge(alpha=found.penalty).fit(x[others], y[others]).predict(x[[left_out]])[0]
        own = outputs[labels[left_out]]
        if abs(own - np.delete(outputs, labels[left_out])).min() < 1e-6:
            return  # a tie, which rounding decides
        right.append(own == outputs.max())
    assert found.loo_accuracy == pytest.approx(np.mean(right))


@given(count=st.integers(6, 30), width=st.integers(1, 12), seed=st.integers(0, 10**6))
def test_what_is_left_out_tells_how_sure_logits_are(count: int, width: int, seed: int) -> None:
    found = ridge(*clouds(count, width, 2, seed=seed), classes=2)
    assert 0 <= found.loo_accuracy <= 1
    assert found.deviation > 0
    assert found.scale > 0


def test_clear_classes_get_surer_logits_than_noise() -> None:
    clear, noise = (ridge(*clouds(300, 10, 3, spread=spread), classes=3) for spread in (0.1, 30.0))
    assert clear.loo_accuracy == 1
    assert noise.loo_accuracy < 0.5
    assert clear.scale > 4 * noise.scale


def test_features_that_say_nothing_give_a_classifier_that_says_how_frequent_classes_are() -> None:
    found = ridge(torch.ones(6, 4), torch.tensor([0, 1, 1, 1, 0, 1]), classes=2)
    assert torch.equal(found.weight, torch.zeros(2, 4))
    np.testing.assert_allclose(found.bias.numpy(), [2 * 2 / 6 - 1, 2 * 4 / 6 - 1], atol=1e-6)


def test_what_cannot_be_fitted_is_refused() -> None:
    features, labels = clouds(8, 3, 2)
    for wrong in (labels[:1], labels - 1, labels + 1):
        with pytest.raises(InvalidArgument, match=r"at least 2 images with labels from 0 to 1, got"):
            ridge(features[: len(wrong)], wrong, classes=2)
    features[3, 1] = torch.nan
    with pytest.raises(TrainingFailed, match="must be finite"):
        ridge(features, labels, classes=2)


def network(spec: NetworkSpec) -> Network:
    return build(spec, generator=torch.Generator().manual_seed(0)).eval()


HEADS = ("mobilenet_v2", "mobilenet_v3_small", "squeezenet1_1")


@pytest.mark.parametrize("name", HEADS)
def test_features_through_the_networks_classifier_are_its_logits(name: str) -> None:
    module, images = network(get(name, classes=2).with_resolution(64)), two_halves(6, pixels=64)
    features = pooled_features(module, images, device="cpu")
    head: Any = module[-1][-1]  # type: ignore[index]
    layer = head.logits_layer
    by_hand = torch.nn.functional.linear(features, layer.weight.flatten(1), layer.bias)
    outputs = list[Tensor]()
    head.logits_layer.register_forward_hook(lambda *call: outputs.append(call[-1]))
    evaluate(module, images, device="cpu")
    theirs = outputs[0].mean((2, 3)) if outputs[0].ndim == 4 else outputs[0]
    torch.testing.assert_close(by_hand, theirs, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(pooled_features(module, images, images=2, batch_size=1, device="cpu"), features[:2])


def test_features_are_taken_at_the_pixels_that_are_asked_for() -> None:
    module, images = network(get("mobilenet_v2", classes=2)), two_halves(3, pixels=32)
    larger = Split(two_halves(3, pixels=32).pixels.repeat(2, 1).repeat(2, 2), images.labels)
    stored = pooled_features(module, larger, device="cpu")
    resized = pooled_features(module, images, pixels=64, device="cpu")
    assert stored.shape == resized.shape == (3, 1280)
    torch.testing.assert_close(pooled_features(module, larger, pixels=64, device="cpu"), stored)
    assert not torch.equal(pooled_features(module, images, device="cpu"), resized)


@pytest.mark.parametrize("name", HEADS)
def test_a_network_with_the_ridges_classifier_tells_the_images_apart(name: str) -> None:
    module, images = network(get(name, classes=2).with_resolution(48)), two_halves(40, pixels=48)
    fitted = ridge(pooled_features(module, images, device="cpu"), torch.tensor(images.labels), classes=2)
    assert evaluate(module, images, device="cpu") < 1
    set_classifier(module, fitted)
    assert evaluate(module, images, device="cpu") == 1
    module.train()
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_a_classifier_of_another_shape_is_refused() -> None:
    module = network(get("mobilenet_v2", classes=5))
    other = Ridge(torch.zeros(2, 1280), torch.zeros(2), 1.0, 0.5, 0.1, 1.0)
    with pytest.raises(InvalidArgument, match=r"5 classes x 1280 features, the ridge's is 2 x 1280.*with_classes\(2\)"):
        set_classifier(module, other)
