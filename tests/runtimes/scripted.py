"""The scripted runtime as a file of runtimes: `--runtime scripted` (see the fixture `scripted_runtimes`)."""

from tests.scripted_runtime import RUNTIME

__all__ = ["RUNTIME"]
