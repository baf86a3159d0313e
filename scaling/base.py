"""What grows and by which prices: a base network from a name, a file or a spec, and a latency table."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from searchspace import zoo
from searchspace.errors import InvalidArgument, InvalidSpec, StorageError
from searchspace.latency.table import LatencyTable, read_table
from searchspace.spec import NetworkSpec, read_spec
from searchspace.template import Template
from searchspace.to_template import to_template
from searchspace.zoo import efficientnet

Base = NetworkSpec | Template | str | Path | None


def base_template(network: Base) -> Template:
    """The table that grows: of the zoo as its paper has it, of a spec with its own ratios; None is EfficientNet-B0.

    A file that is there is read; another text that is no file's name is looked for in the zoo. Raises PhinasError.
    """
    if network is None:
        return efficientnet.B0
    if isinstance(network, Template):
        return network
    if isinstance(network, NetworkSpec):
        return to_template(network)
    if is_file(network):
        try:
            return to_template(read_spec(Path(network)))
        except (StorageError, InvalidSpec) as error:
            raise type(error)(
                f"{error}; --network takes a spec file, such as the best.json of a search (python -m search.run) or "
                "one that --out wrote"
            ) from None
    name = str(network)
    return to_template(zoo.get(name)) if zoo.is_grown(name) else zoo.template(name)


def is_file(network: str | Path) -> bool:
    """Whether a text names a spec file, not a network of the zoo."""
    return Path(network).suffix == ".json" or os.path.exists(network)


def zoo_name(network: Base) -> str | None:
    """The network's name in the zoo, where it is named by it; EfficientNet-B0's for None."""
    if network is None:
        return "efficientnet_b0"
    return str(network) if isinstance(network, str | Path) and not is_file(network) else None


def latency_table(latency: LatencyTable | str | Path | None, *, needed: bool) -> LatencyTable | None:
    """A table or the file of one; None is this machine's own table where one is `needed`. Raises PhinasError."""
    if isinstance(latency, LatencyTable):
        return latency
    if latency is not None:
        return read_table(Path(latency))
    if not needed:
        return None
    from search.latency.cache import stored_table
    from search.latency.runtimes import runtime
    from search.settings import DEFAULT_RESOLUTION

    return stored_table(runtime().identity(DEFAULT_RESOLUTION), note=lambda text: print(text, file=sys.stderr))


def separate_files(written: Mapping[str, str | Path | None], read: Mapping[str, object]) -> None:
    """Both are {flag: file}. Raises InvalidArgument where a file would replace another one or one that is read."""
    files = {flag: path for flag, path in read.items() if isinstance(path, str | Path) and os.path.exists(path)}
    uses = {os.path.realpath(path): f"{flag} reads" for flag, path in files.items()}
    for flag, path in written.items():
        if path is not None:
            use = uses.setdefault(os.path.realpath(path), own := f"{flag} writes")
            if use is not own:
                raise InvalidArgument(f"{flag} must not replace the file that {use}, got {path}: choose another")
