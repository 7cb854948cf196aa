"""Owns the base classes of plugins that build bodies and read responses."""

from evalscope.perf.plugin.api.base import AnswerFailed, ApiPluginBase
from evalscope.perf.plugin.api.default_api import DefaultApiPlugin

__all__ = ["AnswerFailed", "ApiPluginBase", "DefaultApiPlugin"]
