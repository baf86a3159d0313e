"""Kinds of files whose readers need torch: weights, checkpoints, what a pruning and a reference set keep."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from search.latency.cache import Cache, Unfinished
from search.latency.interleave import Reading
from search.latency.measurement import Measurement
from search.latency.portable import MANIFEST, TIMES, import_
from search.netadapt.history import StoredHistory
from search.netadapt.records import Iteration, Part, ProposalRecord
from search.netadapt.timing import Timing
from search.training.recipe import Recipe
from search.training.state import TrainingState
from search.validation.files import ReferenceFiles, Score, Trained
from search.weight_sharing.state import SharedState
from searchspace.cost import layer_params_macs
from searchspace.files import write_atomic, write_json
from searchspace.graph import lower
from searchspace.nn import build, network_bytes, read_about, read_weights
from searchspace.nn.weights.recognise import recognise
from searchspace.strict_json import dumps
from searchspace.zoo.places import FILE, cached
from searchspace.zoo.published import listing
from tests.fuzz.law import Subject
from tests.fuzz.subjects import SPEC, table, written

torch.manual_seed(0)
NETWORK = build(SPEC).eval()
PLAIN = {name: tensor.contiguous() for name, tensor in NETWORK.state_dict().items()}
PUBLISHED = next(row for row in listing() if row.repo)
ABOUT = {"classes": ["a", "b"], "fingerprint": SPEC.fingerprint(), "trained_at_px": 32}


def values(state: dict[str, Any]) -> dict[str, Any]:
    """The tensors of a state dict, as values to compare."""
    return {name: (str(one.dtype), one.tolist()) for name, one in state.items() if isinstance(one, torch.Tensor)}


def _weights_read(path: Path) -> Any:
    return values(read_weights(path)), read_about(path)


def _foreign_read(path: Path) -> Any:
    found = recognise(path.with_name("model.safetensors"), note=lambda _: None)
    return found.network.spec, values(found.network.state_dict())


def _config(folder: Path) -> Path:
    content = {
        "architecture": "tiny",
        "pretrained_cfg": {
            "tag": "v1",
            "input_size": [3, 32, 32],
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
            "interpolation": "bicubic",
        },
    }
    (folder / "model.safetensors").write_bytes(safetensors.torch.save(PLAIN))
    (folder / "model.json").write_text(SPEC.to_json())
    (folder / "config.json").write_text(json.dumps(content))
    return folder / "config.json"


def _pth(folder: Path) -> Path:
    torch.save({"state_dict": NETWORK.state_dict(), "epoch": 3}, folder / "model.pth")
    return folder / "model.pth"


def _old_pth(folder: Path) -> Path:
    torch.save(NETWORK.state_dict(), folder / "model.pth", _use_new_zipfile_serialization=False)
    return folder / "model.pth"


def _hub(name: str) -> Callable[[Path], Path]:
    """The hub's cache with one network, by a branch."""

    def make(folder: Path) -> Path:
        model = folder / f"models--{PUBLISHED.repo.replace('/', '--')}"
        write_atomic(model / "refs" / "main", "c0ffee")
        write_atomic(model / "snapshots" / "c0ffee" / FILE, safetensors.torch.save(PLAIN))
        return model / name

    return make


def _hub_read(path: Path) -> Any:
    folder = next(parent.parent for parent in path.parents if parent.name.startswith("models--"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_CACHE", str(folder))
        place = cached(PUBLISHED, "main")
    return place and values(read_weights(place.path))


def _checkpoint(folder: Path) -> Path:
    state = TrainingState(build(SPEC), Recipe(epochs=2))
    state.history, state.seconds = [0.25, 0.5], 3.5
    state.save(folder / "t.ckpt", "key")
    return folder / "t.ckpt"


def _checkpoint_read(path: Path) -> Any:
    """None where the training begins anew, which a warning says."""
    state = TrainingState(build(SPEC), Recipe(epochs=2)).resumed(path, "key")
    found = state.history, state.seconds, state.finished, values(state.module.state_dict())
    return found if state.history else None


def _shared(folder: Path) -> Path:
    path = folder / "shared.pt"
    torch.save({"key": json.dumps({"seed": 1}), "module": NETWORK.state_dict(), "images": 7}, path)
    return path


class _Shared(SharedState):
    def __init__(self) -> None:
        self.found: Any = None

    def _load(self, content: dict[str, Any]) -> None:
        self.found = values(content["module"]), content["images"]


def _shared_read(path: Path) -> Any:
    state = _Shared()
    state.go_on(path, {"seed": 1})
    return state.found


def _iteration() -> Iteration:
    proposal = ProposalRecord(
        move="channels",
        where="stem.0",
        channels=8,
        name="stem.0 to 8",
        spec=SPEC.to_json(),
        fingerprint=SPEC.fingerprint(),
        params=100,
        macs=1000,
        cost=2.5,
        screened=0.5,
        accuracy=0.625,
        seconds=1.5,
        timing=Timing(1.0, 0.9, 0.9, 0.85, 0.95, 12),
        accepted=True,
    )
    measured = Measurement(latency_ms=2.0, low_ms=1.9, high_ms=2.1, rounds=9, raw_median_ms=2.0, noisy=False)
    return Iteration(
        number=0,
        spec=SPEC,
        cost=2.0,
        accuracy=0.75,
        target=2.25,
        measured=measured,
        reached=(2.5,),
        proposals=(proposal,),
    )


def _iteration_file(folder: Path) -> Path:
    path = folder / "iterations" / "000.iteration.json"
    write_atomic(path, _iteration().to_json())
    return path


def _iteration_read(path: Path) -> Any:
    return StoredHistory(path.parents[1], keep_all=True).iterations


def _part_file(folder: Path) -> Path:
    path = folder / "iterations" / "part.json"
    part = Part(0, {"2.5": {"p": {"accuracy": 0.5}}}, {"a/b": Timing(1.0, 0.9, 0.9, 0.85, 0.95, 12)})
    write_atomic(path, part.to_json())
    return path


def _part_read(path: Path) -> Any:
    found = StoredHistory(path.parents[1], keep_all=True).part()
    return None if found == Part(0) else found


def _iteration_weights(folder: Path) -> Path:
    _iteration_file(folder)
    path = folder / "iterations" / "000.safetensors"
    write_atomic(path, network_bytes(NETWORK, ABOUT))
    return path


def _iteration_weights_read(path: Path) -> Any:
    return values(StoredHistory(path.parents[1], keep_all=True).network(0).module.state_dict())


def _reference(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        files = ReferenceFiles(folder / "set.csv")
        files.bind({"settings": {"seed": 0}, "budget": 5.0}, command="x")
        row = Trained(
            network="n0",
            kind="random",
            fingerprint="f0",
            seed=0,
            accuracy=0.75,
            judged=100,
            seconds=12.5,
            images=1000,
            parent="",
            price=3.25,
            macs=1000,
            params=100,
            depth=5,
            spec=json.dumps(SPEC.to_dict()),
        )
        score = Score(
            estimator="e", identity="i", fingerprint="f0", score=0.5, deviation=0.25, seconds=1.5, prepare_s=2.5
        )
        rows, scores = files.trained(), files.scores()
        for at in range(3):
            rows.add(replace(row, network=f"n{at}", fingerprint=f"f{at}", accuracy=0.75 + at / 100))
            scores.add(replace(score, fingerprint=f"f{at}"))
        return folder / name

    return make


def _reference_read(path: Path) -> Any:
    files = ReferenceFiles(path.with_name("set.csv"))
    about = files.about()
    files.check({"settings": {"seed": 0}, "budget": 5.0})
    known = {name: about.get(name) for name in ("schema", "settings", "budget", "command")}
    trained, scores = files.trained().rows, files.scores().rows
    return (trained, scores, known) if len(trained) == len(scores) == 3 else None  # what is gone is made again


def _cached_table(*, quick: bool) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        cache = Cache(folder, table().identity, note=lambda _: None)
        cache.save(replace(table(), quick=quick))
        return cache.quick_path if quick else cache.table_path

    return make


def _cached_table_read(path: Path) -> Any:
    cache = Cache(path.parent, table().identity, note=lambda _: None)
    return cache.table(quick=path == cache.quick_path)


def _time_base(folder: Path) -> Path:
    cache = Cache(folder, table().identity, note=lambda _: None)
    content = {"reference_ms": 2.5, "drift": 0.1, "probe_networks_ms": {"32": {"a": 1.5}}, "identity": table().identity}
    write_json(cache.reference_path, content)
    return cache.reference_path


def _time_base_read(path: Path) -> Any:
    return Cache(path.parent, table().identity, note=lambda _: None).stored_time_base()


def _unfinished(folder: Path) -> Path:
    readings = Unfinished(folder / "u.json", "plan")
    readings.readings, readings.spent_s = (
        {0: [Reading(1000.0, 0.5, (0.25, 0.75))], 1: [Reading(900.0, 1.0, (1.5,))]},
        2.5,
    )
    readings.save()
    return folder / "u.json"


def _unfinished_read(path: Path) -> Any:
    found = Unfinished(path, "plan")
    return (found.readings, found.spent_s) if found.resume() else None


def _exported(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        from searchspace.spaces.mnasnet import mnasnet_space

        space = mnasnet_space(classes=10, resolution=32)
        specs = [space.spec(space.corner(which)) for which in ("smallest", "largest")]
        specs += [spec.with_classes(20) for spec in specs]
        layers = {layer.signature: layer for spec in specs for layer in lower(spec).layers}
        kernels = {f"kernels/k{at:04}.onnx": list(signature) for at, signature in enumerate(layers)}
        networks = {f"networks/n{at:02}.onnx": spec.to_dict() for at, spec in enumerate(specs)}
        content = {"schema": table().identity["schema"], "resolution": 32, "kernels": kernels, "networks": networks}
        ms = {
            key: 0.02 + layer_params_macs(layer)[1] / 2e7 for key, layer in zip(kernels, layers.values(), strict=True)
        }
        ms |= {
            key: 0.1 + sum(0.02 + layer_params_macs(layer)[1] / 2e7 for layer in lower(spec).layers)
            for key, spec in zip(networks, specs, strict=True)
        }
        write_atomic(folder / MANIFEST, dumps(content, indent=None))
        write_atomic(folder / TIMES, "file,ms\n" + "".join(f"{key},{value:.5f}\n" for key, value in ms.items()))
        return folder / name

    return make


def _import(path: Path) -> Any:
    return import_(path.parent, device="d", runtime="r", threads=1).to_json()


def _renewed(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """A reader that makes a damaged file again, on a path of its own."""

    def reading(path: Path) -> Any:
        content = path.read_bytes()
        try:
            return read(path)
        finally:
            path.write_bytes(content)

    return reading


SUBJECTS = (
    Subject("weights of ours", written("w.safetensors", lambda: network_bytes(NETWORK, ABOUT)), _weights_read),
    Subject(
        "weights of others",
        written("w.safetensors", lambda: safetensors.torch.save(PLAIN)),
        _weights_read,
        sealed=False,
    ),
    Subject("torch checkpoint", _pth, _weights_read),
    Subject("torch checkpoint of before 1.6", _old_pth, _weights_read, sealed=False),
    Subject("branch in the hub's cache", _hub("refs/main"), _hub_read, renewed=True, form="text"),
    Subject("weights in the hub's cache", _hub(f"snapshots/c0ffee/{FILE}"), _hub_read, sealed=False),
    Subject("timm's config.json", _config, _foreign_read, sealed=False, form="json"),
    Subject("training under way", _checkpoint, _checkpoint_read, renewed=True),
    Subject("shared network", _shared, _shared_read),
    Subject("iteration of a pruning", _iteration_file, _iteration_read, form="json"),
    Subject("iteration under way", _part_file, _part_read, renewed=True, form="json"),
    Subject("weights of an iteration", _iteration_weights, _iteration_weights_read),
    Subject("reference set", _reference("set.csv"), _reference_read, renewed=True, form="text"),
    Subject("settings of a reference set", _reference("set.json"), _reference_read, form="json"),
    Subject("scores of a reference set", _reference("set.scores.csv"), _reference_read, renewed=True, form="text"),
    Subject("cached latency table", _cached_table(quick=False), _cached_table_read, renewed=True, form="json"),
    Subject("cached quick table", _cached_table(quick=True), _cached_table_read, renewed=True, form="json"),
    Subject("time base", _time_base, _renewed(_time_base_read), renewed=True, form="json"),
    Subject("measurement under way", _unfinished, _unfinished_read, renewed=True, form="json"),
    Subject("exported manifest", _exported(MANIFEST), _import, form="json"),
    Subject("filled-in times", _exported(TIMES), _import, sealed=False, form="text"),
)
