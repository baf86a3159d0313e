"""A network with a new head is fine-tuned, pruned and handed over, all by minutes."""

import json
from pathlib import Path

import pytest

from search.netadapt.__main__ import main
from searchspace.cost import macs
from searchspace.nn import network_bytes, read_about
from searchspace.preprocessing import Preprocessing
from searchspace.spec import read_spec
from tests.search.netadapt.scripted import start, tiny

pytestmark = pytest.mark.usefixtures("one_thread", "place")

HOW = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def test_weights_of_other_classes_get_a_new_head_and_keep_their_preprocessing(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the spec, the weights' file, the summary and what is printed; the same command again does nothing anew."""
    spec = tiny().with_classes(7)
    (place / "seven.json").write_text(spec.to_json())
    (place / "seven.safetensors").write_bytes(network_bytes(start(spec).module, {"preprocessing": HOW.to_dict()}))
    line = ["--network", "seven.json", "--data", "digits:100", "--budget-macs", str(0.9 * macs(tiny()))]
    line += ["--minutes", "0.05", "--proxy-resolution", "16", "--step", "0.2", "--study", "new"]
    assert main(line) == 0
    out, err = capsys.readouterr()
    assert "the weights know 7 classes, the images have 10 classes (0, 1, 2, ...): the network gets a new head" in err
    assert "fine-tuned: " in err
    assert f"input      {HOW.sentence()}, at 32 px" in out
    folder = place / "studies" / "new"
    found, about = read_spec(folder / "best.json"), read_about(folder / "best.safetensors")
    assert (found.classes, found.preprocessing, macs(found) < 0.9 * macs(tiny())) == (10, HOW, True)
    assert (about["deployed_at_px"], about["trained_at_px"]) == (32, 16)
    assert about["preprocessing"] == HOW.to_dict()
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["preprocessing"] == HOW.to_dict()
    assert (summary["deployed_at"], summary["winner"]["test_images"]) == (32, 60)
    kept = (folder / "best.safetensors").read_bytes()
    assert main(line) == 0
    assert "fine-tuned" not in capsys.readouterr().err
    assert (folder / "best.safetensors").read_bytes() == kept


def test_a_budget_out_of_reach_is_told_before_anything_is_fine_tuned(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tiny().with_classes(7)
    (place / "seven.json").write_text(spec.to_json())
    (place / "seven.safetensors").write_bytes(network_bytes(start(spec).module, {}))
    line = ["--network", "seven.json", "--data", "digits:100", "--budget-macs", "10", "--minutes", "100"]
    assert main(line) == 2
    assert "this network comes down to" in capsys.readouterr().err
