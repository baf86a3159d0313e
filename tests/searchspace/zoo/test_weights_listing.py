"""The listing of published weights: every row is a network of the zoo, and the command says where it is."""

import json
from pathlib import Path

import pytest

from searchspace.cost import params
from searchspace.zoo.__main__ import main
from searchspace.zoo.published import find, listing


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("tf_efficientnet_lite4.in1k", 13.01),
        ("mobilenetv1_125.ra4_e3600_r224_in1k", 6.27),
        ("mobilenetv2_120d.ra_in1k", 5.83),
        ("mobilenetv3_small_050.lamb_in1k", 1.59),
        ("tf_mobilenetv3_large_075.in1k", 3.99),
        ("semnasnet_075.rmsp_in1k", 2.91),
        ("mnasnet_small.lamb_in1k", 2.03),
        ("fbnetc_100.rmsp_in1k", 5.57),
        ("spnasnet_100.rmsp_in1k", 4.42),
        ("tf_efficientnet_b7.ns_jft_in1k", 66.35),
    ],
)
def test_a_row_has_as_many_parameters_as_timm_prints(name: str, millions: float) -> None:
    """results-imagenet.csv and the release notes of huggingface/pytorch-image-models."""
    assert params(find(name).spec()) / 1e6 == pytest.approx(millions, abs=0.0051)


def test_every_row_is_of_a_network_of_the_zoo_and_found_by_its_name() -> None:
    for row in listing():
        assert find(row.name) is row
        assert row.spec().preprocessing == row.preprocessing
        assert row.licence


def test_the_networks_name_alone_means_its_first_row() -> None:
    assert find("efficientnet_lite0").package
    assert find("mobilenet_v2").name == "mobilenetv2_100.ra_in1k"
    assert find("mobilenetv3_small_075").name == "mobilenetv3_small_075.lamb_in1k"


def test_the_command_lists_them_for_a_person_and_for_a_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path))
    cached = tmp_path / "models--timm--mobilenetv2_100.ra_in1k" / "snapshots" / "abc" / "model.safetensors"
    cached.parent.mkdir(parents=True)
    cached.touch()
    assert main(["--weights"]) == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("mobilenetv2_100.ra_in1k"))
    assert " ".join(line.split()) == "mobilenetv2_100.ra_in1k 3.50 M 73.0 224 imagenet, bicubic apache-2.0 hub yes"
    assert main(["--weights", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["weights"]}
    assert rows["mobilenetv2_100.ra_in1k"]["source"] == "hub timm/mobilenetv2_100.ra_in1k@abc"
    assert rows["mobilenetv2_050.lamb_in1k"]["source"] is None


def test_a_network_beside_the_list_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mobilenet_v2", "--weights", "--width", "0.5"]) == 2
    assert "got mobilenet_v2 --width too" in capsys.readouterr().err
