"""Owns the newer form of an API plugin: OpenAI's bodies, and responses that are already parsed."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

from evalscope.perf.plugin.api.base import ApiPluginBase

# option -> field of the body
_FIELDS = {
    "model": "model",
    "min_tokens": "min_tokens",
    "frequency_penalty": "frequency_penalty",
    "repetition_penalty": "repetition_penalty",
    "logprobs": "logprobs",
    "n_choices": "n",
    "seed": "seed",
    "stop": "stop",
    "stop_token_ids": "stop_token_ids",
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "stream": "stream",
}


class DefaultApiPlugin(ApiPluginBase):
    """Speaks OpenAI's API; override what is different.

    `parse_responses` gets parsed JSON (dicts) and not bytes as in `ApiPluginBase`.
    """

    def __init__(self, param: Any = None) -> None:
        """`param` has the options."""
        super().__init__(param)
        self._random = random.Random(getattr(param, "seed", None) or 0)

    def build_request(self, messages: Any, param: Any) -> Any:
        """A body for chat completions, or for completions where the prompt is plain."""
        body: dict[str, Any]
        if isinstance(messages, Mapping):
            body = dict(messages)
        elif isinstance(messages, str) or (messages and isinstance(messages[0], int)):
            body = {"prompt": messages}
        else:
            body = {"messages": messages}
        for option, field in _FIELDS.items():
            value = getattr(param, option)
            if value is not None and value is not False:
                body.setdefault(field, value)
        body.setdefault("stream", False)
        if param.max_tokens is not None:
            body.setdefault("max_tokens", self._most_tokens(param.max_tokens))
        if body["stream"]:
            body.setdefault("stream_options", {"include_usage": True})
        for field, value in _fields(param.extra_args).items():
            if value is None:
                body.pop(field, None)
            else:
                body[field] = value
        return body

    def parse_responses(self, responses: list[Any], request: Any = None, **kwargs: Any) -> Any:
        """The counts of the last `usage` that the server reported."""
        for response in reversed(responses):
            usage = response.get("usage") if isinstance(response, Mapping) else None
            if usage:
                return usage.get("prompt_tokens"), usage.get("completion_tokens")
        return None, None

    def _most_tokens(self, max_tokens: Any) -> Any:
        if isinstance(max_tokens, (list, tuple)):
            return self._random.randint(min(max_tokens), max(max_tokens))
        return max_tokens


def _fields(extra_args: Any) -> dict[str, Any]:
    if isinstance(extra_args, str):
        extra_args = json.loads(extra_args)
    return dict(extra_args or {})
