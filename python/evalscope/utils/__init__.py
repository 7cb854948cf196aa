"""Owns EvalScope's place of `get_logger`, for its plugins."""

from evalscope.utils.logger import get_logger

__all__ = ["get_logger"]
