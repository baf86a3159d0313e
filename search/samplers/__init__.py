"""Who proposes the next network. The only folder that knows Optuna's sampler and pruner classes."""

KINDS = ("gp", "tpe", "random")
