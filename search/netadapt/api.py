"""`search.prune`: what `python -m search.netadapt` does, as a function; also for a torch module of your own."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from search.budget import CostModel
from search.console import Progress, TimeLeft
from search.cores import limit_threads
from search.data import Dataset
from search.netadapt.finish import prune_and_finish
from search.netadapt.history import StoredHistory
from search.netadapt.inputs import Inputs, check_priced, module_inputs, read_inputs, table_of, timer_of
from search.netadapt.job import Job, definition
from search.netadapt.proposals import MOVES
from search.netadapt.records import Part
from search.netadapt.report import report
from search.netadapt.settings import Settings
from search.netadapt.timing import PairedTimer
from search.netadapt.trainable import as_it_came
from search.netadapt.tuning import fine_tuned
from search.parents import file_or_names
from search.result import Result
from search.session import bind, opened_study
from search.sources import source_text
from search.study_augment import decide_in
from search.training.auto_augment import decide
from search.training.recipe import Recipe
from searchspace.arguments import check_types
from searchspace.errors import InvalidArgument
from searchspace.files import write_atomic
from searchspace.latency.table import LatencyTable, read_table
from searchspace.nn import Network, network_bytes
from searchspace.spec import NetworkSpec
from studies.storage import existing, folder

if TYPE_CHECKING:
    import pandas as pd

AnyNetwork = str | Path | NetworkSpec | nn.Module
_OF_A_MODULE: dict[str, Any] = dict.fromkeys(("weights", "ema", "minutes", "study", "replay"))
_OF_A_MODULE |= {"family": False, "workers": 1, "criterion": "l2", "moves": ("channels",)}


@dataclass(frozen=True, kw_only=True, eq=False)
class Pruned:
    """What `prune` came to.

    Attributes:
        module: The network for the smallest budget that was reached, trained on, in eval mode on the CPU.
        spec: Its spec; None for a module of your own.
        summary: What --json prints: the way there, accuracies, costs.
    """

    module: nn.Module
    spec: NetworkSpec | None
    summary: dict[str, Any]

    @property
    def study(self) -> pd.DataFrame:
        """All proposals, one row each, by `studies.load`; not of a module of your own, of which nothing is kept."""
        import studies

        return studies.load(self.summary["study"])

    @property
    def fixed(self) -> dict[str, str]:
        """The channel groups that could not be pruned, and what stands in the way."""
        return dict(self.summary.get("fixed", {}))

    def report(self) -> str:
        """What the command prints."""
        return report(self.summary)

    def save(self, folder: str | Path) -> Path:
        """Copy the study's files to `folder`, see Result.save; of a module of your own best.safetensors is written."""
        if self.spec is not None:
            return Result(self.summary).save(folder)
        path = Path(folder) / "best.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, network_bytes(self.module, {}))
        return path.parent


def prune(
    network: AnyNetwork,
    *,
    weights: str | Path | None = None,
    ema: bool | None = None,
    data: str | Path | Dataset | None = None,
    split_folders: str | None = None,
    label_column: str | None = None,
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
    minutes: float | None = None,
    epochs: int | None = None,
    epoch_images: int | None = None,
    augment: str = Settings.augment,
    class_weights: str = Settings.class_weights,
    proxy_resolution: int | None = None,
    workers: int = Settings.workers,
    seed: int | None = None,
    family: bool = False,
    study: str | None = None,
    fresh: bool = False,
    replay: str | None = None,
    resolution: int | str | None = None,
    timer: PairedTimer | None = None,
    quiet: bool = False,
) -> Pruned:
    """Prune a trained network to a budget, train it on and test it once (NetAdapt, arXiv:1804.03230).

    The keyword arguments are the flags of `python -m search.netadapt --help`. `network` is a spec file, which has
    its weights beside it, the name of a published network, which has its own, a NetworkSpec (with `weights`), a network
    that `searchspace.nn.build` or a search made, or a torch module of your own. What you give stays as it is. `data`
    may be a Dataset and `latency` a LatencyTable. A module of your own needs `resolution`: the pixels that it is priced
    and timed at. `timer` times networks in place of this machine. `quiet`: print no progress.

    A module of your own takes (batch, 3, height, width) as `search.training.augmentation.normalise` gives it and
    returns (batch, classes). Only its channels are pruned, by their L2 norm, and nothing is kept on disk. For any other
    network all is kept in studies/NAME/, and the same call goes on where it stopped.

    Raises:
        UnsupportedModule: torch.fx cannot read the module; the node is named.
        InfeasibleBudget: No budget can be reached. Where some are and the smallest is not, `summary["missed"]` says so.
        PhinasError: Anything else that the caller can mend.
    """
    given = dict(locals())
    check_types(prune, given)
    settings, clock = _settings(given), TimeLeft()
    limit_threads()
    own = network if isinstance(network, nn.Module) and _is_own(network) else None
    images = data if isinstance(data, Dataset) else None
    with Progress(clock.left_s, quiet=quiet) as progress, ExitStack() as stack:
        folder(settings.study_name)  # mistakes are found before anything takes time
        if isinstance(settings.latency, Path):
            read_table(settings.latency)
        earlier = StoredHistory(existing(settings.replay), keep_all=True) if settings.replay else None
        if own is not None and isinstance(settings.resolution, int):
            inputs = module_inputs(own, settings, progress, resolution=settings.resolution, images=images)
        else:
            of_spec = network if isinstance(network, (NetworkSpec, Network)) else None
            inputs = read_inputs(settings, progress, network=of_spec, images=images)
        table = table_of(settings, inputs.network, progress)
        check_priced(inputs.network, CostModel(settings.unit, table))
        timer = timer or timer_of(table, inputs, progress)
        timed = None if earlier is None else replay_of(earlier, timer, inputs)
        kept = None if own is not None else stack.enter_context(opened_study(settings.study_name, fresh=fresh))
        about = (settings.augment, settings.data, inputs.images)
        augmentation = decide(*about) if kept is None else decide_in(kept, *about)
        progress.line(augmentation.sentence())
        settings = replace(settings, augment=augmentation.augment)
        model = CostModel(settings.unit, table)
        recipe = replace(Recipe(), class_weights=settings.class_weights).varied(settings.augment)
        job = Job(settings, inputs, model, timer, progress, recipe, replay=timed, clock=clock)
        if kept is not None:
            about_study = definition(settings, inputs, table)
            bind(kept, about_study, images=inputs.images, table=table, note=progress.line)
            job = fine_tuned(replace(job, study=kept))
        summary = prune_and_finish(job)
    if job.study is not None and not summary.get("nothing_to_do"):
        result = Result(summary)
        return Pruned(module=result.module, spec=result.spec, summary=summary)
    found = job.history.network(summary["winner"]["iteration"]) if "winner" in summary else inputs.network
    return Pruned(module=as_it_came(found.module), spec=found.spec, summary=summary)


def _is_own(network: AnyNetwork) -> bool:
    return isinstance(network, nn.Module) and not isinstance(network, Network)


def _settings(given: dict[str, Any]) -> Settings:
    """The settings among the arguments of `prune`, all of which are checked."""
    network, data, latency = given["network"], given["data"], given["latency"]
    is_own = _is_own(network)
    how = {name: given[name] for name in ("split_folders", "label_column")}
    settings = Settings(
        **{field.name: given[field.name] for field in fields(Settings)}
        | {
            "network": _name(network),
            "weights": _weights(network, given["weights"]),
            "data": data.name if isinstance(data, Dataset) else source_text(data, **how),
            "budgets": None if given["budgets"] is None else tuple(given["budgets"]),
            "latency": Path(latency) if isinstance(latency, str) else latency,
            "moves": tuple((("channels",) if is_own else MOVES) if given["moves"] is None else given["moves"]),
        }
    )
    workers, fresh = settings.workers, given["fresh"]
    if isinstance(data, Dataset) and workers > 1:
        raise InvalidArgument(f"workers read the images themselves: give data as a source, or workers=1, got {workers}")
    if is_own and not isinstance(settings.resolution, int):
        raise InvalidArgument("a module of your own needs resolution: the pixels that it is priced and timed at")
    for name, needed in _OF_A_MODULE.items() if is_own else ():
        if (value := getattr(settings, name)) != needed or fresh:
            raise InvalidArgument(
                f"{'fresh' if fresh else name} is for networks of a spec: a module of your own is pruned by its "
                f"channels' L2 norm in this process, and nothing is kept on disk; got {fresh or value}: leave it out"
            )
    return settings


def replay_of(earlier: StoredHistory, timer: PairedTimer | None, inputs: Inputs) -> Part:
    """What an earlier pruning of the same network timed. Raises InvalidArgument."""
    if timer is None:
        raise InvalidArgument(
            "--replay gives the outcomes of timing tests, and nothing is timed here: the table is of another device or "
            "setting; leave it out"
        )
    spec = earlier.iterations[0].spec if earlier.iterations else None
    if spec is None or spec.fingerprint() != inputs.network.fingerprint:
        begun = f"another one, {spec.name} at {spec.resolution} px" if spec else "none"
        raise InvalidArgument(
            f"--replay must name a pruning of the same network at the same pixels, got one of {begun}: leave it out, "
            "or name another (python -m studies lists them)"
        )
    return earlier.timed()


def _name(network: AnyNetwork) -> Path:
    if isinstance(network, (str, Path)):
        if not Path(network).name:
            raise InvalidArgument(f"--network must be a spec file or the name of a published network, got {network}")
        return Path(network)
    spec = getattr(network, "spec", network)
    return Path(spec.name if isinstance(spec, NetworkSpec) else type(network).__name__)


def _weights(network: AnyNetwork, weights: str | Path | None) -> Path | str | None:
    """A file as a path; words and names of published weights as they are."""
    if weights is not None:
        return file_or_names(weights)
    if isinstance(network, nn.Module):
        return None
    if isinstance(network, NetworkSpec):
        raise InvalidArgument(
            f"a network is pruned with its trained weights, got --network {network.name} and no --weights: name them, "
            "or give auto"
        )
    return Path(network).with_suffix(".safetensors") if Path(network).suffix == ".json" else "auto"
