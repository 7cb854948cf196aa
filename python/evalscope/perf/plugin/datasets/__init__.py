"""Owns the base class of plugins that make prompts."""

from evalscope.perf.plugin.datasets.base import (
    Conversation,
    DatasetPluginBase,
    Message,
    Messages,
    Turn,
)

__all__ = ["Conversation", "DatasetPluginBase", "Message", "Messages", "Turn"]
