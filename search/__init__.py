"""Finding a network for a latency budget.

    import search
    found = search.find(budget_ms=20, data="photos/", minutes=10)
    found.spec, found.module, found.summary, found.study, found.save("mine/")
    search.finetune("photos/", minutes=30)
    search.prune(found.module, budget_macs=100e6, data="photos/")
    search.classify("studies/NAME/best.json", "new.jpg")

The names are imported when they are used: this package alone imports no torch.
"""

from typing import TYPE_CHECKING

from searchspace.lazy import lazy_names

if TYPE_CHECKING:
    from search.classifier import classify
    from search.finetune import finetune
    from search.netadapt.api import prune
    from search.netadapt.prune_module import PrunedModule, prune_module
    from search.result import Result
    from search.run import find
    from search.validate import validate

__all__ = ["PrunedModule", "Result", "classify", "find", "finetune", "prune", "prune_module", "validate"]
__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "PrunedModule": "search.netadapt.prune_module",
        "Result": "search.result",
        "classify": "search.classifier",
        "find": "search.run",
        "finetune": "search.finetune",
        "prune": "search.netadapt.api",
        "prune_module": "search.netadapt.prune_module",
        "validate": "search.validate",
    },
)
