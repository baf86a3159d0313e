"""The tutorial: find a network for a latency budget, read the results, prune it, grow it, use it.

python -m tests.tutorial            about 15 minutes, on the embedded digits; studies/tutorial/ holds everything
"""

from typing import Any

import torch

import scaling
import search
from search.data import load
from search.training.augmentation import normalise

Flags = dict[str, Any]  # as on the command line: python -m search.run --help, python -m search.netadapt --help
FIND: Flags = {"budget_ms": 20, "minutes": 9}
PRUNE: Flags = {"epochs": 5}


def tutorial(data: str = "digits", pixels: int = 48, find: Flags = FIND, prune: Flags = PRUNE) -> float:
    """All steps; gives the pruned network's accuracy on the validation images."""
    # 1. Find: the most accurate network that runs within the budget on this machine.
    found = search.find(data=data, proxy_resolution=pixels, study="tutorial", **find)
    print(found.report())

    # 2. Read the results: one row a trial, a pandas frame.
    trials = found.study
    trained = trials[trials["status"] == "trained"]
    print(trained[["trial", "accuracy", "predicted_latency_ms", "macs"]].sort_values("accuracy", ascending=False))

    # 3. Prune: the same network with a fifth fewer multiply-adds, trained on and tested.
    macs = found.summary["winner"]["macs"]
    best = found.folder / "best.json"
    smaller = search.prune(best, data=data, budget_macs=0.8 * macs, study="tutorial-pruned", **prune)
    print(smaller.report())

    # 4. Grow: deeper, wider and finer by EfficientNet's rule.
    larger = scaling.compound(found.spec, phi=1)
    print(f"{macs / 1e6:.0f} M MACs, grown to {larger.grown[0].costs.macs / 1e6:.0f} M")

    # 5. Use: images are uint8 pixels, a module takes what `normalise` makes of them.
    images = load(data, resolution=pixels).validation
    with torch.inference_mode():
        answers = smaller.module(normalise(torch.tensor(images.pixels))).argmax(1)
    return float((answers == torch.tensor(images.labels)).float().mean())


if __name__ == "__main__":
    print(f"{tutorial():.1%} of the validation images are told right by the pruned network")
