"""Candidates' weights as short trainings left them: a winner with no time for a longer training goes on from them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from searchspace.errors import PhinasError
from searchspace.files import write_atomic
from searchspace.nn import Network, load_network, network_bytes
from searchspace.spec import NetworkSpec


@dataclass(frozen=True)
class KeptCandidates:
    """In a study's folder, one safetensors file for each candidate that was trained to its end."""

    folder: Path

    def _file(self, spec: NetworkSpec) -> Path:
        return self.folder / f"candidate-{spec.fingerprint()}.safetensors"

    def keep(self, network: Network) -> None:
        """Written whole. Raises StorageError."""
        write_atomic(self._file(network.spec), network_bytes(network, {}))

    def has(self, spec: NetworkSpec) -> bool:
        """Whether one was kept."""
        return self._file(spec).is_file()

    def load(self, spec: NetworkSpec, *, note: Callable[[str], None]) -> Network | None:
        """In eval mode; None, with a note, where the file is damaged or gone."""
        try:
            return load_network(spec, self._file(spec))
        except PhinasError as error:
            note(f"{error}: the winner is trained anew")
            return None

    def forget(self) -> None:
        """Once there is a winner."""
        for file in self.folder.glob("candidate-*.safetensors"):
            file.unlink(missing_ok=True)
