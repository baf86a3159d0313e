"""The reference set: which networks it takes, that its trainings are kept and go on, and what it refuses."""

import json
from collections.abc import Callable
from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from search.accuracy import register
from search.budget import CostModel
from search.console import Progress
from search.validate import main
from search.validation.files import ReferenceFiles, Rows, Score, Trained
from search.validation.inputs import Inputs
from search.validation.networks import depth, members, van_der_corput
from search.validation.reference import halves, jobs, long_recipe
from search.validation.settings import BAND, Settings
from searchspace import zoo
from searchspace.cost import macs
from searchspace.errors import InfeasibleBudget, InvalidArgument, StorageError, StudyMismatch
from searchspace.spaces.mnasnet import mnasnet_space
from searchspace.spaces.space import SearchSpace
from tests.scripted import ScriptedEstimator, dataset_of, two_halves

pytestmark = pytest.mark.usefixtures("one_thread")

register("scripted")(lambda settings: ScriptedEstimator(epochs=1))

Command = Callable[..., list[str]]


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return mnasnet_space(classes=10, resolution=64)


def test_a_set_is_spread_over_its_band_and_a_larger_one_begins_with_it(space: SearchSpace) -> None:
    budget = 30e6
    few, many = (members(space, CostModel("macs"), budget, count=count, seed=3, parents=None) for count in (14, 24))
    assert [one.fingerprint for one in many[:14]] == [one.fingerprint for one in few]
    assert len({one.fingerprint for one in many}) == 24
    assert all(BAND[0] * budget <= one.price <= BAND[1] * budget for one in many)
    assert all(one.price == macs(one.spec) for one in many)
    assert {"mobilenet_v2", "efficientnet_b0"} <= {one.name for one in many if one.kind == "known"}
    drawn = sorted(one.price / budget for one in many if one.kind == "random")
    assert max(b - a for a, b in pairwise(drawn)) < 0.15  # 1 over 16 places would be 0.06
    other = members(space, CostModel("macs"), budget, count=24, seed=4, parents=None)
    assert {one.fingerprint for one in other} != {one.fingerprint for one in many}


def test_classes_weigh_in_every_training_and_sets_of_before_go_on() -> None:
    plain, balanced = (Settings(budget_macs=1e6, class_weights=how) for how in ("none", "balanced"))
    assert "class_weights" not in plain.identity()
    assert balanced.identity()["class_weights"] == "balanced"
    for tunes in (True, False):
        assert long_recipe(balanced, "none", tunes=tunes).class_weights == "balanced"
        assert "class_weights" not in long_recipe(plain, "none", tunes=tunes).identity()


def test_a_band_without_networks_is_refused(space: SearchSpace) -> None:
    with pytest.raises(InfeasibleBudget, match="the cheapest of the space is at"):
        members(space, CostModel("macs"), 1e5, count=5, seed=0, parents=None)


def test_a_small_space_gives_all_it_has_within_the_band_and_no_more(space: SearchSpace) -> None:
    few = space.with_choices(
        {f"*.{kind}": (values[0],) for kind, values in (("kernel", (3,)), ("se", (False,)), ("activation", ("relu",)))}
        | {"*.expand_ratio": (3,), "stage1.expand_ratio": (1,), "*.width_mult": (1.0,), "*.layers": (1,)}
        | {"stage3.layers": (1, 2, 3, 4)}
    )
    prices = sorted(macs(few.spec({**few.corner("smallest"), "stage3.layers": count})) for count in (1, 2, 3, 4))
    budget = prices[2] / 1.4  # so that the fourth is out of the band
    found = members(few, CostModel("macs"), budget, count=9, seed=0, parents=None)
    assert sorted(one.price for one in found) == [price for price in prices if price <= BAND[1] * budget]


def test_the_van_der_corput_sequence_halves_the_widest_gap() -> None:
    assert [van_der_corput(number) for number in range(1, 8)] == [0.5, 0.25, 0.75, 0.125, 0.625, 0.375, 0.875]


def test_depth_counts_the_longest_way_without_squeeze_and_excitation() -> None:
    # arXiv:1801.04381, Table 2: stem, one block of two convolutions, 16 of three, head, classifier
    assert depth(zoo.get("mobilenet_v2")) == 1 + 2 + 16 * 3 + 1 + 1
    # arXiv:1905.11946, Table 1: the same with 15 blocks of three, and SE in all
    assert depth(zoo.get("efficientnet_b0")) == 1 + 2 + 15 * 3 + 1 + 1


def test_held_out_images_are_the_second_half_of_the_validation_images() -> None:
    data = dataset_of(two_halves(20), two_halves(30, seed=1), test=two_halves(9, seed=2))
    shown, held = halves(data, judged=10)
    assert len(shown.validation) == 15
    assert len(held) == 10
    assert (held.pixels == data.validation.pixels[15:25]).all()
    assert (held.labels == data.validation.labels[15:25]).all()
    assert len(halves(data, judged=1000).held) == 15


def test_second_trainings_are_spread_over_the_set(space: SearchSpace) -> None:
    few = members(space, CostModel("macs"), 30e6, count=6, seed=0, parents=None)
    half = list(jobs(few, seed=7, twice=0.5))
    assert [job.seed for job in half] == [7, 7, 8, 7, 7, 8, 7, 7, 8]
    assert [job.member for job in half if job.seed == 8] == few[1::2]
    assert [job.seed for job in jobs(few, seed=0, twice=0)] == [0] * 6
    assert len(list(jobs(few, seed=0, twice=1))) == 12


def test_the_command_trains_a_set_and_goes_on_with_it(command: Command, tmp_path: Path, capsys: Any) -> None:
    assert main(command("--networks", "3", "--twice", "0.4")) == 0
    files = ReferenceFiles.named(tmp_path / "set.csv")
    rows = list(files.trained())
    assert [row.seed for row in rows] == [0, 0, 0, 1]
    assert len({row.fingerprint for row in rows}) == 3
    assert all(row.accuracy is not None and 0 <= row.accuracy <= 1 for row in rows)
    assert {row.images for row in rows} == {32}
    space = Settings(budget_macs=0.665e6, space_file=str(tmp_path / "space.toml"), resolution=32).search_space(
        classes=10
    )
    assert [space.spec(json.loads(row.choices)).fingerprint() for row in rows] == [row.fingerprint for row in rows]
    before = (tmp_path / "set.csv").read_text()
    assert not files.state_path.exists()

    assert main(command("--networks", "4", "--twice", "0.4")) == 0
    after = (tmp_path / "set.csv").read_text()
    assert after.startswith(before)
    assert len(list(files.trained())) == 5
    capsys.readouterr()

    assert main(command("--networks", "4", "--twice", "0.4", "--seed", "1")) == 2
    assert "made with other settings: --seed is 1 and was 0" in capsys.readouterr().err
    assert (tmp_path / "set.csv").read_text() == after


def test_a_training_that_is_stopped_is_done_again_with_the_same_result(command: Command, tmp_path: Path) -> None:
    flags = command("--networks", "3", "--twice", "0")
    assert main(flags) == 0
    whole = (tmp_path / "set.csv").read_text().splitlines()
    (tmp_path / "set.csv").write_text("\n".join(whole[:2]) + "\n")
    assert main(flags) == 0
    again = (tmp_path / "set.csv").read_text().splitlines()
    seconds = whole[0].split(",").index("seconds")

    def without_seconds(line: str) -> list[str]:
        cells = line.split(",")
        return cells[:seconds] + cells[seconds + 1 : -1]  # the last one is a checksum of them all

    assert [without_seconds(line) for line in again] == [without_seconds(line) for line in whole]


def test_only_one_process_trains_a_set_and_others_may_judge_it(command: Command, tmp_path: Path, capsys: Any) -> None:
    assert main(command("--networks", "3", "--twice", "0")) == 0
    with ReferenceFiles.named(tmp_path / "set.csv").locked():
        assert main(command("--networks", "3", "--twice", "0")) == 2
        assert "another process trains" in capsys.readouterr().err
        assert main(command("--twice", "0", "--as-is")) == 0


def test_rows_survive_a_file(tmp_path: Path) -> None:
    score = Score(
        estimator="a, b", identity="x", fingerprint="f", score=0.25, deviation=None, seconds=1.5, prepare_s=0.0,
        failed='it said "no",\nand stopped',
    )  # fmt: skip
    one, other = Rows(tmp_path / "a.csv", Score), Rows(tmp_path / "a.csv", Score)
    one.add(score)
    other.add(replace(score, fingerprint="g"))  # as another process would, which has read no row
    assert [row.fingerprint for row in Rows(tmp_path / "a.csv", Score)] == ["f", "g"]
    assert next(iter(Rows(tmp_path / "a.csv", Score))) == score
    with pytest.raises(StorageError, match="must hold the columns network, kind"):
        Rows(tmp_path / "a.csv", Trained)
    (tmp_path / "a.csv").write_text((tmp_path / "a.csv").read_text().replace("checksum", "cheaksum"))
    with pytest.raises(StorageError, match='its "checksum" has another name'):
        Rows(tmp_path / "a.csv", Score)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("n,random,f,0,nan,9,1.0,9,,1.0,5,5,5,,,", "fraction from 0 to 1, got nan"),
        ("n,random,f,0,71.5,9,1.0,9,,1.0,5,5,5,,,", "fraction from 0 to 1, got 71.5"),
        ("n,random,f,0,0.5,9,1.0,9,,1.0,0,5,5,,,", "MACs are above 0, got 0"),
        ("n,random,f,0,0.5,9,1.0", "must hold the columns network"),
        ("n,random,f,0,0.7,9,1.0,9,,1.0,5,5,5,,,", "two of n, seed 0, say 0.5 and 0.7: delete the wrong one"),
    ],
)
def test_a_reference_with_values_that_cannot_be_or_disagree_is_refused(row: str, told: str, tmp_path: Path) -> None:
    first = "n,random,f,0,0.5,9,1.0,9,,1.0,5,5,5,,,"
    header = ",".join(field.name for field in fields(Trained))
    (tmp_path / "a.csv").write_text(f"{header}\n{first}\n{first}\n")
    assert len(list(ReferenceFiles.named(tmp_path / "a.csv").trained())) == 2
    (tmp_path / "a.csv").write_text(f"{header}\n{first}\n{row}\n")
    with pytest.raises(StorageError, match=told):
        ReferenceFiles.named(tmp_path / "a.csv").trained()


def test_another_csv_is_no_set_that_as_is_could_be_left_out_for(tmp_path: Path) -> None:
    (tmp_path / "trials.csv").write_text("trial,accuracy\n0,0.5\n")
    files = ReferenceFiles.named(tmp_path / "trials.csv")
    with pytest.raises(StudyMismatch, match=r"has no trials\.json beside it: name another --reference"):
        files.check({})
    with pytest.raises(StudyMismatch, match=r"has no trials\.json beside it: name another --reference"):
        files.bind({}, command="again")


@pytest.mark.parametrize("flags", ["--epochs 0", "--proxy-resolution 16", "--weights ,"])
def test_flags_of_estimators_are_checked_before_anything_is_trained(
    flags: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--reference", str(tmp_path / "a.csv"), "--budget-macs", "1e6", *flags.split()]) == 2
    assert f"{flags.split()[0]} must be" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({}, "one of both"),
        ({"budget_ms": 5.0, "budget_macs": 1e6}, "one of both"),
        ({"budget_macs": 1e6, "latency": "phone.json"}, "give --budget-ms with it"),
        ({"budget_macs": 0.0}, "--budget-macs must be a number above 0"),
        ({"budget_macs": 1e6, "networks": 2}, "--networks must be an integer of at least 3"),
        ({"budget_macs": 1e6, "twice": 1.5}, "--twice must be a share"),
        ({"budget_macs": 1e6, "images_each": 0}, "--images-each must be an integer of at least 1"),
        ({"budget_macs": 1e6, "resolution": 16}, "--resolution must be 32 to"),
    ],
)
def test_settings_out_of_range_are_told(flags: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidArgument, match=told):
        Settings(**flags)


def test_this_machines_table_is_asked_for_where_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PHINAS_CACHE", str(tmp_path))
    with Progress(lambda: None, quiet=True) as progress, pytest.raises(InvalidArgument, match=r"search\.latency build"):
        _ = Inputs(Settings(budget_ms=5.0), 1, progress).table


def test_images_are_varied_as_asked_and_a_set_goes_on_as_it_was_begun(
    command: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = command("--networks", "3", "--twice", "0", "--weights", "none")
    assert main([*flags, "--augment", "rotate,shift"]) == 0
    about = json.loads((tmp_path / "set.json").read_text())
    assert about["augment"] == "shift,rotate"
    assert (about["recipe"]["rotate"], about["recipe"]["flip"]) == (True, False)
    assert main(flags) == 0  # auto takes what was decided
    assert main([*flags, "--augment", "none"]) == 2
    assert "--augment is 'none' and was 'shift,rotate'" in capsys.readouterr().err
    del about["augment"], about["recipe"]["rotate"], about["checksum"]  # as of before, when digits were moved
    (tmp_path / "set.json").write_text(json.dumps(about))
    assert main(flags) == 0
    (tmp_path / "set.json").write_text(json.dumps({**about, "augment": "sideways"}))
    assert main(flags) == 2
    assert "names no ways to vary images" in capsys.readouterr().err
