"""Owns the base classes of plugins that build bodies and read responses."""

from evalscope.perf.plugin.api.base import AnswerFailed, ApiPluginBase
from evalscope.perf.plugin.api.custom_api import CustomPlugin
from evalscope.perf.plugin.api.dashscope_api import DashScopeApiPlugin
from evalscope.perf.plugin.api.default_api import DefaultApiPlugin
from evalscope.perf.plugin.api.openai_api import OpenaiPlugin
from evalscope.perf.plugin.api.openai_embedding_api import OpenaiEmbeddingPlugin
from evalscope.perf.plugin.api.openai_rerank_api import OpenaiRerankPlugin
from evalscope.perf.plugin.api.openai_responses_api import OpenAIResponsesPlugin

__all__ = [
    "AnswerFailed",
    "ApiPluginBase",
    "CustomPlugin",
    "DashScopeApiPlugin",
    "DefaultApiPlugin",
    "OpenAIResponsesPlugin",
    "OpenaiEmbeddingPlugin",
    "OpenaiPlugin",
    "OpenaiRerankPlugin",
]
