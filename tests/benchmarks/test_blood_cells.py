"""Cells are cut out of photographs, each into the folder of its split and class."""

import io
import tarfile
from pathlib import Path

from PIL import Image

from tests.benchmarks.blood_cells import main

_BOX = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


def test_every_white_cell_and_every_eighth_red_one_is_cut_out(tmp_path: Path) -> None:
    photograph, image = Image.new("RGB", (100, 80), "white"), io.BytesIO()
    photograph.paste("red", (20, 30, 40, 40))
    photograph.save(image, "PNG")
    boxes = _BOX.format("WBC", 20, 30, 40, 40) + 8 * _BOX.format("RBC", 60, 10, 70, 30)
    files = {f"BCCD/ImageSets/Main/{split}.txt": b"" for split in ("train", "val")}
    files |= {"BCCD/ImageSets/Main/test.txt": b"one\n", "BCCD/JPEGImages/one.jpg": image.getvalue()}
    files |= {"BCCD/Annotations/one.xml": f"<annotation>{boxes}</annotation>".encode()}
    with tarfile.open(tmp_path / "bccd.tar", "w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    assert main([str(tmp_path / "out"), "--data", str(tmp_path / "bccd.tar")]) == 0
    (white,) = (tmp_path / "out/test/WBC").iterdir()
    assert len(list((tmp_path / "out/test/RBC").iterdir())) == 1
    with Image.open(white) as cell:
        assert cell.size == (22, 22)
        assert cell.getpixel((11, 11)) == (255, 0, 0)
