"""The whole job of `search.validate`: the reference set, estimators' scores, the comparison."""

from collections.abc import Sequence
from pathlib import Path

import torch

from search.accuracy import names as estimators
from search.console import Progress
from search.validation.comparison import Comparison
from search.validation.files import ReferenceFiles
from search.validation.inputs import Inputs
from search.validation.plot import plot
from search.validation.proxies import PROXIES
from search.validation.reference import ReferenceTraining, jobs
from search.validation.scores import Scoring
from search.validation.settings import Settings
from studies.figure import new_figure


def run_validation(
    settings: Settings,
    reference: str | Path,
    *,
    command: str,
    as_is: bool = False,
    accuracy: Sequence[str] | None = None,
    proxy_resolution: int,
    prepare_minutes: float,
    epochs: int | None = None,
    band: float,
    threads: int | None = None,
    figure: Path | None = None,
    quiet: bool = False,
) -> Comparison:
    """Train what the set lacks (not with `as_is`), have estimators judge what they have not, and compare.

    `accuracy` names the estimators (None: all). Raises PhinasError for whatever the user can mend.
    """
    files = ReferenceFiles.named(reference)
    if figure is not None:
        new_figure(figure)  # told before hours of work if it cannot be drawn
    if threads is not None:
        torch.set_num_threads(threads)
    with Progress(lambda: None, quiet=quiet) as progress:
        inputs = Inputs(settings, threads, progress, files.begun())
        if as_is:
            files.check(inputs.identity())
        else:
            files.bind(inputs.about(), command=command, table=inputs.table)
            with files.locked():
                train_reference(inputs, files)
        scoring = Scoring(
            inputs=inputs, files=files, pixels=proxy_resolution, prepare_minutes=prepare_minutes, epochs=epochs
        )
        trained = [row for row in files.trained() if row.accuracy is not None]
        judged = scoring.run(trained, [*(estimators() if accuracy is None else accuracy), *PROXIES])
        found = Comparison.of(
            trained, judged, band=band, seed=settings.seed, pixels=settings.resolution, threads=torch.get_num_threads()
        )
        if figure is not None:
            plot(found, figure)
    return found


def train_reference(inputs: Inputs, files: ReferenceFiles) -> None:
    """Train what the set lacks."""
    settings, images, every = inputs.settings, inputs.images, inputs.members()
    count = len(list(jobs(every, seed=settings.seed, twice=settings.twice)))
    each = f"{settings.minutes_each:g} minutes" if settings.images_each is None else f"{settings.images_each} images"
    inputs.progress.line(
        f"{len(every)} networks in {count} trainings of {each}; {len(images.shown.train)} images to train, "
        f"{len(images.held)} held-out validation images tell accuracy at {settings.resolution} px, "
        f"{len(images.shown.validation)} others are the estimators'"
    )
    inputs.progress.line(inputs.augmentation.sentence())
    ReferenceTraining(
        settings=settings,
        images=images,
        parents=inputs.parents,
        files=files,
        progress=inputs.progress,
        augment=inputs.augmentation.augment,
    ).run(every)
