"""A folder of studies of its own for every test, and a study to read."""

import gc
import shutil
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from searchspace.blocks import Classifier, ConvBN
from searchspace.spec import NetworkSpec, Stage
from studies import storage
from studies.database import open_study
from studies.schema import SETTINGS, Status, TrialRecord

optuna.logging.set_verbosity(optuna.logging.ERROR)
STATES = {Status.TRAINED: "COMPLETE", Status.STOPPED_EARLY: "PRUNED", Status.FAILED: "FAIL", Status.INTERRUPTED: "FAIL"}

MakeStudy = Callable[..., optuna.Study]


@pytest.fixture(autouse=True)
def studies_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "studies"
    monkeypatch.setenv("PHINAS_STUDIES", str(root))
    return root


@pytest.fixture
def network() -> NetworkSpec:
    conv = ConvBN(out_channels=8, kernel=3, stride=2, activation="relu")
    return NetworkSpec("tiny", 32, (Stage("stem", (conv,)), Stage("head", (Classifier(classes=2),))))


@pytest.fixture(scope="session")
def empty_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a study without trials, to be copied: making its tables takes most of a small test's time."""
    path = tmp_path_factory.mktemp("empty") / "study.db"
    open_study(path, name="empty")
    gc.collect()
    return path


@pytest.fixture
def make_study(network: NetworkSpec, studies_root: Path, empty_study: Path) -> MakeStudy:
    """A study with the given records as search.run writes them; records without a spec get the tiny network."""

    def make(name: str, *records: TrialRecord, budget_ms: float = 20.0) -> optuna.Study:
        if not (studies_root / name).exists():
            (studies_root / name).mkdir(parents=True)
            shutil.copy(empty_study, studies_root / name / "study.db")
        study = storage.open_study(name)
        study.set_user_attr(SETTINGS, {"name": name, "budget_ms": budget_ms})
        for record in records:
            add_trial(study, record, network)
        return study

    return make


def add_trial(study: optuna.Study, record: TrialRecord, network: NetworkSpec) -> None:
    """Store the attributes, end the trial."""
    trial = study.ask()
    attrs = {"spec": network.to_json(), "fingerprint": f"f{trial.number}"} | record.to_attrs()
    if record.status == Status.INTERRUPTED:
        attrs["status"] = str(Status.RUNNING)
    for key, value in attrs.items():
        trial.set_user_attr(key, value)
    if record.status in STATES:
        study.tell(trial, record.reward, state=optuna.trial.TrialState[STATES[record.status]])
