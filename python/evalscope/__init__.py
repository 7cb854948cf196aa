"""Owns the name `evalscope` in Python: the load tester is a binary, and this package runs it.

`evalscope.perf` runs the binary and serves plugins to it. No code of this package runs inside
the process that measures.
"""

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from evalscope.binary import BinaryNotFound, find_evalscope_bin
from evalscope.elsewhere import EVALUATION, OF_EVALUATION
from evalscope.errors import EvalscopeError

__all__ = ["BinaryNotFound", "EvalscopeError", "__version__", "find_evalscope_bin"]

try:
    __version__ = version("evalscope")
except PackageNotFoundError:
    # imported from a folder of sources
    __version__ = "0+unknown"


def __getattr__(name: str) -> Any:
    """Say where evaluation is; an `ImportError`, since it is what `from … import` shows."""
    if name in OF_EVALUATION:
        raise ImportError(EVALUATION.format(name=name))
    raise AttributeError(f"module 'evalscope' has no attribute {name!r}")
