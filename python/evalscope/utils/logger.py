"""Owns the log of plugins and scripts, as EvalScope's documents have them write it."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

_NAME = "evalscope"


def get_logger(name: str | None = None, **_options: Any) -> logging.Logger:
    """A logger that writes to stderr, at the level in `EVALSCOPE_LOG_LEVEL`; INFO without it.

    The binary shows what plugins write there. Options of EvalScope's, such as a file, have no
    effect: the binary's log is `benchmark.log` in the results.
    """
    logger = logging.getLogger(_NAME)
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        form = "%(asctime)s - %(name)s - %(levelname)s: %(message)s"
        handler.setFormatter(logging.Formatter(form))
        logger.addHandler(handler)
        level = os.environ.get("EVALSCOPE_LOG_LEVEL", "INFO").upper()
        logger.setLevel(level if isinstance(logging.getLevelName(level), int) else "INFO")
        logger.propagate = False
    return logger if name in (None, _NAME) else logger.getChild(str(name))


def configure_logging(debug: bool = False, log_file: str | None = None) -> None:
    """Let `get_logger` show debug lines as well, and write into a file."""
    logger = get_logger()
    if debug:
        logger.setLevel(logging.DEBUG)
    if log_file is not None:
        handler = logging.FileHandler(log_file, encoding="utf-8")
        handler.setFormatter(logger.handlers[0].formatter)
        logger.addHandler(handler)
