"""The training of a shared network: what each step takes, what it learns, how it goes on after a cut."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from search.training.errors import TrainingDiverged
from search.training.evaluate import evaluate
from search.training.recipe import Recipe
from search.weight_sharing.statistics import with_statistics
from search.weight_sharing.training import SharedRecipe, SharedTrainer, sandwich, training_mode
from searchspace.cost import params
from searchspace.errors import InvalidArgument, StorageError, StudyMismatch
from searchspace.nn import Network, build
from searchspace.nn.shared.network import SharedNetwork
from searchspace.nn.weights.sources import Parent, Parents
from searchspace.spec import NetworkSpec
from tests.naive_slicing import TINY
from tests.scripted import Ticks, dataset_of, two_halves

pytestmark = pytest.mark.usefixtures("one_thread")

DATA = dataset_of(two_halves(64, pixels=32), two_halves(40, pixels=32, seed=1))
RECIPE = SharedRecipe.following(Recipe(batch_size=8), from_weights=False)


def trainer(**changes: Any) -> SharedTrainer:
    own: dict[str, Any] = {"recipe": RECIPE, "seed": 3, "device": "cpu"}
    return SharedTrainer.on(DATA, TINY, **(own | changes))


def parents() -> Parents:
    spec = TINY.spec(TINY.corner("largest")).with_classes(5)
    network = build(spec, generator=torch.Generator().manual_seed(9)).eval()
    return Parents([Parent("parent", network, "a test", None, None, "a sum")])


def same(one: SharedNetwork, other: SharedNetwork) -> bool:
    pairs = zip(one.network.state_dict().values(), other.network.state_dict().values(), strict=True)
    return all(torch.equal(first, second) for first, second in pairs)


@pytest.fixture(scope="module")
def learnt() -> SharedNetwork:
    return trainer().fit(images=320)


def test_classes_weigh_in_what_the_largest_learns_and_in_a_checkpoint() -> None:
    shared = trainer().start()
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 0, 0, 1])
    weights = torch.tensor([0.5, 3.0])
    logits = training_mode(shared.network)(images).detach()
    loss = sandwich(shared, [(shared.network, images)], labels, class_weights=weights)
    assert float(loss) == pytest.approx(float(torch.nn.functional.cross_entropy(logits, labels, weight=weights)))
    balanced = SharedRecipe.following(Recipe(class_weights="balanced"), from_weights=False)
    assert trainer(recipe=balanced).about()["recipe"]["class_weights"] == "balanced"
    assert "class_weights" not in trainer().about()["recipe"]  # checkpoints of before go on


class Stop(Exception):
    pass


def stop_at(share: float) -> Any:
    def hear(now: float) -> None:
        if now >= share:
            raise Stop

    return hear


def test_a_step_takes_the_largest_the_smallest_and_random_networks_within_the_budget() -> None:
    asked = list[NetworkSpec]()

    def within(spec: NetworkSpec) -> bool:
        asked.append(spec)
        return params(spec) < 12_000

    seen = list[NetworkSpec]()
    view = SharedNetwork.view

    def watched(self: SharedNetwork, spec: NetworkSpec) -> Any:
        seen.append(spec)
        return view(self, spec)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SharedNetwork, "view", watched)
        trainer(within=within).fit(images=24)
    assert len(seen) == 1 + 3 * 2  # the smallest is the same one in every step
    assert seen[0].blocks == TINY.spec(TINY.corner("smallest")).blocks
    assert all(params(spec) < 12_000 for spec in seen)
    assert len({spec.fingerprint() for spec in seen}) > 3
    assert asked


@pytest.mark.parametrize(("corner", "least"), [("smallest", 0.8), ("largest", 0.9)])
def test_all_networks_of_the_space_learn(learnt: SharedNetwork, corner: str, least: float) -> None:
    network = learnt.view(TINY.spec(TINY.corner(corner)))
    with_statistics(network, DATA.train, pixels=32, device=torch.device("cpu"))
    assert evaluate(network, two_halves(200, pixels=32, seed=1), device="cpu") > least


def test_others_learn_what_the_largest_says_and_not_the_labels() -> None:
    asked = list[torch.Tensor]()
    real = torch.nn.functional.cross_entropy

    def watched(logits: torch.Tensor, target: torch.Tensor, **more: Any) -> torch.Tensor:
        asked.extend([logits.detach(), target])
        return real(logits, target, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "cross_entropy", watched)
        trainer().fit(images=8)
    said, targets = asked[0::2], asked[1::2]
    assert targets[0].dtype == torch.int64
    assert len(targets) == 4
    assert all(torch.allclose(target, said[0].softmax(1)) for target in targets[1:])


def test_a_training_that_was_cut_off_goes_on_as_if_it_was_not(tmp_path: Path) -> None:
    expected = trainer().fit(images=80)
    for share in (0.35, 0.75):
        with pytest.raises(Stop):
            trainer().fit(images=80, state_file=tmp_path / "shared.pt", on_progress=stop_at(share))
    found = trainer().fit(images=80, state_file=tmp_path / "shared.pt")
    assert same(found, expected)
    assert same(trainer().fit(images=80, state_file=tmp_path / "shared.pt", on_progress=stop_at(0)), expected)


def test_the_clock_is_the_schedule_where_seconds_are_given(tmp_path: Path) -> None:
    clock, shares = Ticks(), list[float]()

    def hear(share: float) -> None:
        shares.append(share)
        clock.pass_s(1.0)

    trainer(clock=clock).fit(seconds=4.5, on_progress=hear)
    assert shares == pytest.approx([0, 1 / 4.5, 2 / 4.5, 3 / 4.5, 4 / 4.5, 1.0])

    def hear_and_stop(share: float) -> None:
        hear(share)
        stop_at(0.8)(share)

    with pytest.raises(Stop):
        trainer(clock=clock).fit(seconds=4.5, state_file=tmp_path / "s.pt", on_progress=hear_and_stop)
    after = list[float]()
    trainer(clock=Ticks(each=0.25)).fit(seconds=4.5, state_file=tmp_path / "s.pt", on_progress=after.append)
    assert after[0] > 0.6  # what was done before counts


def test_from_a_parent_the_first_classifier_teaches_at_once() -> None:
    recipe = SharedRecipe.following(Recipe(batch_size=8), from_weights=True)
    whole = trainer(recipe=recipe, parents=parents()).fit(images=8)
    assert whole.spec.classes == 2
    network = with_statistics(whole.extract(whole.spec), DATA.train, pixels=32, device=torch.device("cpu"))
    assert evaluate(network, DATA.train, device="cpu") > 0.7


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"space": TINY.with_choices({"stage2.kernel": (3,)})}, "another search space"),
        ({"fingerprint": "other images"}, "another data set"),
        ({"seed": 4}, r"another seed \(\d+, not 4\)"),
        ({"parents": parents()}, "another set of published weights"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    trainer().fit(images=8, state_file=tmp_path / "shared.pt")
    before = (tmp_path / "shared.pt").read_bytes()
    other = replace(trainer(), **change)
    with pytest.raises(StudyMismatch, match=rf"shared.pt was trained with {told}: give the same"):
        other.fit(images=8, state_file=tmp_path / "shared.pt")
    assert (tmp_path / "shared.pt").read_bytes() == before


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shared.pt").write_bytes(b"no checkpoint")
    with pytest.raises(StorageError, match="must be the checkpoint of a shared network"):
        trainer().fit(images=8, state_file=tmp_path / "shared.pt")


def test_no_length_or_two_are_refused_and_what_diverges_is_told() -> None:
    for given in ({}, {"seconds": 1.0, "images": 8}, {"images": 0}):
        with pytest.raises(InvalidArgument, match="takes seconds or images"):
            trainer().fit(**given)
    with pytest.raises(TrainingDiverged, match="must stay finite"):
        trainer(recipe=replace(RECIPE, learning_rate=float("inf"))).fit(images=64)


def test_smaller_candidates_see_smaller_images() -> None:
    wide = SharedTrainer.on(DATA, replace(TINY, resolution=224), recipe=RECIPE, seed=0, pixels=96)
    spec = TINY.spec(TINY.corner("smallest"))
    assert [wide.pixels_of(spec.with_resolution(px)) for px in (32, 112, 160, 224, 320)] == [32, 48, 72, 96, 136]


def test_networks_of_several_input_sizes_see_images_of_their_sizes() -> None:
    space = replace(TINY, resolution=64, smaller_resolutions=(32,))
    data = dataset_of(two_halves(32, pixels=64), two_halves(16, pixels=64, seed=1))
    sizes = set[tuple[int, int]]()
    forward = Network.forward

    def watched(self: Network, images: torch.Tensor) -> torch.Tensor:
        sizes.add((self.spec.resolution, images.shape[-1]))
        return forward(self, images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Network, "forward", watched)
        SharedTrainer.on(data, space, recipe=RECIPE, seed=3, device="cpu").fit(images=16)
    assert sizes == {(32, 32), (64, 64)}
