"""What --data and --split-folders say is one text, which studies keep and commands hand on."""

from pathlib import Path

import pytest

from search.finetune_settings import Settings as FinetuneSettings
from search.settings import Settings
from search.sources import SourceText, parse_source, source_text
from searchspace.errors import InvalidArgument


@pytest.mark.parametrize("place", ["photos", "photos/", "owner/name:small", "a?b&c=d", "digits:50", ""])
@pytest.mark.parametrize("split_folders", [None, "none", "train=a,b,test=c"])
@pytest.mark.parametrize("label_column", [None, "fine label"])
def test_a_source_with_its_decisions_survives_as_a_text(
    place: str, split_folders: str | None, label_column: str | None
) -> None:
    source = SourceText(place, split_folders, label_column)
    assert parse_source(str(source)) == source
    assert source_text(place, split_folders=split_folders, label_column=label_column) == str(source)


def test_a_flag_replaces_what_the_text_said() -> None:
    assert source_text("photos?split-folders=none", split_folders="train=a") == "photos?split-folders=train=a"
    assert source_text(Path("photos")) == "photos"
    assert source_text(None) is None


@pytest.mark.parametrize("flag", ["split_folders", "label_column"])
def test_a_decision_without_data_is_refused(flag: str) -> None:
    with pytest.raises(InvalidArgument, match=f"--{flag.replace('_', '-')} .*got no --data: give both or neither"):
        source_text(None, **{flag: "x"})


def test_a_decision_belongs_to_a_study_and_not_to_its_name(tmp_path: Path) -> None:
    plain, decided = str(tmp_path), f"{tmp_path}?split-folders=none"
    one, other = (Settings(budget_ms=3, data=data) for data in (plain, decided))
    assert one.study_name == other.study_name
    assert (one.identity()["data"], other.identity()["data"]) == (plain, decided)
    assert FinetuneSettings(data=plain).study == FinetuneSettings(data=decided).study
