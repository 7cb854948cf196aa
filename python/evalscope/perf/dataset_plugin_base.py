"""Owns nothing: the earlier tool's place of `DatasetPluginBase`, kept for its plugins."""

from evalscope.perf.plugin.datasets.base import (
    Conversation,
    DatasetPluginBase,
    Message,
    Messages,
    Turn,
)

__all__ = ["Conversation", "DatasetPluginBase", "Message", "Messages", "Turn"]
