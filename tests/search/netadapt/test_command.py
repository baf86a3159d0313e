"""python -m search.netadapt: what it refuses, what it prints, what it leaves on disk."""

import json
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

import studies
from search.console import Progress
from search.latency.cache import Cache
from search.latency.runtimes.eager import Eager
from search.netadapt.__main__ import main
from search.netadapt.history import History, Iteration
from search.netadapt.inputs import table_of
from search.netadapt.job import _replayed
from search.netadapt.pruner import Refiner
from search.netadapt.settings import Settings
from search.netadapt.short_training import Serial, Workers, short_recipe
from search.netadapt.timing import DeviceTimer
from search.netadapt.variants import variants
from search.training.trainer import Recipe
from searchspace import zoo
from searchspace.blocks import Classifier, ConvBN, MBConv
from searchspace.channels.groups import ChannelGroup
from searchspace.cost import layer_params_macs, macs, params
from searchspace.errors import InfeasibleBudget, InvalidArgument, PhinasError
from searchspace.files import write_atomic
from searchspace.graph import lower
from searchspace.latency.table import Correction, LatencyTable
from searchspace.nn import Network, build, load_weights, network_bytes, read_about, read_weights
from searchspace.nn.weights.importance import scores
from searchspace.serialize import read_spec
from searchspace.spec import NetworkSpec, Stage
from studies.__main__ import main as studies_main

pytestmark = pytest.mark.usefixtures("one_thread")

QUICK = ["--short-steps", "2", "--shortlist", "1", "--validation-images", "60", "--epochs", "1", "--step", "0.2"]


@pytest.fixture(autouse=True)
def place(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Studies and files in a folder of the test's own; one cache of small images for all of them."""
    cache = tmp_path_factory.getbasetemp() / "netadapt-cache"
    monkeypatch.setenv("PHINAS_CACHE", str(cache))
    monkeypatch.setenv("PHINAS_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setattr("search.data.digits.DEFAULT_COUNTS", {"train": 200, "validation": 100, "test": 100})
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def best(place: Path, smallest: Callable[[Path, dict[str, object]], None]) -> Path:
    """A small network's files, as a search writes them."""
    path = place / "small.json"
    smallest(path, {"trained_at_px": 16, "split_seed": 0, "classes": list("0123456789")})
    return path


def summary_of(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_budget_in_parameters_gives_files_a_study_and_the_way_there(
    best: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = params(read_spec(best))
    line = ["--network", str(best), "--budget-params", str(0.8 * before), *QUICK, "--family", "--study", "lean"]
    assert main([*line, "--json"]) == 0
    found = summary_of(capsys)
    folder = place / "studies" / "lean"
    spec = read_spec(folder / "best.json")
    assert 0.75 * before <= params(spec) <= 0.8 * before
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
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.netadapt.job.Trainer", None)  # nothing is trained again
        assert main(line) == 0
    out = capsys.readouterr().out
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
    cost = macs(read_spec(best))
    assert main(["--network", str(best), "--budget-macs", str(0.7 * cost), *QUICK, "--family", "--study", "way"]) == 0
    middle = place / "studies" / "way" / "iterations" / "001.json"
    capsys.readouterr()
    assert main(["--network", str(middle), "--budget-macs", str(0.75 * cost), *QUICK]) == 0
    assert "of it used" in capsys.readouterr().out


def way_of(folder: Path) -> list[object]:
    """Every iteration of a study, without what time took."""
    rows = [json.loads(one.to_json()) for one in History(folder, keep_all=True).iterations]
    for row in rows:
        for tried in row["tried"]:
            del tried["seconds"]
    return rows


def test_two_workers_go_the_way_of_one(best: Path, place: Path) -> None:
    line = ["--network", str(best), "--budget-macs", str(0.8 * macs(read_spec(best))), *QUICK, "--shortlist", "2"]
    for workers in ("1", "2"):
        assert main([*line, "--data", "digits", "--workers", workers, "--study", f"by-{workers}"]) == 0
    one, two = (way_of(place / "studies" / f"by-{workers}") for workers in (1, 2))
    assert len(one) > 1
    assert one == two


@pytest.mark.parametrize("criterion", ["l2", "bn", "taylor"])
def test_channels_stay_by_the_criterion_that_was_asked_for(
    criterion: str, best: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def listens(network: Network, group: ChannelGroup, name: str) -> list[float]:
        asked.append(name)
        return scores(network, group, name)

    monkeypatch.setattr("search.netadapt.pruner.scores", listens)
    line = ["--network", str(best), "--budget-macs", str(0.85 * macs(read_spec(best))), *QUICK, "--moves", "channels"]
    assert main([*line, "--criterion", criterion, "--study", "by"]) == 0
    assert set(asked) == {criterion}
    steps = way_of(place / "studies" / "by")
    assert len(steps) > 1


def test_mobilenet_v3s_variant_takes_small_steps_alike(best: Path, place: Path) -> None:
    cost = macs(read_spec(best))
    line = ["--network", str(best), "--budget-macs", str(0.96 * cost), *QUICK[:-2], "--algorithm", "mobilenetv3"]
    assert main([*line, "--moves", "channels", "--study", "v3"]) == 0
    iterations = History(place / "studies" / "v3", keep_all=True).iterations
    assert len(iterations) > 2
    for before, after in pairwise(iterations):
        assert after.target == pytest.approx(max(before.cost - 0.01 * cost, 0.96 * cost))


def test_one_descent_leaves_a_network_for_each_budget(
    best: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = phone(read_spec(best))
    (place / "phone.json").write_text(table.to_json())
    budgets = [round(share * table.latency_ms(lower(read_spec(best))), 3) for share in (0.9, 0.8, 0.7)]
    line = ["--network", str(best), "--latency", "phone.json", "--budgets", ",".join(map(str, budgets)), *QUICK]
    assert main([*line, "--step", "0.1", "--study", "curve", "--json"]) == 0
    found = summary_of(capsys)["budgets"]
    assert [one["budget"] for one in found] == budgets
    for one in found:
        spec = read_spec(Path(one["network"]))
        load_weights(spec, read_weights(Path(one["network"]).with_suffix(".safetensors")))
        assert one["cost"] == pytest.approx(table.predict(lower(spec)).latency_ms)
        assert 0.8 * one["budget"] <= one["cost"] <= one["budget"]
        assert 0 < one["test_accuracy"] < 1
    assert [one["iteration"] for one in found] == sorted({one["iteration"] for one in found})


def test_a_descent_on_this_device_ends_within_the_measured_budget(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With a table that is of this machine by its name, though its times are not: every cut is timed."""
    spec = zoo.get("mobilenet_v2", width=0.5, classes=10, resolution=64)
    (place / "v2.json").write_text(spec.to_json())
    network = build(spec, generator=torch.Generator().manual_seed(0))
    (place / "v2.safetensors").write_bytes(network_bytes(network, {"trained_at_px": 32}))
    table = replace(phone(spec), identity=Eager().identity(64))
    (place / "here.json").write_text(table.to_json())
    start = DeviceTimer(table, seed=0).alone(spec).latency_ms
    line = ["--network", "v2.json", "--latency", "here.json", "--budget-ms", str(0.75 * start), *QUICK]
    assert main([*line, "--moves", "block", "--study", "here", "--json"]) == 0
    found = summary_of(capsys)
    assert (found["timed"], found["held"]) == (True, "measured")
    assert found["winner"]["measured_latency_ms"] <= 0.75 * start
    steps = found["iterations"][1:]
    assert steps
    assert all(step["ratio"] <= 1 for step in steps)


def test_a_group_that_cannot_be_pruned_is_named_with_the_reason(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slim = MBConv(expand_channels=1, out_channels=8, stride=2, activation="relu")
    stages = (
        Stage("stem", (ConvBN(out_channels=8, kernel=3, stride=2),)),
        Stage("body", (slim, replace(slim, expand_channels=24, stride=1))),
        Stage("classifier", (Classifier(classes=10),)),
    )
    spec = NetworkSpec("slim", 32, stages)
    (place / "slim.json").write_text(spec.to_json())
    network = build(spec, generator=torch.Generator().manual_seed(0))
    (place / "slim.safetensors").write_bytes(network_bytes(network, {}))
    line = ["--network", "slim.json", "--budget-macs", str(0.8 * macs(spec)), *QUICK, "--moves", "channels"]
    line += ["--proxy-resolution", "16", "--study", "slim"]
    assert main([*line, "--json"]) == 0
    ((name, why),) = summary_of(capsys)["fixed"].items()
    assert name == "body.0.expand"
    assert main(line) == 0
    assert f"{name} is not pruned: {why}" in capsys.readouterr().err
    left = read_spec(place / "studies" / "slim" / "best.json").stages[1].blocks[0]
    assert isinstance(left, MBConv)
    assert left.expand_channels == 1


def test_a_budget_that_was_a_mistake_does_not_bind_the_study(best: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--network", str(best), "--budget-macs", "10", *QUICK, "--study", "one"]) == 2
    budget = str(0.9 * macs(read_spec(best)))
    assert main(["--network", str(best), "--budget-macs", budget, *QUICK, "--study", "one"]) == 0


def test_a_budget_above_the_start_is_nothing_to_do(best: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for budget in (str(2 * macs(read_spec(best))), "1e12"):
        assert main(["--network", str(best), "--budget-macs", budget, *QUICK]) == 0
        assert "nothing to do" in capsys.readouterr().out


def test_a_plot_of_nothing_done_is_said_not_to_be_drawn(best: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    assert main(["--network", str(best), "--budget-macs", "1e12", *QUICK, "--plot", "way.svg"]) == 0
    assert "way.svg is not drawn" in capsys.readouterr().err


def test_the_whole_way_is_drawn(best: Path, place: Path) -> None:
    pytest.importorskip("matplotlib")
    budget = str(0.9 * macs(read_spec(best)))
    assert main(["--network", str(best), "--budget-macs", budget, *QUICK, "--plot", "way.png"]) == 0
    assert (place / "way.png").read_bytes().startswith(b"\x89PNG")


def test_a_published_networks_weights_are_of_the_datas_classes(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As the example of --help says: no metadata of ours, no --classes."""
    spec = zoo.get("mobilenet_v3_small", classes=10)
    network = build(spec, generator=torch.Generator().manual_seed(0))
    (place / "mine.safetensors").write_bytes(network_bytes(network, {}))
    budget = str(0.9 * macs(spec))
    line = ["--network", "mobilenet_v3_small", "--weights", "mine.safetensors", "--budget-macs", budget]
    assert (
        main([*line, *QUICK, "--short-steps", "0", "--epochs", "0", "--proxy-resolution", "32", "--study", "v3"]) == 0
    )
    assert "of it used" in capsys.readouterr().out
    assert studies.best("v3").spec.classes == 10


def test_a_published_networks_weights_of_other_classes_than_the_data_are_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = build(zoo.get("mobilenet_v3_small"), generator=torch.Generator().manual_seed(0))
    (place / "imagenet.safetensors").write_bytes(network_bytes(network, {}))
    line = ["--network", "mobilenet_v3_small", "--weights", "imagenet.safetensors", "--budget-macs", "40e6"]
    assert main([*line, *QUICK, "--proxy-resolution", "32"]) == 2
    assert "the network tells 1000 classes apart and the data have 10" in capsys.readouterr().err


def test_what_an_older_version_finished_is_not_trained_again(
    best: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its record knows no --epoch-images."""
    budget = str(0.9 * macs(read_spec(best)))
    line = ["--network", str(best), "--budget-macs", budget, *QUICK, "--study", "old"]
    assert main(line) == 0
    done = place / "studies" / "old" / "best.done.json"
    kept = json.loads(done.read_text())
    del kept["key"]["epoch_images"]
    done.write_text(json.dumps(kept))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("search.netadapt.job.Trainer", None)
        assert main(line) == 0
    assert main([*line, "--epoch-images", "64"]) == 0
    assert "1 epochs of 64 images" in capsys.readouterr().err


@pytest.mark.parametrize(("pixels", "has"), [(64, True), (96, False)])
def test_the_table_is_that_of_the_networks_own_resolution_if_there_is_one(
    pixels: int, has: bool, best: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a search at that resolution leaves it behind; else of 224 px."""
    monkeypatch.setenv("PHINAS_CACHE", str(place / "tables"))
    spec = read_spec(best).with_resolution(64)
    identity = Eager().identity(64)
    Cache(place / "tables", identity, note=lambda _: None).save(replace(phone(spec), identity=identity))
    asked: list[int] = []
    monkeypatch.setattr("search.netadapt.inputs.table_for", lambda space, **_: asked.append(space.resolution))
    settings = Settings(network=best, weights=best.with_suffix(".safetensors"), unit="ms", budgets=(3.0,))
    table_of(settings, spec.with_resolution(pixels), Progress(lambda: None, quiet=True))
    assert asked == [64 if has else 224]


def test_an_epoch_of_the_long_training_is_as_many_images_as_asked_for(
    best: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Recipe.epoch_images == 1280  # as --help says
    budget = str(0.9 * macs(read_spec(best)))
    line = ["--network", str(best), "--budget-macs", budget, *QUICK]
    assert main(line) == 0
    assert "1 epochs of 200 images" in capsys.readouterr().err
    assert main([*line, "--epoch-images", "64"]) == 0  # trained on once more, from the same descent
    assert "1 epochs of 64 images" in capsys.readouterr().err


def make_pairs(place: Path) -> str:
    """A folder of two classes of grey and less grey images."""
    from PIL import Image

    for shade, name in enumerate(("a", "b")):
        (place / "pairs" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (16, 16), (number, 90 * shade, 0)).save(place / "pairs" / name / f"{number}.png")
    return str(place / "pairs")


def test_workers_train_what_this_process_would_with_as_many_threads(best: Path, place: Path) -> None:
    from search.data import load

    spec, source = read_spec(best), make_pairs(place)
    recipe = short_recipe(Recipe(batch_size=4), 2, 1000)
    networks, again = (
        [build(spec, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)] for _ in range(2)
    )
    with Workers(1, source=source, resolution=16, seed=0, recipe=recipe, validation_images=50) as workers:
        found = {one.place: one.network.state_dict() for one in workers(networks, seed=7)}
    assert found.keys() == {0, 1}
    for one in Serial(load(source, resolution=16), recipe, 50)(again, seed=7):
        for name, tensor in one.network.state_dict().items():
            assert torch.equal(found[one.place][name], tensor), name


def test_workers_that_are_gone_already_are_told_like_those_that_end(
    best: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise BrokenProcessPool

    monkeypatch.setattr("search.netadapt.short_training.ProcessPoolExecutor.submit", broken)
    network = build(read_spec(best), generator=torch.Generator().manual_seed(0))
    with (
        Workers(1, source=None, resolution=16, seed=0, recipe=Recipe(), validation_images=50) as workers,
        pytest.raises(PhinasError, match="fewer --workers"),
    ):
        next(workers([network], seed=0))


def phone(spec: NetworkSpec, *, scale: float = 1.0) -> LatencyTable:
    """A table of a device that is not here, on which time goes with multiply-adds."""
    layers = [layer for each in (spec, *variants(spec, 2)) for layer in lower(each).layers]
    kernels = {layer.signature: scale * (1e-3 + 1e-6 * layer_params_macs(layer)[1]) for layer in layers}
    return LatencyTable({**Eager().identity(64), "machine": "a phone"}, 1.0, kernels, Correction(1.0, 0.1, 0.03))


def test_a_study_goes_on_with_the_table_that_it_was_begun_with(
    best: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = phone(read_spec(best))
    (place / "phone.json").write_text(table.to_json())
    line = ["--network", str(best), "--latency", "phone.json", *QUICK, "--epochs", "0", "--study", "phone"]
    line += ["--budget-ms", str(0.85 * table.latency_ms(lower(read_spec(best))))]
    assert main(line) == 0
    assert main(line) == 0
    (place / "phone.json").write_text(phone(read_spec(best), scale=0.99).to_json())
    capsys.readouterr()
    assert main(line) == 2
    assert "was made with other settings: table is" in capsys.readouterr().err


def test_where_nothing_is_measured_the_prediction_keeps_the_budget_with_95_percent(
    best: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = phone(read_spec(best))
    (place / "phone.json").write_text(table.to_json())
    budget = 0.85 * table.latency_ms(lower(read_spec(best)))
    line = ["--network", str(best), "--latency", "phone.json", *QUICK, "--epochs", "0", "--study", "phone"]
    assert main([*line, "--budget-ms", str(budget), "--json"]) == 0
    found = summary_of(capsys)
    winner, again = found["winner"], table.predict(lower(read_spec(place / "studies" / "phone" / "best.json")))
    assert found["held"] == "predicted"
    assert winner["predicted_latency_ms"] == pytest.approx(again.latency_ms)
    assert winner["cost"] == pytest.approx(again.latency_ms)
    assert again.estimated  # pruned to counts that the table does not hold: less sure
    assert 0.9 * table.prediction_limit_ms(budget, 0.95) <= again.latency_ms <= table.prediction_limit_ms(budget, 0.95)
    assert again.high_ms <= budget
    assert (winner["predicted_low_ms"], winner["predicted_high_ms"]) == pytest.approx((again.low_ms, again.high_ms))
    assert main([*line, "--budget-ms", str(budget)]) == 0
    told = f"({again.low_ms:.2f} to {again.high_ms:.2f} in 9 of 10 networks), {len(again.estimated)} of its layers est"
    assert told in capsys.readouterr().out


def test_outcomes_of_timing_tests_are_replayed_only_where_networks_are_timed(
    best: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = read_spec(best)
    table = phone(spec)
    (place / "phone.json").write_text(table.to_json())
    line = ["--network", str(best), "--latency", "phone.json", *QUICK, "--epochs", "0"]
    line += ["--budget-ms", str(0.85 * table.latency_ms(lower(spec)))]
    assert main([*line, "--study", "one"]) == 0
    capsys.readouterr()
    assert main([*line, "--study", "two", "--replay", "one"]) == 2
    assert "nothing is timed here" in capsys.readouterr().err
    other = History(place / "studies" / "one", keep_all=True)
    with pytest.raises(InvalidArgument, match="must name a refinement of the same network"):
        _replayed(other, DeviceTimer(replace(table, identity=Eager().identity(64)), seed=0), zoo.get("mobilenet_v1"))


def test_what_became_of_the_budgets_is_told_where_the_smallest_is_missed(
    best: Path, place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = phone(read_spec(best))
    (place / "phone.json").write_text(table.to_json())
    first, last = (round(share * table.latency_ms(lower(read_spec(best))), 3) for share in (0.85, 0.7))
    iterate = Refiner._iterate

    def fails_late(refiner: Refiner, number: int, network: Network) -> tuple[Iteration, Network]:
        if refiner._budgets_left() == [last]:
            raise InfeasibleBudget("nothing is faster")
        return iterate(refiner, number, network)

    monkeypatch.setattr(Refiner, "_iterate", fails_late)
    line = ["--network", str(best), "--latency", "phone.json", "--budgets", f"{first},{last}", *QUICK, "--epochs", "0"]
    assert main([*line, "--json"]) == 2
    found = summary_of(capsys)
    assert [one["budget"] for one in found["budgets"]] == [first]
    assert found["missed"] == {"budgets": [last], "why": "nothing is faster"}
    assert main(line) == 2
    out, err = capsys.readouterr()
    assert f"missed     {last:.2f} ms: nothing is faster" in out
    assert "nothing is faster" in err


def test_a_long_training_that_ends_before_its_result_is_kept_is_not_done_again(
    best: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path, data: str | bytes) -> None:
        if path.name.endswith(".done.json"):
            raise KeyboardInterrupt
        write_atomic(path, data)

    budget = str(0.9 * macs(read_spec(best)))
    line = ["--network", str(best), "--budget-macs", budget, *QUICK, "--study", "cut"]
    monkeypatch.setattr("search.netadapt.job.write_atomic", killed)
    assert main(line) == 130
    assert [*(place / "studies" / "cut").glob("best-*.ckpt")]  # the same command goes on from it
    monkeypatch.setattr("search.netadapt.job.write_atomic", write_atomic)
    assert main(line) == 0
    assert not [*(place / "studies" / "cut").glob("best-*.ckpt")]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--budget-ms 3 --replay nobody", "there is no study 'nobody'"),
        ("--budget-macs 1e6 --plot /proc/none/way.png", "cannot write /proc/none/way.png"),
    ],
)
def test_a_mistake_is_told_before_images_are_read(
    flags: str, message: str, best: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr("search.netadapt.job.read_given", None)
    assert main(["--network", str(best), *flags.split()]) == 2
    assert message in capsys.readouterr().err


def test_a_network_that_the_images_do_not_fit_is_refused(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    squeeze = zoo.get("squeezenet1_1", classes=10).with_resolution(64)
    grey = replace(squeeze, in_channels=1)
    for name, spec in (("squeeze", squeeze), ("grey", grey)):
        (place / f"{name}.json").write_text(spec.to_json())
        network = build(spec, generator=torch.Generator().manual_seed(0))
        (place / f"{name}.safetensors").write_bytes(network_bytes(network, {}))
    assert main(["--network", "grey.json", "--budget-macs", "1e6"]) == 2
    assert "--network must be one for images of 3 channels" in capsys.readouterr().err
    small = ["--budget-macs", "1e6", "--proxy-resolution", "16"]
    assert main(["--network", "squeeze.json", *small]) == 2
    assert "--proxy-resolution must leave every kernel" in capsys.readouterr().err


MISTAKES = {
    "": "give one budget",
    "--budget-ms 3 --budget-macs 1e6": "give one budget",
    "--budget-macs -1": "--budget-macs must be a number above 0, got -1",
    "--budget-macs 1000": "this network comes down to",
    "--budget-macs 1e6 --latency table.json": "--latency belongs to a budget in ms",
    "--budget-macs 1e6 --moves width": "--moves must be one or more of channels, se, kernel, block",
    "--budget-macs 1e6 --criterion l1": "--criterion must be one of l2, bn, taylor",
    "--budget-macs 1e6 --step 2": "--step must be a share above 0 and below 1, got 2",
    "--budget-macs 1e6 --epoch-images 0": "--epoch-images must be an integer of at least 1, got 0",
    "--budget-macs 1e6 --workers 0": "--workers must be an integer of at least 1, got 0",
    "--budget-macs 1e6 --weights nowhere.safetensors": "cannot read the weights file nowhere.safetensors",
    "--budget-macs 1e6 --weights other.safetensors": "give the files that belong together",
    "--budget-macs 1e6 --weights broken.safetensors": "weights must be finite, those of",
    "--budget-macs 1e6 --seed 3": "the splits of --seed 0, got --seed 3",
    "--budget-macs 1e6 --data pairs": "tells 10 classes apart and the data have 2",
    "--budget-macs 1e6 --replay one": "--replay gives the outcomes of timing tests",
    "--budget-macs 1e6 --runtime eager": "--runtime times a network for a budget in ms",
    "--budget-ms 3 --latency small.json": "cannot use small.json",
    "--network mobilenet_v1 --budget-macs 1e6": "got --network mobilenet_v1 and no --weights",
    "--network nobody.json --budget-macs 1e6": "nobody.json",
}


@pytest.mark.parametrize("line", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(
    line: str, best: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network = build(read_spec(best), generator=torch.Generator().manual_seed(0))
    Path("other.safetensors").write_bytes(network_bytes(network, {"fingerprint": "0123456789abcdef"}))
    network.get_submodule("stem.0.conv").get_parameter("weight").data[0] = float("nan")
    Path("broken.safetensors").write_bytes(network_bytes(network, {}))
    if "pairs" in line:
        make_pairs(place)
    flags = line.split()
    given = flags if "--network" in flags else ["--network", "small.json", *flags]
    assert main([*given, *(flag for flag in QUICK if flag not in ("--step", "0.2") or "--step" not in flags)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert MISTAKES[line] in err.splitlines()[-1]
    assert "Traceback" not in err
