"""Candidates' weights as short trainings left them: a winner with no time for a longer training goes on from them."""

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

    def load(self, spec: NetworkSpec) -> Network | None:
        """In eval mode; None where none was kept, or the file is damaged."""
        try:
            return load_network(spec, self._file(spec))
        except PhinasError:
            return None
