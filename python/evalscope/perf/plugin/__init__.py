"""Owns what a plugin is written with: base classes and the decorators that register them."""

from evalscope.perf.plugin.api import (
    AnswerFailed,
    ApiPluginBase,
    CustomPlugin,
    DashScopeApiPlugin,
    DefaultApiPlugin,
    OpenaiEmbeddingPlugin,
    OpenaiPlugin,
    OpenaiRerankPlugin,
    OpenAIResponsesPlugin,
)
from evalscope.perf.plugin.datasets import (
    BaseDatasetArgs,
    Conversation,
    CustomDatasetPlugin,
    DatasetPluginBase,
    Message,
    Messages,
    OpenqaDatasetPlugin,
    RandomDatasetPlugin,
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
    "BaseDatasetArgs",
    "Conversation",
    "CustomDatasetPlugin",
    "CustomPlugin",
    "DashScopeApiPlugin",
    "DatasetPluginBase",
    "DatasetRegistry",
    "DefaultApiPlugin",
    "Message",
    "Messages",
    "OpenAIResponsesPlugin",
    "OpenaiEmbeddingPlugin",
    "OpenaiPlugin",
    "OpenaiRerankPlugin",
    "OpenqaDatasetPlugin",
    "PluginRegistry",
    "RandomDatasetPlugin",
    "Turn",
    "register_api",
    "register_dataset",
]
