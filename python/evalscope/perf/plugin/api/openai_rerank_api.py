"""Owns EvalScope's plugin for reranking, for subclasses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalscope.perf.plugin.api.default_api import DefaultApiPlugin, json_fields
from evalscope.perf.plugin.api.openai_embedding_api import texts_of


class OpenaiRerankPlugin(DefaultApiPlugin):
    """Bodies with `query` and `documents`."""

    def build_request(self, messages: Any, param: Any = None) -> Any:
        """The body of a dict with both, or of messages or texts: the query, then documents."""
        param = param or self.param
        if isinstance(messages, Mapping):
            query, documents = messages.get("query", ""), messages.get("documents", [])
            documents = [documents] if isinstance(documents, str) else documents
        else:
            texts = [messages] if isinstance(messages, str) else messages
            query, *documents = (
                " ".join(texts_of(text)) if isinstance(text, Mapping) else text for text in texts
            )
        body = {"query": query, "documents": documents}
        if param.model is not None:
            body["model"] = param.model
        body.update(json_fields(param.extra_args))
        return body

    def parse_responses(self, responses: list[Any], request: Any = None, **kwargs: Any) -> Any:
        """The tokens of query and documents; there are none of a response."""
        usage = responses[-1].get("usage") if responses else None
        if not usage:
            return None, 0
        return usage.get("prompt_tokens") or usage.get("total_tokens") or 0, 0
