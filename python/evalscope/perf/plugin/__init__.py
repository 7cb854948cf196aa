"""Owns what a plugin is written with: base classes and the decorators that register them."""

from evalscope.perf.plugin.api.base import AnswerFailed, ApiPluginBase
from evalscope.perf.plugin.api.default_api import DefaultApiPlugin
from evalscope.perf.plugin.datasets.base import (
    Conversation,
    DatasetPluginBase,
    Message,
    Messages,
    Turn,
)
from evalscope.perf.plugin.registry import (
    ApiRegistry,
    DatasetRegistry,
    PluginRegistry,
    register_api,
    register_dataset,
)

__all__ = [
    "AnswerFailed",
    "ApiPluginBase",
    "ApiRegistry",
    "Conversation",
    "DatasetPluginBase",
    "DatasetRegistry",
    "DefaultApiPlugin",
    "Message",
    "Messages",
    "PluginRegistry",
    "Turn",
    "register_api",
    "register_dataset",
]
