"""`search.prune`: what `python -m search.netadapt` does, as a function; also for a torch module of your own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from search.budget import CostModel
from search.console import Progress, TimeLeft
from search.data import Dataset
from search.netadapt.finish import prune_and_finish
from search.netadapt.history import StoredHistory
from search.netadapt.inputs import Inputs, module_inputs, read_inputs, table_of, timer_of
from search.netadapt.job import Job, definition
from search.netadapt.proposals import MOVES
from search.netadapt.report import report
from search.netadapt.settings import Settings
from search.netadapt.timing import PairedTimer, Replayed
from search.session import opened_study
from search.training.recipe import Recipe
from searchspace.errors import InvalidArgument
from searchspace.files import write_atomic
from searchspace.latency.table import LatencyTable, read_table
from searchspace.nn import Network, load_weights, network_bytes, read_weights
from searchspace.spec import NetworkSpec, read_spec
from studies.storage import existing, folder


@dataclass(frozen=True, kw_only=True, eq=False)
class Pruned:
    """What `prune` came to.

    Attributes:
        module: The network for the smallest budget that was reached, trained on, in eval mode on the CPU.
        spec: Its spec; None for a module of your own.
        summary: What --json prints: the way there, accuracies, costs.
        study: The name of the study, for `studies.load`; None for a module of your own, of which nothing is kept.
    """

    module: nn.Module
    spec: NetworkSpec | None
    summary: dict[str, Any]
    study: str | None

    @property
    def fixed(self) -> dict[str, str]:
        """The channel groups that could not be pruned, and what stands in the way."""
        return dict(self.summary.get("fixed", {}))

    def report(self) -> str:
        """What the command prints."""
        return report(self.summary)

    def save(self, path: str | Path) -> None:
        """Write the network as FILE.json and FILE.safetensors; of a module of your own only the weights.

        Raises StorageError.
        """
        path = Path(path)
        about = {"fingerprint": self.spec.fingerprint()} if self.spec else {}
        write_atomic(path.with_suffix(".safetensors"), network_bytes(self.module, about))
        if self.spec is not None:
            write_atomic(path.with_suffix(".json"), self.spec.to_json())


def prune(
    network: str | Path | NetworkSpec | nn.Module,
    *,
    weights: str | Path | None = None,
    data: str | Path | Dataset | None = None,
    budget_ms: float | None = None,
    budget_macs: float | None = None,
    budget_params: float | None = None,
    budgets: Sequence[float] | None = None,
    latency: str | Path | LatencyTable | None = None,
    runtime: str | None = None,
    threads: int | None = None,
    moves: Sequence[str] | None = None,
    criterion: str = Settings.criterion,
    algorithm: str = Settings.algorithm,
    step: float | None = None,
    decay: float | None = None,
    short_steps: int = Settings.short_steps,
    shortlist: int = Settings.shortlist,
    validation_images: int = Settings.validation_images,
    epochs: int = Settings.epochs,
    epoch_images: int | None = None,
    proxy_resolution: int | None = None,
    workers: int = Settings.workers,
    seed: int | None = None,
    family: bool = False,
    study: str | None = None,
    fresh: bool = False,
    replay: str | None = None,
    resolution: int | None = None,
    timer: PairedTimer | None = None,
    quiet: bool = False,
) -> Pruned:
    """Prune a trained network to a budget, train it on and test it once (NetAdapt, arXiv:1804.03230).

    The keyword arguments are the flags of `python -m search.netadapt --help`. Beside them:

    Args:
        network: A spec file, the name of a published network, a NetworkSpec (these with `weights`, which a spec file
            has beside it), a network that `searchspace.nn.build` or a search made, or a torch module of your own. What
            you give stays as it is.
        data: Also a Dataset of `search.data.load`.
        latency: Also a LatencyTable.
        resolution: Pixels that a module of your own is priced and timed at; it must be given for one, and for no other.
        timer: What times networks in place of this machine: for tests and devices of your own.
        quiet: Print no progress.

    A module of your own takes (batch, 3, height, width) as `search.training.augmentation.normalise` gives it and
    returns (batch, classes). Only its channels are pruned, by their L2 norm, and nothing is kept on disk. For any other
    network all is kept in studies/NAME/, and the same call goes on where it stopped.

    Raises:
        UnsupportedModule: torch.fx cannot read the module; the node is named.
        InfeasibleBudget: No budget can be reached. Where some are and the smallest is not, `summary["missed"]` says so.
        PhinasError: Anything else that the caller can mend.
    """
    source, images = (data.name, data) if isinstance(data, Dataset) else (data, None)
    settings = Settings(
        network=_name(network),
        weights=_weights(network, weights),
        data=None if source is None else str(source),
        budget_ms=budget_ms,
        budget_macs=budget_macs,
        budget_params=budget_params,
        budgets=None if budgets is None else tuple(budgets),
        latency=Path(latency) if isinstance(latency, str) else latency,
        runtime=runtime,
        threads=threads,
        moves=tuple(moves or (MOVES if _is_of_spec(network) else ("channels",))),
        criterion=criterion,
        algorithm=algorithm,
        step=step,
        decay=decay,
        short_steps=short_steps,
        shortlist=shortlist,
        validation_images=validation_images,
        epochs=epochs,
        epoch_images=epoch_images,
        proxy_resolution=proxy_resolution,
        workers=workers,
        seed=seed,
        family=family,
        study=study,
        replay=replay,
    )
    if images is not None and workers > 1:
        raise InvalidArgument(f"workers read the images themselves: give data as a source, or workers=1, got {workers}")
    if not _is_of_spec(network):
        _check_own(settings, fresh=fresh, resolution=resolution)
    elif resolution is not None:
        raise InvalidArgument(f"resolution is for a module of your own, a spec has its own: leave {resolution} out")
    with ExitStack() as stack:
        clock = TimeLeft()
        progress = stack.enter_context(Progress(clock.left_s, quiet=quiet))
        return _run(settings, network, images, timer, resolution, fresh, clock, progress, stack)


def _run(
    settings: Settings,
    network: str | Path | NetworkSpec | nn.Module,
    images: Dataset | None,
    timer: PairedTimer | None,
    resolution: int | None,
    fresh: bool,
    clock: TimeLeft,
    progress: Progress,
    stack: ExitStack,
) -> Pruned:
    folder(settings.study_name)  # mistakes are told before anything takes time
    if isinstance(settings.latency, Path):
        read_table(settings.latency)
    earlier = StoredHistory(existing(settings.replay), keep_all=True) if settings.replay else None
    if resolution is not None:
        assert isinstance(network, nn.Module)
        inputs = module_inputs(network, settings, progress, resolution=resolution, images=images)
    else:
        of_spec = network if isinstance(network, (NetworkSpec, Network)) else None
        inputs = read_inputs(settings, progress, network=of_spec, images=images)
    table = table_of(settings, inputs.network, progress)
    timer = timer or timer_of(table, inputs, progress)
    if earlier is not None:
        timer = replayed(earlier, timer, inputs)
    study = None
    if inputs.network.spec is not None:
        about = definition(settings, inputs, table)
        study = stack.enter_context(opened_study(settings.study_name, about, fresh=fresh))
    model, recipe = CostModel(settings.unit, table), Recipe.for_data(settings.data)
    job = Job(settings, inputs, model, timer, progress, recipe, study=study, clock=clock)
    summary = prune_and_finish(job)
    return _pruned(job, summary)


def _pruned(job: Job, summary: dict[str, Any]) -> Pruned:
    name = job.study.study_name if job.study else None
    if summary.get("nothing_to_do"):
        network = job.inputs.network
        return Pruned(module=network.module, spec=network.spec, summary=summary, study=name)
    winner = summary["winner"]
    if winner["network"] is None:
        module = job.history.network(winner["iteration"]).module
        return Pruned(module=module.eval(), spec=None, summary=summary, study=None)
    path = Path(winner["network"])
    spec = read_spec(path)
    module = load_weights(spec, read_weights(path.with_suffix(".safetensors"))).eval()
    return Pruned(module=module, spec=spec, summary=summary, study=name)


def replayed(earlier: StoredHistory, timer: PairedTimer | None, inputs: Inputs) -> PairedTimer:
    """The timer that takes what an earlier pruning of the same network measured. Raises InvalidArgument."""
    if timer is None:
        raise InvalidArgument(
            "--replay gives the outcomes of timing tests, and nothing is timed here: the table is of another device or "
            "setting; leave it out"
        )
    spec, fingerprint = earlier.iterations[0].spec if earlier.iterations else None, inputs.network.fingerprint
    begun = spec.fingerprint() if spec else "no network"
    if begun != fingerprint:
        raise InvalidArgument(
            f"--replay must name a pruning of the same network ({fingerprint}), got one of {begun}: leave it out, or "
            "name another (python -m studies lists them)"
        )
    return Replayed(earlier.timings(), earlier.measurements(), timer)


def _check_own(settings: Settings, *, fresh: bool, resolution: int | None) -> None:
    """Raises InvalidArgument for what a module of the caller's own cannot have."""
    if resolution is None:
        raise InvalidArgument("a module of your own needs resolution: the pixels that it is priced and timed at")
    for name, value, least in (
        ("weights", settings.weights, None),
        ("study", settings.study, None),
        ("replay", settings.replay, None),
        ("family", settings.family, False),
        ("fresh", fresh, False),
        ("workers", settings.workers, 1),
        ("criterion", settings.criterion, Settings.criterion),
        ("moves", settings.moves, ("channels",)),
    ):
        if value != least:
            raise InvalidArgument(
                f"{name} is for networks of a spec: a module of your own is pruned by its channels' L2 norm in this "
                f"process, and nothing is kept on disk; got {value}: leave it out"
            )


def _is_of_spec(network: str | Path | NetworkSpec | nn.Module) -> bool:
    return isinstance(network, Network) or not isinstance(network, nn.Module)


def _name(network: str | Path | NetworkSpec | nn.Module) -> Path:
    """The file, or a name for what has none."""
    if isinstance(network, (str, Path)):
        if not Path(network).name:
            raise InvalidArgument(f"--network must be a spec file or the name of a published network, got {network}")
        return Path(network)
    spec = getattr(network, "spec", network)
    return Path(spec.name if isinstance(spec, NetworkSpec) else type(network).__name__)


def _weights(network: str | Path | NetworkSpec | nn.Module, weights: str | Path | None) -> Path | None:
    """The weights' file; None for a module, which has its own."""
    if weights is not None:
        return Path(weights)
    if isinstance(network, nn.Module):
        return None
    if isinstance(network, NetworkSpec) or Path(network).suffix != ".json":
        raise InvalidArgument(
            f"a network is pruned with its trained weights, got --network {_name(network)} and no --weights: name them"
        )
    return Path(network).with_suffix(".safetensors")
