"""Batch norm's new statistics: those of the images, and nothing else changes."""

import torch
from torch import nn

from searchspace.nn.weights.statistics import renew_batch_norm


def images(seed: int, count: int = 16) -> torch.Tensor:
    return 3.0 + torch.randn(count, 3, 6, 6, generator=torch.Generator().manual_seed(seed))


def test_the_new_statistics_are_the_images_and_parameters_momentum_and_mode_stay() -> None:
    module = nn.Sequential(nn.BatchNorm2d(3, momentum=0.3), nn.Dropout(0.5)).train()
    norm = module[0]
    assert isinstance(norm, nn.BatchNorm2d)
    before = norm.weight.detach().clone()
    batches = [images(0), images(1)]
    renew_batch_norm(module, iter(batches))
    assert norm.running_mean is not None
    expected = torch.stack([batch.mean((0, 2, 3)) for batch in batches]).mean(0)
    assert torch.allclose(norm.running_mean, expected, atol=1e-5)
    assert torch.equal(norm.weight, before)
    assert (norm.momentum, norm.training, module.training) == (0.3, False, False)


def test_without_images_the_old_statistics_stay() -> None:
    norm = nn.BatchNorm2d(3)
    assert norm.running_mean is not None
    norm.running_mean.fill_(2.0)
    renew_batch_norm(norm, [])
    assert norm.running_mean.tolist() == [2.0, 2.0, 2.0]
