"""Which folders are splits, by their many spellings; what cannot be told is refused, and --split-folders decides."""

import pytest

from search.data.readers.choice import parse_choice
from search.data.readers.layout import File, arrange
from search.data.source import Listing
from searchspace.errors import InvalidArgument, InvalidData


def _arrange(*paths: str, split_folders: str | None = None) -> Listing:
    files = [File(path, 5, 0) for path in paths]
    return arrange(files, (), where="the folder x", choice=parse_choice(split_folders))


def _grid(tops: str, classes: str = "cat dog", form: str = "{top}/{label}/1.jpg") -> list[str]:
    return [form.format(top=top, label=label) for top in tops.split() for label in classes.split()]


def _parts(listing: Listing) -> dict[str, str]:
    """By the first folder of a path: its split, in letters."""
    return {item.name.split("/")[0]: str(item.part) for item in listing.items}


SPELLINGS = [
    "training_set test_set",
    "Training Testing",
    "TRAIN TEST",
    "train eval",
    "train holdout",
    "train held_out",
    "Train Hold-Out",
    "TrainSet ValSet TestSet",
    "trainset testset",
    "train_images val_images test_images",
    "images_train images_test",
    "train2017 val2017 test2017",
    "train-data dev-data",
    "1_train 2_val 3_test",
    "trn vld tst",
    "seg_train seg_test",
    "cifar10-train cifar10-test",
    "development_train development_test",
    "trainval test",
    "XTrain XTest",
    "Trainingsdaten Testdaten",
    "entrenamiento prueba",
    "训练 测试",
]


@pytest.mark.parametrize("tops", SPELLINGS)
@pytest.mark.parametrize("form", ["{top}/{label}/1.jpg", "data/set/{top}/{label}/1.jpg", "{top}/{top}/{label}/1.jpg"])
def test_split_folders_are_recognised_by_many_spellings_and_told(tops: str, form: str) -> None:
    listing = _arrange(*_grid(tops, form=form))
    assert listing.classes == ("cat", "dog")
    parts = {item.part for item in listing.items}
    assert "train" in parts
    assert len(parts) == len(tops.split())
    (note,) = [note for note in listing.notes if note.startswith("splits by folders: train is ")]
    assert all(top in note for top in tops.split())


@pytest.mark.parametrize(
    ("tops", "parts"),
    [
        ("train eval", "train validation"),
        ("train val eval", "train validation test"),
        ("train eval test", "train validation test"),
        ("train dev holdout", "train validation test"),
        ("Train Valid Test", "train validation test"),
        ("train1 train2 test", "train train test"),
        ("Training PublicTest PrivateTest", "train test test"),
        ("cv1 cv2 cv3", "train validation test"),
        ("fold1 fold2 fold3 fold4 fold5", "train train train validation test"),
        ("fold_2 fold_10 fold_1", "validation test train"),
        ("k-fold-0 k-fold-1", "train test"),
        ("Fold-A Fold-B Fold-C", "train validation test"),
        ("fold1 fold2 fold3 holdout", "train train validation test"),
        ("FOLD1 FOLD2 FOLD3 VAL TEST", "train train train validation test"),
    ],
)
def test_each_split_folder_is_the_split_that_its_name_says(tops: str, parts: str) -> None:
    assert _parts(_arrange(*_grid(tops))) == dict(zip(tops.split(), parts.split(), strict=True))


def test_splits_may_stand_below_the_classes() -> None:
    for tops in ("train test", "Training Validation", "fold1 fold2 fold3"):
        listing = _arrange(*_grid(tops, form="photos/{label}/{top}/1.jpg"))
        assert listing.classes == ("cat", "dog")
        assert len({item.part for item in listing.items}) == len(tops.split())
        assert any("below each class" in note for note in listing.notes)


def test_folders_that_only_wrap_within_the_splits_are_passed_through() -> None:
    listing = _arrange(*_grid("train val", form="{top}/images/{label}/1.jpg"), "test/images/1.jpg")
    assert listing.classes == ("cat", "dog")
    assert any("1 images outside class folders" in note for note in listing.notes)
    assert _arrange(*_grid("images/train images/val", form="{top}/{label}/1.jpg")).classes == ("cat", "dog")


def test_folders_of_labels_beside_the_images_are_no_classes() -> None:
    labels = [path.replace("images", "labels").replace("jpg", "txt") for path in _grid("images/train images/val")]
    listing = _arrange(*_grid("images/train images/val"), *labels)
    assert listing.classes == ("cat", "dog")


def test_flat_folders_beside_the_splits_are_left_out_and_told() -> None:
    listing = _arrange(*_grid("training_set test_set"), "single_prediction/1.jpg", "single_prediction/2.jpg")
    assert listing.classes == ("cat", "dog")
    assert any("2 images outside the splits are left out: single_prediction/1.jpg" in note for note in listing.notes)


@pytest.mark.parametrize("form", ["{top}/{label}/1.jpg", "{top}/{top}/{label}/1.jpg"])
@pytest.mark.parametrize("beside", ["seg_pred/1.jpg", "seg_pred/seg_pred/1.jpg"])
def test_images_to_predict_beside_the_splits_are_left_out_and_told(form: str, beside: str) -> None:
    listing = _arrange(*_grid("seg_train seg_test", form=form), beside)
    assert listing.classes == ("cat", "dog")
    assert f"1 images outside the splits are left out: {beside}" in listing.notes


@pytest.mark.parametrize("held_out", ["test/test", "test/unknown", "test/images", "val/images"])
def test_a_held_out_split_in_one_folder_that_is_no_class_has_no_labels(held_out: str) -> None:
    listing = _arrange(*_grid("train", form="{top}/{label}/images/1.jpg"), f"{held_out}/1.jpg")
    assert listing.classes == ("cat", "dog")
    assert {item.part for item in listing.items} == {"train"}
    assert any(f"no class of train, are left out: {held_out}/1.jpg" in note for note in listing.notes)


@pytest.mark.parametrize("tops", ["labelled unlabelled", "labeled un-labeled", "train unlabeled2017", "x NotLabelled"])
def test_folders_of_unlabelled_images_are_no_classes(tops: str) -> None:
    labelled, unlabelled = tops.split()
    for more in (f"{unlabelled}/1.jpg", f"{unlabelled}/cat/1.jpg"):
        listing = _arrange(*_grid(labelled), more)
        assert listing.classes == ("cat", "dog")
        assert f"1 images in folders of unlabelled images are left out: {more}" in listing.notes
    classes = _arrange(*_grid(tops), split_folders="none").classes
    assert classes == tuple(sorted(tops.split()))


def test_the_flag_finds_the_level_on_which_all_its_folders_are() -> None:
    paths = _grid("train test", classes="bus train", form="{label}/{top}/1.jpg")
    with pytest.raises(InvalidData, match="train beside bus"):
        _arrange(*paths)
    listing = _arrange(*paths, split_folders="train=train,test=test")
    assert listing.classes == ("bus", "train")
    assert {item.part for item in listing.items} == {"train", "test"}


@pytest.mark.parametrize(
    "tops",
    [
        "train_station bus_station",
        "test_tube beaker",
        "training_shoe sandal boot",
        "valid invalid",
        "test control",
        "development residential",
        "mountain_fold valley_fold",
        "part whole",
        "set1 set2",
    ],
)
def test_classes_that_only_sound_like_splits_stay_classes(tops: str) -> None:
    assert _arrange(*(f"{top}/1.jpg" for top in tops.split())).classes == tuple(sorted(tops.split()))


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["train/1.jpg", "test/1.jpg"], "test, train look like splits.*no class folders"),
        (["fold1/1.jpg", "fold2/1.jpg", "fold3/1.jpg"], "fold1, fold2, fold3 look like splits.*no class folders"),
        (["cats/1.jpg", "dogs/1.jpg", "tests/x/1.jpg"], "tests beside cats, dogs: move tests elsewhere"),
        (["cats/1.jpg", "dogs/1.jpg", "test/1.jpg"], "test beside cats, dogs"),
        (["cats/1.jpg", "dogs/1.jpg", "train/1.jpg", "val/1.jpg"], "look like splits"),
        (_grid("train extra"), "train beside extra"),
        (_grid("train test extra"), "test, train beside extra: move extra elsewhere"),
        (["cat/1.jpg", "dog/1.jpg", *_grid("test")], "test beside cat, dog"),
        (["train_cat/1.jpg", "train_dog/1.jpg", "test_cat/1.jpg", "test_dog/1.jpg"], "hold a split and a class"),
        (_grid("trainA trainB testA testB"), "hold a split and a class"),
        (
            [*_grid("train valid", form="plants/plants/{top}/{label}/1.jpg"), "test/test/1.jpg"],
            r"train, valid look like splits .* within plants/plants alone: give --data \.\.\./plants/plants",
        ),
        (_grid("train test train_masks test_masks"), "test, train beside test_masks, train_masks: move test_masks"),
        (_grid("train testA testB"), "train beside testA, testB: move testA, testB elsewhere"),
        (_grid("mytrain mytest"), "mytest, mytrain look like splits.*hold the same folders"),
        (_grid("tr va te"), "te, tr, va look like splits"),
        (_grid("1 2 3"), "1, 2, 3 look like splits"),
        (_grid("session1 session2"), "session1, session2 look like splits"),
        ([*_grid("data/train data/test"), "docs/1.png"], r"docs have none of them: give --data \.\.\./data"),
        (_grid("part1 part2 part3"), "part1, part2, part3 look like splits.*all hold the same folders"),
        (_grid("split0 split1"), "split0, split1 look like splits"),
        (_grid("fold1/train fold1/test fold2/train fold2/test"), r"each has its own test, train.*--data \.\.\./fold1"),
        (_grid("siteA/train siteA/test siteB/train siteB/test"), r"siteA, siteB.*own test, train.*--data \.\.\./siteA"),
        (_grid("dev test"), "class folders in train, got dev, test"),
        (["cat/test/1.jpg", "cat/val/1.jpg", "dog/test/1.jpg", "dog/val/1.jpg"], "training images"),
        (["cat/train/1.jpg", "cat/test/1.jpg", "dog/1.jpg"], "dog have none of them"),
    ],
)
def test_what_looks_like_splits_and_cannot_be_told_is_refused_with_the_flag(paths: list[str], message: str) -> None:
    with pytest.raises(InvalidData, match=message) as caught:
        _arrange(*paths)
    assert "the folder x" in str(caught.value)
    assert "--split-folders" in str(caught.value)


def test_the_flag_decides_what_cannot_be_told() -> None:
    pieces = _arrange(*_grid("part1 part2 part3"), split_folders="train=part1,part2,test=part3")
    assert _parts(pieces) == {"part1": "train", "part2": "train", "part3": "test"}
    assert pieces.classes == ("cat", "dog")
    shards = _arrange(*_grid("part1 part2 part3"), split_folders="train=part*")
    assert set(_parts(shards).values()) == {"train"}
    classes = _arrange(*_grid("train test"), split_folders="none")
    assert classes.classes == ("test", "train")
    below = _arrange(*_grid("a b", form="{label}/{top}/1.jpg"), split_folders="train=a,val=b")
    assert below.classes == ("cat", "dog")
    assert {item.part for item in below.items} == {"train", "validation"}
    with_more = _arrange(*_grid("train extra"), split_folders="Train=train")
    assert {item.part for item in with_more.items} == {"train"}
    assert any("outside the splits are left out: extra/cat/1.jpg" in note for note in with_more.notes)


@pytest.mark.parametrize(
    "text", ["", "some", "train", "train=", "x=a", "test=a", "train=a,test=a", "=a", ",", "a,train=b"]
)
def test_a_choice_that_means_nothing_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidArgument, match=r"--split-folders must be none .*train=fold1,fold2.*got"):
        parse_choice(text)


def test_a_choice_of_folders_that_are_not_there_names_those_that_are() -> None:
    with pytest.raises(InvalidArgument, match=r"got fold3; the folder x has fold1, fold2: name some"):
        _arrange(*_grid("fold1 fold2"), split_folders="train=fold1,test=fold3")
    with pytest.raises(InvalidArgument, match=r"got a; the folder x has fold1, fold2"):
        _arrange(*_grid("fold1 fold2"), split_folders="train=a")


def test_class_names_that_differ_in_case_or_blanks_between_splits_are_one_class_and_told() -> None:
    listing = _arrange("train/Maine coon/1.jpg", "train/dog/1.jpg", "test/maine_coon/1.jpg", "test/DOG/1.jpg")
    assert listing.classes == ("Maine coon", "dog")
    assert {item.label for item in listing.items if item.part == "test"} == {"Maine coon", "dog"}
    assert "maine_coon of test is taken for Maine coon of train" in listing.notes
    assert "DOG of test is taken for dog of train" in listing.notes


def test_classes_of_one_split_that_differ_in_case_alone_are_kept_apart_and_told() -> None:
    listing = _arrange("Cat/1.jpg", "cat/1.jpg", "dog/1.jpg")
    assert listing.classes == ("Cat", "cat", "dog")
    assert any("kept apart: Cat, cat" in note for note in listing.notes)


def test_folders_that_all_classes_hold_are_told() -> None:
    listing = _arrange(*_grid("north south", classes="old young"))
    assert listing.classes == ("north", "south")
    assert any("are taken together: north (old, young), south (old, young); if" in note for note in listing.notes)


@pytest.mark.parametrize("tops", ["part1 part2", "HAM10000_images_part_1 HAM10000_images_part_2", "batch-0 batch-1"])
def test_numbered_pieces_beside_a_table_are_refused_as_its_rows_may_say_the_labels(tops: str) -> None:
    paths = [*(f"{top}/{at}.jpg" for at, top in enumerate(tops.split())), "meta.csv"]
    with pytest.raises(InvalidData, match=r"pieces of one set of images whose labels meta\.csv says: give that as"):
        _arrange(*paths)
    assert _arrange(*paths, split_folders="none").classes == tuple(tops.split())


def test_classes_beside_a_table_stay_classes_and_the_table_is_told() -> None:
    listing = _arrange("c0/1.jpg", "c1/2.jpg", "list.csv")
    assert listing.classes == ("c0", "c1")
    assert any("if list.csv says them, give it as --data" in note for note in listing.notes)
