"""What the training of a shared network needs to go on, in a file that says which training it is of."""

import json
from pathlib import Path
from typing import Any

import torch

from search.training.finetune_state import FineTuningState
from searchspace.errors import StorageError, StudyMismatch
from searchspace.files import wrong_member

CHECKPOINT = "shared.pt"  # in a study's folder


class SharedState(FineTuningState):
    """A shared network's largest network under training."""

    def go_on(self, path: Path, about: dict[str, Any]) -> None:
        """Take up what a checkpoint holds; nothing where there is no file.

        Raises StudyMismatch for one of another training, naming what differs, and StorageError for a damaged one.
        """
        try:
            if wrong := wrong_member(path):
                raise ValueError(f"the checksum of {wrong} is wrong")
            content: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
            stored = dict(json.loads(content["key"]))
        except FileNotFoundError:
            return
        except Exception as error:  # whatever a damaged file makes torch.load raise
            raise StorageError(
                f"{path} must be the checkpoint of a shared network, and is damaged or something else: delete it, and "
                "the training begins anew"
            ) from error
        wanted = json.loads(json.dumps(about))
        differing = [name for name in wanted if stored.get(name) != wanted[name]]
        numbers = {name for name in differing if isinstance(wanted[name], int)}
        told = [f"{name} ({stored.get(name)}, not {wanted[name]})" if name in numbers else name for name in differing]
        if differing:
            raise StudyMismatch(
                f"the shared network in {path} was trained with another {' and another '.join(told)}: give the "
                "same ones to go on with it, or another folder (--study), or delete the file"
            )
        self._load(content)

    def keep(self, path: Path, about: dict[str, Any]) -> None:
        """Write the checkpoint whole."""
        self.save(path, json.dumps(about))
