"""Owns nothing: the earlier tool's place of `ApiPluginBase`, kept for its plugins."""

from evalscope.perf.plugin.api.base import ApiPluginBase

__all__ = ["ApiPluginBase"]
