"""python -m search.netadapt: what it refuses, what it prints, what it leaves on disk."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn

import studies
from search.data import load
from search.netadapt.__main__ import main
from search.netadapt.history import StoredHistory
from search.training.augmentation import prepared
from searchspace import zoo
from searchspace.blocks import Classifier, ConvBN, MBConv
from searchspace.channels.coupling import coupling
from searchspace.channels.steps import CRITERIA, prune_group
from searchspace.cost import macs, params
from searchspace.files import read_json
from searchspace.nn import build, load_weights, network_bytes, read_about, read_weights
from searchspace.nn.weights.importance import scores
from searchspace.nn.weights.prune import prune_network
from searchspace.spec import NetworkSpec, Stage, read_spec
from studies.__main__ import main as studies_main
from tests.scripted import unbalanced_photos
from tests.search.netadapt.scripted import start, tiny, write_network

pytestmark = pytest.mark.usefixtures("one_thread", "place")

QUICK = ["--data", "digits:200", "--short-steps", "2", "--shortlist", "1", "--validation-images", "60"]
QUICK += ["--epochs", "1", "--epoch-images", "64", "--step", "0.2"]
BUDGET = str(0.85 * macs(tiny()))


def test_a_budget_in_parameters_gives_files_a_study_and_the_way_there(
    best: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = params(tiny())
    line = ["--network", str(best), "--budget-params", str(0.8 * before), *QUICK, "--family", "--study", "lean"]
    assert main([*line, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    folder = place / "studies" / "lean"
    spec = read_spec(folder / "best.json")
    assert 0.5 * before <= params(spec) <= 0.8 * before
    assert found["winner"]["params"] == params(spec)
    load_weights(spec, read_weights(folder / "best.safetensors"))
    about = read_about(folder / "best.safetensors")
    assert (about["fingerprint"], about["trained_at_px"]) == (spec.fingerprint(), 16)
    steps = len(found["iterations"])
    assert len(list((folder / "iterations").glob("*.safetensors"))) == steps  # --family
    df = studies.load("lean")
    assert len(df) == found["proposals"]
    assert int(df["accepted"].sum()) == steps - 1
    assert studies.best("lean").spec == spec
    assert len(studies.pareto(df)) >= 1  # by parameters
    kept = (folder / "best.safetensors").read_bytes()
    assert main(line) == 0
    out, err = capsys.readouterr()
    assert "training on" not in err  # nothing is trained again
    assert (folder / "best.safetensors").read_bytes() == kept
    assert "of it used" in out
    if find_spec("matplotlib"):  # the extra: plot
        assert studies_main(["lean", "--plot", str(folder / "all.svg")]) == 0
        drawn = (folder / "all.svg").read_text()
        for text in ("parameters", "stopped early", "trained", f"budget {0.8 * before:g} parameters"):
            assert f"<!-- {text} -->" in drawn
    assert "python -m scaling.compound --phi 1 --network" in out
    assert len(studies.load("lean")) == found["proposals"]


def test_the_network_of_every_step_is_a_network_like_any_other(
    best: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cost = macs(tiny())
    line = ["--network", str(best), "--budget-macs", str(0.8 * cost), *QUICK, "--epochs", "0", "--family"]
    assert main([*line, "--study", "way"]) == 0
    middle = place / "studies" / "way" / "iterations" / "001.json"
    capsys.readouterr()
    assert main(["--network", str(middle), "--budget-macs", str(0.75 * macs(read_spec(middle))), *QUICK]) == 0
    assert "of it used" in capsys.readouterr().out


@pytest.mark.slow
def test_two_workers_go_the_way_of_one(best: Path, place: Path) -> None:
    """The same history and the same weights at its end."""
    line = ["--network", str(best), "--budget-macs", BUDGET, *QUICK, "--shortlist", "2"]
    for workers in ("1", "2"):
        assert main([*line, "--workers", workers, "--study", f"by-{workers}"]) == 0
    ways: list[Any] = []
    for workers in ("1", "2"):
        folder = place / "studies" / f"by-{workers}"
        rows = [json.loads(one.to_json()) for one in StoredHistory(folder, keep_all=True).iterations]
        for row in rows:
            row.pop("checksum", None)  # of the seconds, too
            for proposal in row["proposals"]:
                del proposal["seconds"]
        ways.append((rows, (folder / "best.safetensors").read_bytes()))
    assert len(ways[0][0]) > 1
    assert ways[0] == ways[1]


@pytest.mark.parametrize("criterion", ["l2", "bn", "taylor"])
def test_channels_stay_by_the_criterion_that_was_asked_for(criterion: str, place: Path) -> None:
    """The weights after one iteration are those of the channels that score highest, which differ by criterion."""
    network, images = start().module, load("digits:200", resolution=32)
    for name, parameter in network.named_parameters():  # scales that tell channels apart
        if name.endswith("norm.weight"):
            parameter.data.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(len(name)))
    (place / "tiny.json").write_text(tiny().to_json())
    about = {"trained_at_px": 16, "split_seed": 0, "classes": list("0123456789")}
    (place / "tiny.safetensors").write_bytes(network_bytes(network, about))
    line = ["--network", "tiny.json", "--budget-macs", str(0.95 * macs(tiny())), *QUICK, "--short-steps", "0"]
    line += ["--epochs", "0", "--moves", "channels", "--family", "--step", "0.05", "--study", "by"]
    assert main([*line, "--criterion", criterion]) == 0
    accepted = StoredHistory(place / "studies" / "by", keep_all=True).iterations[1].accepted
    assert accepted is not None
    assert accepted.channels is not None
    kept = read_weights(place / "studies" / "by" / "iterations" / "001.safetensors")
    for at in range(0, len(images.train), 64):  # for taylor
        pixels, labels = (torch.tensor(each[at : at + 64]) for each in (images.train.pixels, images.train.labels))
        torch.autograd.backward(nn.functional.cross_entropy(network(prepared(pixels, network, 16)), labels))
    group = next(group for group in coupling(tiny()) if group.name == accepted.where)
    same = []
    for each in CRITERIA:
        step = prune_group(tiny(), group, accepted.channels, scores(network, group, each))
        state = prune_network(network, step, gates={}).state_dict()
        same += [each] if all(torch.equal(tensor, state[name]) for name, tensor in kept.items()) else []
    assert same == [criterion]


def test_a_group_that_cannot_be_pruned_is_named_with_the_reason(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slim = MBConv(expand_channels=1, out_channels=8, stride=2, activation="relu")
    wide = MBConv(expand_channels=24, out_channels=8, activation="relu")
    stages = (
        Stage("stem", (ConvBN(out_channels=8, kernel=3, stride=2),)),
        Stage("body", (slim, wide)),
        Stage("classifier", (Classifier(classes=10),)),
    )
    spec = NetworkSpec("slim", 32, stages)
    write_network(place / "slim.json", spec, {})
    line = ["--network", "slim.json", "--budget-macs", str(0.8 * macs(spec)), *QUICK, "--moves", "channels"]
    line += ["--proxy-resolution", "16", "--study", "slim"]
    assert main([*line, "--json"]) == 0
    ((name, why),) = json.loads(capsys.readouterr().out)["fixed"].items()
    assert name == "body.0.expand"
    assert main(line) == 0
    assert f"{name} is not pruned: {why}" in capsys.readouterr().err
    left = read_spec(place / "studies" / "slim" / "best.json").stages[1].blocks[0]
    assert isinstance(left, MBConv)
    assert left.expand_channels == 1


def test_a_budget_that_was_a_mistake_does_not_bind_the_study(best: Path) -> None:
    assert main(["--network", str(best), "--budget-macs", "10", *QUICK, "--study", "one"]) == 2
    assert main(["--network", str(best), "--budget-macs", BUDGET, *QUICK, "--study", "one"]) == 0


def test_a_budget_above_the_start_is_nothing_to_do_and_nothing_to_draw(
    best: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--network", str(best), "--budget-macs", str(2 * macs(tiny())), *QUICK]) == 0
    assert "nothing to do" in capsys.readouterr().out
    pytest.importorskip("matplotlib")
    assert main(["--network", str(best), "--budget-macs", "1e12", *QUICK, "--plot", "way.svg"]) == 0
    out, err = capsys.readouterr()
    assert "nothing to do" in out
    assert "way.svg is not drawn" in err


def test_the_whole_way_is_drawn(best: Path, place: Path) -> None:
    pytest.importorskip("matplotlib")
    assert main(["--network", str(best), "--budget-macs", BUDGET, *QUICK, "--plot", "way.png"]) == 0
    assert (place / "way.png").read_bytes().startswith(b"\x89PNG")


def test_a_published_networks_weights_are_of_the_datas_classes(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the example of --help says: no metadata of ours, no --classes."""
    for classes in (10, 1000):
        network = start(zoo.get("mobilenet_v3_small", classes=classes)).module
        (place / f"{classes}.safetensors").write_bytes(network_bytes(network, {}))
    budget = str(0.9 * macs(zoo.get("mobilenet_v3_small", classes=10)))
    line = ["--network", "mobilenet_v3_small", "--budget-macs", budget, *QUICK, "--short-steps", "0", "--epochs", "0"]
    line += ["--proxy-resolution", "32", "--moves", "block", "--study", "v3"]
    assert main([*line, "--weights", "10.safetensors"]) == 0
    assert "of it used" in capsys.readouterr().out
    assert studies.best("v3").spec.classes == 10
    assert main([*line, "--weights", "1000.safetensors"]) == 2
    err = capsys.readouterr().err
    assert (
        "the weights know 1000 classes, the images have 10 classes (0, 1, 2, ...): the network gets a new head" in err
    )
    assert "give --minutes in its place" in err


def test_what_an_older_version_finished_is_not_trained_again(
    best: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its record knows no --epoch-images. With another number of them it is trained once more."""
    line = ["--network", str(best), "--budget-macs", BUDGET, *QUICK, "--study", "old"]
    usual = [*line, "--epoch-images", "1280"]  # the default
    assert main(usual) == 0
    assert "1 epochs of 200 images" in capsys.readouterr().err
    done = place / "studies" / "old" / "best.done.json"
    kept = read_json(done)
    del kept["key"]["epoch_images"]
    done.write_text(json.dumps(kept))
    assert main(usual) == 0
    assert "training on" not in capsys.readouterr().err
    assert main(line) == 0
    assert "1 epochs of 64 images" in capsys.readouterr().err


def test_a_long_training_that_ends_before_its_result_is_kept_is_not_done_again(best: Path, place: Path) -> None:
    line = ["--network", str(best), "--budget-macs", BUDGET, *QUICK, "--study", "cut"]
    folder = place / "studies" / "cut"
    (folder / "best.done.json").mkdir(parents=True)  # cannot be written
    (folder / "best.done.json" / "full").touch()
    assert main(line) == 2
    checkpoints = [*folder.glob("best-*.ckpt")]
    assert checkpoints  # the same command goes on from it
    before = checkpoints[0].stat().st_mtime_ns
    assert main(line) == 2
    assert checkpoints[0].stat().st_mtime_ns == before
    (folder / "best.done.json" / "full").unlink()
    (folder / "best.done.json").rmdir()
    assert main(line) == 0
    assert not [*folder.glob("best-*.ckpt")]


def test_a_network_that_the_images_do_not_fit_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    squeeze = zoo.get("squeezenet1_1", classes=10).with_resolution(64)
    write_network(place / "squeeze.json", squeeze, {})
    (place / "grey.json").write_text(NetworkSpec("grey", 32, tiny().stages, in_channels=1).to_json())
    assert main(["--network", "grey.json", "--budget-macs", "1e6"]) == 2
    assert "--network must be one for images of 3 channels" in capsys.readouterr().err
    assert main(["--network", "squeeze.json", "--budget-macs", "1e6", "--proxy-resolution", "16"]) == 2
    assert "--proxy-resolution must leave every kernel" in capsys.readouterr().err


def make_pairs(place: Path) -> None:
    """A folder of two classes of grey and less grey images."""
    for shade, name in enumerate(("a", "b")):
        (place / "pairs" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (16, 16), (number, 90 * shade, 0)).save(place / "pairs" / name / f"{number}.png")


MISTAKES = {
    "": "give one budget",
    "--budget-ms 3 --budget-macs 1e6": "give one budget",
    "--budget-macs -1": "--budget-macs must be a number above 0, got -1",
    "--budget-macs 1000": "this network comes down to",
    "--budget-macs 1e6 --latency table.json": "--latency belongs to a budget in ms",
    "--budget-macs 1e6 --moves width": "--moves must be one or more of channels, se, kernel, block",
    "--budget-macs 1e6 --moves ,": "--moves must be one or more of channels, se, kernel, block",
    "--budget-macs 1e6 --criterion l1": "--criterion must be one of l2, bn, taylor",
    "--budget-macs 1e6 --step 2": "--step must be a share above 0 and below 1, got 2",
    "--budget-macs 1e6 --epoch-images 0": "--epoch-images must be an integer of at least 1, got 0",
    "--budget-macs 1e6 --workers 0": "--workers must be an integer from 1 to 1024, got 0",
    "--budget-macs 1e6 --weights nowhere.safetensors": "cannot read the weights file nowhere.safetensors",
    "--budget-macs 1e6 --weights other.safetensors": "give the files that belong together",
    "--budget-macs 1e6 --weights broken.safetensors": "weights must be finite, ",
    "--budget-macs 1e6 --seed 3": "the splits of --seed 0, got --seed 3",
    "--budget-macs 1e6 --data pairs": "one with a new head is fine-tuned by minutes, got --epochs 1",
    "--budget-macs 1e6 --replay one": "--replay gives the outcomes of timing tests",
    "--budget-macs 1e6 --runtime eager": "--runtime times a network for a budget in ms",
    "--budget-ms 3 --latency tiny.json": "cannot use tiny.json",
    "--budget-macs 1e6 --weights nobody": "names of the listing, got 'nobody'",
    "--budget-macs 1e6 --weights none": "a network is pruned with trained weights, got --weights none",
    "--budget-macs 1e6 --minutes 3": "the training is by --minutes or by --epochs, got both",
    "--budget-macs 1e6 --resolution 2": "--resolution must leave every kernel of tiny room, got 2 px",
    "--network nobody.json --budget-macs 1e6": "nobody.json",
    # told before images are read, which are nowhere
    "--budget-ms 3 --replay nobody --data /nowhere": "there is no study 'nobody'",
    "--budget-macs 1e6 --plot /proc/none/way.png --data /nowhere": "cannot write /proc/none/way.png",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(
    line: str, best: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "--plot" in line:
        pytest.importorskip("matplotlib")
    network = build(tiny(), generator=torch.Generator().manual_seed(0))
    Path("other.safetensors").write_bytes(network_bytes(network, {"fingerprint": "0123456789abcdef"}))
    network.get_submodule("stem.0.conv").get_parameter("weight").data[0] = float("nan")
    Path("broken.safetensors").write_bytes(network_bytes(network, {}))
    if "pairs" in line:
        make_pairs(place)
    flags = line.split()
    network_flags = [] if "--network" in flags else ["--network", "tiny.json"]
    assert main([*QUICK, *network_flags, *flags]) == 2  # of a flag that is given twice, the last counts
    out, err = capsys.readouterr()
    assert out == ""
    assert MISTAKES[line] in err.splitlines()[-1]
    assert "Traceback" not in err


def test_where_classes_are_of_very_different_sizes_balanced_accuracy_stands_beside_the_pruned_networks(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, spec = unbalanced_photos(place / "photos"), tiny().with_classes(2)
    write_network(place / "two.json", spec, {"trained_at_px": 32, "split_seed": 0, "classes": ["few", "many"]})
    line = ["--network", str(place / "two.json"), "--budget-params", str(0.8 * params(spec)), *QUICK[2:]]
    assert main([*line, "--data", str(photos), "--class-weights", "balanced", "--study", "lean", "--json"]) == 0
    winner = json.loads(capsys.readouterr().out)["winner"]
    assert 0 <= winner["test_balanced_accuracy"] <= 1
    assert winner["largest_class"][0] == "many"
    assert main([*line, "--data", str(photos), "--class-weights", "balanced", "--study", "lean"]) == 0
    assert "the mean over the classes, of which 'many' has" in capsys.readouterr().out
