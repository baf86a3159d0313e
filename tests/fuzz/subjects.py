"""Every kind of file that the program reads, made small: those that need no torch. The others are in `networks`."""

from __future__ import annotations

import gc
import json
import os
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna

from scaling.formula import read_coefficients
from searchspace.blocks import Classifier, ConvBN
from searchspace.files import write_json
from searchspace.latency.table import SCHEMA, Correction, Identity, LatencyTable, read_table
from searchspace.preprocessing import OWN
from searchspace.spaces.toml import space_from_toml
from searchspace.spec import NetworkSpec, Stage, read_spec, write_spec
from studies import frame, report, storage
from studies.schema import SETTINGS, Status, TrialRecord
from tests.fuzz.law import Subject

SPEC = NetworkSpec(
    "tiny",
    32,
    (
        Stage("stem", (ConvBN(out_channels=8, kernel=3, stride=2, activation="relu"),)),
        Stage("head", (Classifier(classes=2),)),
    ),
    preprocessing=OWN,
)
TRIALS = 3
SUMMARY: dict[str, Any] = {
    "study": "s",
    "folder": "studies/s",
    "budget_ms": 20.0,
    "winner": {"trial": 1, "test_accuracy": 0.9, "params": 100, "macs": 1000, "measured_latency_ms": 3.5},
    "classes": ["a", "b"],
    "trials": {"trained": TRIALS},
    "spent_s": 12.5,
    "settings": {"budget_ms": 20.0},
}
TOML = """\
[choices]
"*.activation" = ["relu", "swish"]
"stage3.kernel" = [3, 5]
stage2.layers = [1, 2]
"*.width_mult" = [0.75, 1.0]
"""


def table() -> LatencyTable:
    """A latency table of a few kernels."""
    from searchspace.graph import lower

    kernels = {layer.signature: 0.1 + at for at, layer in enumerate(lower(SPEC).layers)}
    identity = Identity(
        schema=SCHEMA,
        machine="abacus",
        runtime="beads",
        threads=2,
        dtype="float32",
        batch=1,
        memory_format="channels_last",
        resolution=32,
        versions={"beads": "1.2"},
    )
    return LatencyTable(identity, 2.0, kernels, Correction(1.1, 0.25, 0.03), holdout_errors=(0.01, -0.02))


def written(name: str, content: Callable[[], str | bytes]) -> Callable[[Path], Path]:
    """Makes a file of this name and content."""

    def make(folder: Path) -> Path:
        data = content()
        (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
        return folder / name

    return make


def _spec(folder: Path) -> Path:
    write_spec(folder / "best.json", SPEC)
    return folder / "best.json"


def _coefficients(folder: Path) -> Path:
    write_json(folder / "fit.json", {"alpha": 1.2, "beta": 1.1, "gamma": 1.15, "cost": "macs"})
    return folder / "fit.json"


def _summary(folder: Path) -> Path:
    write_json(folder / "summary.json", SUMMARY)
    return folder / "summary.json"


def _summary_read(path: Path) -> Any:
    found = frame.read_summary(path)
    return {name: found.get(name) for name in SUMMARY}


@contextmanager
def studies_in(folder: Path) -> Any:
    """The folder of all studies is this one."""
    before = os.environ.get("PHINAS_STUDIES")
    os.environ["PHINAS_STUDIES"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["PHINAS_STUDIES"]
        else:
            os.environ["PHINAS_STUDIES"] = before


def _study(folder: Path) -> Path:
    """Two studies of three trials, one finished, so that there is something to be listed beside the damaged one."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    optuna.logging.disable_default_handler()
    with studies_in(folder):
        for name in ("s", "sound"):
            study = storage.open_study(name)
            study.set_user_attr(SETTINGS, {"name": name, "budget_ms": 20.0})
            choices = {"kernel": optuna.distributions.CategoricalDistribution([3, 5, 7])}
            for number in range(TRIALS):
                trial = study.ask(choices)
                record = TrialRecord(
                    status=Status.TRAINED,
                    spec=SPEC.to_json(),
                    fingerprint=f"f{number}",
                    params=100 + number,
                    macs=1000,
                    predicted_latency_ms=3.25 + number,
                    accuracy=0.5 + number / 10,
                    history=(0.25, 0.5),
                    train_s=1.5,
                    epochs=2,
                    seed=0,
                    reward=0.5 + number / 10,
                )
                for key, value in record.to_attrs().items():
                    if key != "choices":
                        trial.set_user_attr(key, value)
                study.tell(trial, record.reward)
            study.set_user_attr("measured_latency_ms", {"1": 3.5})
            del study, trial
            gc.collect()
            write_spec(folder / name / storage.BEST, SPEC)
            write_json(folder / name / storage.SUMMARY, SUMMARY)
    return folder / "s" / storage.DATABASE


def _study_read(path: Path) -> Any:
    """What is listed, and what is known of the study."""
    with studies_in(path.parent.parent):
        rows = {row["name"]: row for row in json.loads(report.listing("json"))}
        assert rows["sound"]["trials"] == TRIALS, "another study's damage hides none"
        df = frame.load("s")
        text = (frame.to_csv(df), frame.history("s").to_csv(), len(frame.pareto(df)), sorted(df.attrs.items()))
        report.study("s", "table", top=2)
        best = frame.best("s")
        return *text, best.spec, best.trial, best.test_accuracy


def _killed(folder: Path) -> Path:
    """The write-ahead log of a search that was killed: what was stored last is there alone."""
    _study(folder)
    database = folder / "s" / storage.DATABASE
    with studies_in(folder):
        study = storage.open_study("s", create=False)
        study.set_user_attr("note", "kept")
        kept = {path: path.read_bytes() for path in folder.glob(f"s/{storage.DATABASE}*") if path.suffix != ".db-shm"}
        del study
        gc.collect()
    for path, content in kept.items():
        path.write_bytes(content)
    return database.with_name(f"{database.name}-wal")


def _killed_read(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
    """None where the end of the log is lost, and with it what was stored last."""

    def reading(path: Path) -> Any:
        found = read(path)
        return found if "'note', 'kept'" in repr(found) or "'note': 'kept'" in repr(found) else None

    return reading


def _study_opened(path: Path) -> Any:
    """A search goes on with it: on a copy, since it is written."""
    with studies_in(path.parent.parent):
        copy = path.parent.with_name("copy")
        copy.mkdir(exist_ok=True)
        for each in path.parent.glob(f"{storage.DATABASE}*"):
            (copy / each.name).write_bytes(each.read_bytes())
        write_json(copy / storage.SUMMARY, SUMMARY)
        study = storage.open_study("copy", create=False)
        found = [(trial.number, trial.params, trial.user_attrs, trial.values) for trial in study.get_trials()]
        attrs = study.user_attrs
        study.set_user_attr("spent_s", 1.0)
        study.ask()
        del study
        gc.collect()
        for each in copy.glob(f"{storage.DATABASE}*"):
            each.unlink()
        return found, attrs


def _measured_csv() -> str:
    from searchspace.spaces.mnasnet import mnasnet_space

    space = mnasnet_space()
    names = [name for name, values in space.parameters().items() if len(values) > 1]
    rows = [[str(space.parameters()[name][at % len(space.parameters()[name])]) for name in names] for at in range(24)]
    lines = [",".join([*row, f"0.{70 + at}", f"{5 + at}.25"]) for at, row in enumerate(rows)]
    return "\n".join([",".join([*names, "accuracy", "ms"]), *lines, ""])


def _measured_read(path: Path) -> Any:
    from search.measured.networks import read_measured

    found = read_measured(path)
    known = found.accuracy("accuracy").tolist(), found.latency_ms("ms").tolist()
    return found.choices, known, {name: values.tolist() for name, values in found.columns.items()}


def _space_read(path: Path) -> Any:
    return space_from_toml(path, classes=10, resolution=64).to_dict()


SUBJECTS = (
    Subject("network", _spec, read_spec, form="json"),
    Subject("network without a checksum", written("n.json", SPEC.to_json), read_spec, sealed=False, form="json"),
    Subject("latency table", written("t.json", lambda: table().to_json()), read_table, form="json"),
    Subject(
        "latency table of schema 2",
        written("t.json", Path(__file__).parents[1].joinpath("searchspace/latency/files/schema_2.json").read_bytes),
        read_table,
        sealed=False,
        form="json",
    ),
    Subject("coefficients", _coefficients, read_coefficients, form="json"),
    Subject("summary", _summary, _summary_read, form="json"),
    Subject("study", _study, _study_read),
    Subject("study that goes on", _study, _study_opened),
    Subject("log of a killed study", _killed, _killed_read(_study_read), renewed=True),
    Subject("log of a killed study that goes on", _killed, _killed_read(_study_opened), renewed=True),
    Subject("search space", written("space.toml", lambda: TOML), _space_read, sealed=False, form="text"),
    Subject("measured networks", written("m.csv", _measured_csv), _measured_read, sealed=False, form="text"),
)
