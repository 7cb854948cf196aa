"""Owns EvalScope's plugin for DashScope's own protocol, for subclasses.

The tool's `api="dashscope"` needs no Python, and speaks the whole of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, ClassVar

from evalscope.perf.multi_turn_args import drawn
from evalscope.perf.plugin.api.base import Answers, ApiPluginBase
from evalscope.perf.plugin.api.openai_api import template_of

_PARAMETERS = {
    "frequency_penalty": "frequency_penalty",
    "logprobs": "logprobs",
    "n_choices": "n",
    "seed": "seed",
    "stop": "stop",
    "temperature": "temperature",
    "top_p": "top_p",
}


class DashScopeApiPlugin(ApiPluginBase):
    """Bodies with `messages` and `parameters`."""

    answers: ClassVar[Answers | None] = {
        "stream": {
            "text": "/output/choices/0/message/content",
            "prompt_tokens": "/usage/input_tokens",
            "completion_tokens": "/usage/output_tokens",
            "error": "/code",
        },
        "whole": {
            "text": "/output/choices/0/message/content",
            "prompt_tokens": "/usage/input_tokens",
            "completion_tokens": "/usage/output_tokens",
        },
    }

    def build_request(self, messages: Any, param: Any = None) -> Any:
        """The body of a list of messages."""
        param = param or self.param
        if param.query_template is None:
            body: dict[str, Any] = {"messages": messages}
        else:
            body = template_of(param.query_template)
            body.setdefault("input", {})["messages"] = messages
        if param.model is not None:
            body["model"] = param.model
        parameters = body.setdefault("parameters", {})
        if param.max_tokens is not None:
            parameters["max_tokens"] = drawn(param.max_tokens)
        for option, name in _PARAMETERS.items():
            value = getattr(param, option)
            if value is not None:
                parameters[name] = value
        if param.stream is False:
            parameters["stream"] = False
        return body

    def set_request_max_tokens(self, request: dict[str, Any], max_tokens: int) -> None:
        """Among the parameters."""
        request.setdefault("parameters", {})["max_tokens"] = max_tokens

    def parse_responses(self, responses: list[Any], request: Any = None, **kwargs: Any) -> Any:
        """The counts of the last event."""
        last = responses[-1]
        body = last if isinstance(last, Mapping) else json.loads(last)
        return body["usage"]["input_tokens"], body["usage"]["output_tokens"]
