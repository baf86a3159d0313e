"""The deployed form, ONNX's and the printed one say of a detector what torch and its spec say."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from scaling.efficientdet import fitting
from scaling.efficientdet.__main__ import main
from scaling.efficientdet.boxes import areas
from scaling.efficientdet.deploy import deployed
from scaling.efficientdet.graph import lower
from scaling.efficientdet.module import Detector, Fuse, build
from scaling.efficientdet.neck import bifpn
from scaling.efficientdet.postprocess import detections, nms
from scaling.efficientdet.report import part_costs
from scaling.efficientdet.spec import DetectorSpec, read_detector
from scaling.efficientdet.starting import start
from searchspace.cost import costs
from searchspace.errors import InfeasibleBudget
from searchspace.spec import write_spec
from tests.scaling.efficientdet.small import small, small_backbone

pytestmark = pytest.mark.usefixtures("one_thread")


def stirred(spec: DetectorSpec) -> Detector:
    """A detector in eval mode whose batch norms and fusion weights are no identities."""
    draw = torch.Generator().manual_seed(1)
    detector = build(spec, generator=torch.Generator().manual_seed(0)).eval()
    with torch.no_grad():
        for part in detector.modules():
            if isinstance(part, nn.BatchNorm2d):
                assert part.running_mean is not None
                assert part.running_var is not None
                part.running_mean.normal_(0, 0.1, generator=draw)
                part.running_var.uniform_(0.5, 1.5, generator=draw)
                part.weight.uniform_(0.5, 1.5, generator=draw)
            if isinstance(part, Fuse) and part.weight is not None:
                part.weight.uniform_(0.1, 2.0, generator=draw)
    return detector


@pytest.mark.parametrize("fusion", ["fast", "softmax", "sum"])
def test_the_deployed_form_has_the_same_outputs_and_no_batch_norm(fusion: str) -> None:
    detector = stirred(small(bifpn(8, 2, fusion=fusion), head_depth=2)).double()
    ready = deployed(detector)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in ready.modules())
    image = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(2)).double()
    with torch.inference_mode():
        for own, expected in zip(ready(image), detector(image), strict=True):
            for one, other in zip(own, expected, strict=True):
                assert (one - other).abs().max() <= 1e-6 * other.abs().max()


@pytest.mark.parametrize("resolution", [128, 160])
def test_onnx_runtime_gives_the_boxes_scores_and_selection_of_torch(resolution: int) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    from scaling.efficientdet.onnx_detector import difference, to_onnx

    detector = stirred(small(bifpn(8, 2), head_depth=2).with_resolution(resolution))
    content = to_onnx(detector, score_threshold=0.009, max_per_class=50).SerializeToString()
    boxes, scores = difference(detector, content)
    assert boxes <= 1e-3 * resolution
    assert scores <= 1e-4
    image = torch.randn(1, 3, resolution, resolution, generator=torch.Generator().manual_seed(2)).numpy()
    session = onnxruntime.InferenceSession(content)
    found, sure, selected = map(torch.from_numpy, session.run(None, {"image": image}))
    for label in range(2):
        own = sure[0, :, label]
        rows = ((own > 0.009) & (areas(found[0]) > 0)).nonzero().flatten()
        kept = rows[nms(found[0, rows], own[rows], torch.zeros_like(rows), threshold=0.5, most=50)]
        assert selected[selected[:, 1] == label][:, 2].tolist() == kept.tolist()


def test_an_export_leaves_the_detector_as_it_is() -> None:
    pytest.importorskip("onnx")
    from scaling.efficientdet.onnx_detector import to_onnx

    detector = build(small()).double().train()
    to_onnx(detector)
    assert detector.training
    assert {each.dtype for each in detector.parameters()} == {torch.float64}


@pytest.mark.parametrize("fusion", ["fast", "softmax", "sum"])
def test_onnx_selects_no_box_that_is_clipped_to_nothing_as_torch_does(fusion: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    from scaling.efficientdet.onnx_detector import to_onnx

    detector = build(small(bifpn(8, 1, fusion=fusion)).with_resolution(64), generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for name, parameter in detector.eval().named_parameters():
            if "predict" in name:  # boxes far outside the image, scores of all sizes
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    image = torch.randn(1, 3, 64, 64, generator=generator)
    with torch.inference_mode():
        (expected,) = detections(detector(image), detector.spec, score_threshold=0.05, max_detections=10_000)
    content = to_onnx(detector, score_threshold=0.05, max_per_class=10_000).SerializeToString()
    boxes, scores, selected = onnxruntime.InferenceSession(content).run(
        ["boxes", "scores", "selected"], {"image": image.numpy()}
    )
    found = [(label, float(scores[0, at, label]), boxes[0, at].tolist()) for _, label, at in selected.tolist()]
    assert len(found) == len(expected.scores) > 0
    for label, score, box in found:
        same = (expected.labels == label) & ((expected.scores - score).abs() < 1e-4)
        assert bool((same & ((expected.boxes - torch.tensor(box)).abs().amax(1) < 0.05)).any())


def test_the_parts_sum_up_to_the_whole() -> None:
    spec = small(bifpn(8, 2), head_depth=2)
    parts, whole = part_costs(spec)
    assert sum(params for params, _ in parts.values()) == whole.params == costs(lower(spec)).params
    assert sum(macs for _, macs in parts.values()) == whole.macs


def test_the_largest_detector_within_a_budget_is_found_and_one_that_none_meets_names_the_smallest() -> None:
    def price(spec: DetectorSpec) -> float:
        return costs(lower(spec)).macs / 1e8

    spec, ms = fitting.within(62.0, price, classes=90)
    assert (spec.name, spec.resolution) == ("efficientdet_d1", 640)
    assert ms == pytest.approx(60.03, abs=0.01)
    spec, _ = fitting.within(20.0, price, backbone="mobilenet_v2", classes=3)
    assert spec.resolution == 512
    with pytest.raises(InfeasibleBudget, match=r"smallest.*128 px"):
        fitting.within(0.1, price)


def test_a_backbone_grows_with_phi_as_b0_does() -> None:
    one, two = (fitting.detector(phi, backbone="efficientnet_b0", grown=True) for phi in (0, 2))
    assert costs(lower(two)).macs > 3 * costs(lower(one)).macs
    assert len(two.backbone.blocks) > len(one.backbone.blocks)


def test_the_command_prints_the_parts_and_writes_the_spec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_spec(tmp_path / "best.json", small_backbone())
    flags = ["--backbone", str(tmp_path / "best.json"), "--classes", "3", "--resolution", "128"]
    assert main([*flags, "--out", str(tmp_path / "d.json")]) == 0
    text = capsys.readouterr().out
    assert "class head" in text
    assert "train" in text
    spec = read_detector(tmp_path / "d.json")
    assert main([*flags, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["params"] == costs(lower(spec)).params
    assert found["fingerprint"] == spec.fingerprint()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--phi", "9"], "--phi must be an integer from 0 to 7, got 9"),
        (["--budget-ms", "80", "--phi", "1"], "leave one of them out"),
        (["--threads", "1"], "add --measure"),
        (["--resolution", "500"], "give 512"),
        (["--backbone", "no_such_network"], "no_such_network"),
    ],
)
def test_flags_that_cannot_be_are_refused(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags) == 2
    assert said in capsys.readouterr().err


def test_a_detector_starts_from_the_weights_that_lie_beside_its_backbone(tmp_path: Path) -> None:
    from searchspace.nn import build as build_network
    from searchspace.nn import network_bytes

    network = build_network(small_backbone(), generator=torch.Generator().manual_seed(3))
    write_spec(tmp_path / "best.json", small_backbone())
    (tmp_path / "best.safetensors").write_bytes(network_bytes(network, {}))
    lines: list[str] = []
    spec = fitting.detector(0, backbone=tmp_path / "best.json", classes=2, resolution=128)
    started = start(spec, backbone=tmp_path / "best.json", note=lines.append)
    state, own = network.state_dict(), started.detector.backbone.state_dict()
    assert all(torch.equal(own[key], state[key]) for key in own if not key.endswith("num_batches_tracked"))
    assert started.parent is not None
    assert "best.safetensors" in lines[-1]
    assert start(spec, backbone="mobilenet_v2", weights="none").parent is None


@pytest.mark.slow
def test_a_detector_is_timed_whole_and_by_part_and_by_onnx_runtime(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("onnxruntime")
    from scaling.efficientdet.timing import PARTS, measure, untrained

    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path))
    detector = untrained(small().with_resolution(64))
    (found,) = measure([detector], by_part=True, threads=1, seconds=0.1)
    assert list(found.parts) == ["rest", *PARTS]
    assert max(one.latency_ms for one in found.parts.values()) < found.whole.high_ms * 2
    (onnx,) = measure([detector], runtime="onnxruntime", threads=1, seconds=0.1)
    assert onnx.whole.latency_ms > 0
    assert onnx.parts == {}
