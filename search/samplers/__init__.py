"""Who proposes the next network. The only folder that knows Optuna's sampler and pruner classes.

    from search.samplers import BlockSampler
    study = optuna.create_study(sampler=BlockSampler(seed=0))

README.md says what BlockSampler does for any Optuna study; the names are imported when they are used.
"""

from typing import TYPE_CHECKING

from searchspace.lazy import lazy_names

if TYPE_CHECKING:
    from search.samplers.advice import expected_gain, importance, recommend
    from search.samplers.block_sampler import BlockSampler

KINDS = ("block", "tpe", "random")
EARLIER = {"gp": "block"}  # names that older studies store

__all__ = ["KINDS", "BlockSampler", "expected_gain", "importance", "recommend"]
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "BlockSampler": "search.samplers.block_sampler",
        "expected_gain": "search.samplers.advice",
        "importance": "search.samplers.advice",
        "recommend": "search.samplers.advice",
    },
)
