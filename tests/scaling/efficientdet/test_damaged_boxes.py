"""Damaged annotations: refused in one sentence, or read into boxes that lie in their images."""

import random
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scaling.efficientdet.detection_data import load
from scaling.efficientdet.examples import DetectionData
from searchspace.errors import InvalidData

NAMES = "abcdefgh"
LISTS = {"train": "a\nb\nc\nd\ne\n", "val": "f\ng\n"}
PIECES = b"nan -1 1e999 null [] {} '' true < & ../.. 99999999999999999999 \xff\xfe \0".split()


def damaged(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(changed) + 1)
        way = rng.random()
        if way < 0.3 and changed:
            changed[at % len(changed)] ^= 1 << rng.randrange(8)
        elif way < 0.4:
            del changed[at:]
        elif way < 0.6:
            del changed[at : at + rng.randint(1, 12)]
        else:
            piece = rng.choice(PIECES)
            changed[at : at + rng.choice((0, 1, len(piece)))] = piece
    return bytes(changed)


def read_or_refused(folder: str) -> DetectionData | str:
    try:
        return load(folder)
    except InvalidData as error:
        return str(error)


@pytest.mark.parametrize("form", ["voc", "coco", "yolo"])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_damaged_annotations_are_refused_or_read(form: str, seed: int, voc: Any, coco: Any, yolo: Any) -> None:
    rng = random.Random(seed)
    files = {
        "voc": lambda: voc({name: [("cat", 1, 2, 30, 20)] for name in NAMES}, LISTS),
        "coco": lambda: coco({name: [(1, 5, 6, 10, 20)] for name in NAMES}),
        "yolo": lambda: yolo({f"{'train' if name < 'f' else 'val'}/{name}": "0 .5 .5 .2 .2\n" for name in NAMES}),
    }[form]()
    texts = sorted(name for name, content in files.items() if isinstance(content, str))
    name = rng.choice(texts)
    files[name] = damaged(files[name].encode(), rng)
    with TemporaryDirectory() as folder:
        for path, content in files.items():
            place = Path(folder, path)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content.encode() if isinstance(content, str) else content)
        data = read_or_refused(folder)
        if isinstance(data, str):
            assert data.isprintable()
            return
        for example in (*data.train, *data.validation, *data.test):
            assert example.pixels().shape[:2] == example.size
            assert np.isfinite(example.boxes).all()
            assert (example.boxes >= 0).all()
            assert (example.boxes <= np.tile(example.size, 2)).all()
            assert (example.boxes[:, 2:] > example.boxes[:, :2]).all()
            assert (example.labels < len(data.classes)).all()
        assert all(note.isprintable() for note in data.notes)
