"""How a study varies its training images: decided once, when it is begun."""

import optuna

from search.data import Dataset
from search.session import stored_settings
from search.training.auto_augment import AUGMENTATION, Decision, decide
from search.training.variation import AUTO, before, checked


def decide_in(study: optuna.Study, given: str, data: str | None, images: Dataset) -> Decision:
    """What `--augment` comes to in a study, where it is kept: what was decided when it was begun stands.

    Raises InvalidArgument for names that are none.
    """
    stored = stored_settings(study)
    if stored is None:
        found = decide(given, data, images)
        study.set_user_attr(AUGMENTATION, found._asdict())
        return found
    augment = stored.get("augment", before(stored.get("data", data)))
    if checked(given) not in (AUTO, augment):
        return decide(given, data, images)  # it is refused, as settings that differ are
    if AUGMENTATION not in study.user_attrs:
        study.set_user_attr(AUGMENTATION, Decision(augment, "as this study was begun")._asdict())
    return Decision(**study.user_attrs[AUGMENTATION])
