"""Samplers: who proposes the next network. The only folder that knows Optuna's sampler API."""
