"""Which texts mean one file."""

from pathlib import Path

from search.parents import file_or_names


def test_only_one_file_is_a_path_the_rest_is_for_the_sources() -> None:
    texts = ["auto", "efficientnet_lite0", "tf_efficientnet_lite0.in1k=a.safetensors", "a.pth,b.pth", "", "x" * 5000]
    assert [file_or_names(text) for text in texts] == texts
    assert file_or_names("a.pth") == Path("a.pth")
