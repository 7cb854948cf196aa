"""Owns EvalScope's plugin for OpenAI's Responses API, for subclasses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from evalscope.perf.multi_turn_args import drawn
from evalscope.perf.plugin.api.base import Answers
from evalscope.perf.plugin.api.default_api import DefaultApiPlugin, json_fields
from evalscope.perf.plugin.api.openai_api import template_of

_OPTIONS = {
    "model": "model",
    "stream": "stream",
    "temperature": "temperature",
    "top_p": "top_p",
}


class OpenAIResponsesPlugin(DefaultApiPlugin):
    """Bodies with `input`.

    Every event with a `delta` bears tokens, and the one with the whole response ends the stream.
    """

    answers: ClassVar[Answers | None] = {
        "stream": {
            "text": "/delta",
            "prompt_tokens": "/response/usage/input_tokens",
            "completion_tokens": "/response/usage/output_tokens",
            "error": "/response/error",
        },
        "whole": {
            "text": "/output/0/content/0/text",
            "prompt_tokens": "/usage/input_tokens",
            "completion_tokens": "/usage/output_tokens",
        },
    }

    def build_request(self, messages: Any, param: Any = None) -> Any:
        """The body of a prompt: messages, a text, or a body already."""
        param = param or self.param
        body: dict[str, Any]
        if param.query_template is not None:
            body = {**template_of(param.query_template), "input": _input(messages)}
        elif isinstance(messages, Mapping):
            body = dict(messages)
            if "messages" in body and "input" not in body:
                body["input"] = _input(body.pop("messages"))
        else:
            body = {"input": _input(messages)}
        for option, field in _OPTIONS.items():
            value = getattr(param, option)
            if value is not None:
                body[field] = value
        if param.max_tokens is not None:
            self.set_request_max_tokens(body, drawn(param.max_tokens))
        body.update(json_fields(param.extra_args))
        return body

    def set_request_max_tokens(self, request: dict[str, Any], max_tokens: int) -> None:
        """Under the name that this API has for it."""
        request["max_output_tokens"] = max_tokens

    def parse_responses(self, responses: list[Any], request: Any = None, **kwargs: Any) -> Any:
        """The counts of the last `usage`, in the events or in the response."""
        for response in reversed(responses):
            usage = (response.get("response") or response).get("usage")
            if usage:
                return usage.get("input_tokens"), usage.get("output_tokens")
        return None, None


def _input(messages: Any) -> Any:
    """Messages with the parts that this API has for texts and images."""
    if not isinstance(messages, list):
        return messages
    return [
        {**message, "content": [_part(part) for part in message["content"]]}
        if isinstance(message, Mapping) and isinstance(message.get("content"), list)
        else message
        for message in messages
    ]


def _part(part: Mapping[str, Any]) -> Mapping[str, Any]:
    if part.get("type") == "text":
        return {"type": "input_text", "text": part.get("text", "")}
    if part.get("type") == "image_url":
        image = part.get("image_url", {})
        image = {"url": image} if isinstance(image, str) else image
        detail = image.get("detail", "auto")
        return {"type": "input_image", "image_url": image.get("url"), "detail": detail}
    return part
