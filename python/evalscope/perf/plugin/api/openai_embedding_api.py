"""Owns EvalScope's plugin for embeddings, for subclasses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalscope.perf.plugin.api.default_api import DefaultApiPlugin, json_fields


class OpenaiEmbeddingPlugin(DefaultApiPlugin):
    """Bodies with `input`: a text or several."""

    def build_request(self, messages: Any, param: Any = None) -> Any:
        """The body of texts, or of the texts of messages."""
        param = param or self.param
        texts: Any = messages
        if isinstance(messages, list) and messages and isinstance(messages[0], Mapping):
            texts = [text for message in messages for text in texts_of(message)]
            texts = texts[0] if len(texts) == 1 else texts
        body = {"input": texts}
        if param.model is not None:
            body["model"] = param.model
        body.update(json_fields(param.extra_args))
        return body

    def parse_responses(self, responses: list[Any], request: Any = None, **kwargs: Any) -> Any:
        """The tokens of the input; there are none of a response."""
        usage = responses[-1].get("usage") if responses else None
        if not usage:
            return None, 0
        return usage.get("prompt_tokens") or usage.get("total_tokens") or 0, 0


def texts_of(message: Mapping[str, Any]) -> list[str]:
    """The texts in a message."""
    content = message.get("content", "")
    if isinstance(content, str):
        return [content]
    return [part.get("text", "") for part in content if part.get("type") == "text"]
