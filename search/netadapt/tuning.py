"""Fine-tuning of what is pruned, by minutes: before the pruning where the head is new, and after it.

The pruning itself has a share of the minutes. Where it would take longer as the flags have it, it goes in larger steps
with shorter trainings. What was decided is kept in the study's folder, so that a run that was cut off goes on alike.
"""

import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from search.console import clock_text
from search.netadapt.job import Job
from search.netadapt.pruner import check_reachable
from search.netadapt.screen import SCREEN_IMAGES
from search.netadapt.settings import MINUTES, Settings
from search.netadapt.short_training import first
from search.netadapt.specs import PrunableSpec
from search.training.augmentation import prepared
from search.training.evaluate import device_for, evaluate
from searchspace.files import content_of, read_json, write_atomic, write_json
from searchspace.nn import Network, load_network, load_weights, network_bytes

FIRST, LAST = 0.4, 0.25  # of the minutes: the fine-tuning of a new head, and at least the one after the pruning
PLAN, START = "plan.json", "start.safetensors"
_PROPOSALS = 40  # of an iteration, each half a network
_TIMING_S = 5.0  # the paired tests of an iteration
# From the settings that were asked for to the shortest: step, shortlist, short_steps, validation_images.
_LEVELS = ((0.06, 3, 30, 1000), (0.08, 2, 25, 1000), (0.1, 2, 15, 600), (0.12, 2, 12, 400), (0.12, 1, 8, 200))


def fine_tuned(job: Job) -> Job:
    """The job with a network that knows the images' classes, and with settings whose pruning fits into the minutes.

    Where its head is new, it is fine-tuned. A job that is by epochs is returned as it is.
    """
    inputs = job.inputs
    minutes = job.settings.minutes or (MINUTES if inputs.is_new else None)
    if minutes is None:
        return job
    assert job.folder is not None
    folder = job.folder
    _check(job)
    path, first_s = folder / START, 60 * minutes * FIRST if inputs.is_new else 0.0
    if inputs.is_new:
        inputs = replace(inputs, network=PrunableSpec(_begun(job, path, first_s)), is_new=False)
    job = replace(job, inputs=inputs)
    known = known_plan(folder)
    if not known:
        left_s = 60 * minutes * (1 - LAST) - first_s
        known = {"minutes": minutes, "first_s": first_s} | pace(job, left_s)
        write_json(folder / PLAN, known)
    with content_of(folder / PLAN):
        settings = replace(job.settings, minutes=minutes, **known["settings"])
    return replace(job, settings=settings, pruning_began=time.monotonic())


def _check(job: Job) -> None:
    """Raises InfeasibleBudget before minutes are spent, by what the network costs as predicted."""
    start = job.inputs.network
    cost = job.cost_model.cost(start.graph)
    check_reachable(job, start, cost, [budget for budget in job.budgets_left if budget < cost])


def _begun(job: Job, path: Path, seconds: float) -> Network:
    """The network after its first fine-tuning."""
    module, inputs = job.inputs.network.module, job.inputs
    assert isinstance(module, Network)
    spec = module.spec
    if path.exists():
        return load_network(spec, path)
    job.progress.line(f"fine-tuning the network for {clock_text(seconds)}, its new head first")
    handover = job.handover(
        job.recipe, lambda share: job.progress.update(share, "fine-tuning"), pixels=inputs.trained_px
    )
    tuned = handover.fine_tune(module, seconds, new_head=True, state_file=path.with_suffix(".ckpt"))
    job.progress.line(f"fine-tuned: {tuned.accuracy:.1%} validation accuracy at {inputs.trained_px} px")
    about = {**job.about_weights(), "fingerprint": spec.fingerprint()}
    write_atomic(path, network_bytes(module, about))
    path.with_suffix(".ckpt").unlink(missing_ok=True)
    return module


def last_s(job: Job) -> float:
    """Seconds of the fine-tuning after the pruning, decided once: what the pruning has left, within bounds."""
    assert job.folder is not None
    known = known_plan(job.folder)
    if "last_s" not in known:
        whole = 60 * known["minutes"]
        spent = known["first_s"] + time.monotonic() - (job.pruning_began or time.monotonic())
        known["last_s"] = max(LAST * whole, whole - spent)
        write_json(job.folder / PLAN, known)
    return float(known["last_s"])


def known_plan(folder: Path) -> dict[str, Any]:
    """What an earlier run decided; empty where there was none. Raises StorageError."""
    path = folder / PLAN
    if not path.exists():
        return {}
    with content_of(path):
        found = dict(read_json(path))
        numbers = [found["minutes"], found["first_s"], found.get("last_s", 0.0), *found["settings"].values()]
        if not all(type(one) in (int, float) and 0 <= one < math.inf for one in numbers if one is not None):
            raise ValueError(f"{numbers}")
    return found


def pace(job: Job, seconds: float) -> dict[str, Any]:
    """The settings of a pruning that takes about so many seconds, and what it is guessed to take.

    Those that were asked for, where they fit; else the first of the shorter ones that does.
    """
    train_s, look_s = image_seconds(job)
    start = job.inputs.network
    to_go = 1 - min(1.0, job.limit(job.settings.limits[-1], start.graph) / job.cost_model.cost(start.graph))

    def takes(settings: Settings) -> float:
        step, validation = settings.reduction[0], settings.validation_images
        trainings = settings.shortlist * (32 * settings.short_steps * train_s + validation * look_s)
        screening = 0.5 * _PROPOSALS * 0.65 * min(SCREEN_IMAGES, validation) * look_s
        return math.ceil(to_go / step) * (trainings + screening + (_TIMING_S if job.timer else 0.0))

    own = job.settings
    shorter = [
        replace(
            own,
            step=max(step, own.reduction[0]),
            decay=1.0,
            shortlist=min(shortlist, own.shortlist),
            short_steps=min(steps, own.short_steps),
            validation_images=min(images, own.validation_images),
        )
        for step, shortlist, steps, images in _LEVELS
    ]
    chosen = next((each for each in (own, *shorter) if takes(each) <= seconds), shorter[-1])
    names = ("step", "decay", "shortlist", "short_steps", "validation_images")
    values = {name: getattr(chosen, name) for name in names}
    if chosen is not own:
        shown = ", ".join(f"--{name.replace('_', '-')} {value:g}" for name, value in values.items())
        job.progress.line(f"to fit into the minutes, the pruning is done with {shown}")
    return {"settings": values, "guessed_s": takes(chosen)}


def image_seconds(job: Job) -> tuple[float, float]:
    """Seconds of an image in a training step and in a look, by trying both on a copy."""
    inputs, spec = job.inputs, job.inputs.network.spec
    assert spec is not None
    device, batch = device_for(None), first(inputs.images.train, 32)
    module = load_weights(spec, inputs.network.module.state_dict()).to(device)
    images = prepared(torch.tensor(batch.pixels), module, inputs.pixels).to(device)
    for _ in range(2):  # the first warms up
        began = time.perf_counter()
        torch.autograd.backward(module.train()(images).float().square().mean())
        trained = time.perf_counter() - began
    for _ in range(2):
        began = time.perf_counter()
        evaluate(module, batch, pixels=inputs.pixels)
        looked = time.perf_counter() - began
    return trained / len(batch), looked / len(batch)
