"""Owns the base class of plugins that make prompts."""

from evalscope.perf.plugin.datasets.base import DatasetPluginBase

__all__ = ["DatasetPluginBase"]
