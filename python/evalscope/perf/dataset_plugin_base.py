"""Owns nothing: the earlier tool's place of `DatasetPluginBase`, kept for its plugins."""

from evalscope.perf.plugin.datasets.base import DatasetPluginBase

__all__ = ["DatasetPluginBase"]
