"""Owns EvalScope's example of an API plugin, for subclasses."""

from __future__ import annotations

import json
from typing import Any

from evalscope.perf.multi_turn_args import drawn
from evalscope.perf.plugin.api.base import ApiPluginBase
from evalscope.perf.plugin.api.default_api import json_fields


class CustomPlugin(ApiPluginBase):
    """Bodies with `messages` or `input_text`, and counts of what the server reports.

    `parse_responses` gets bytes, and parsed JSON as well.
    """

    def build_request(self, messages: Any, param: Any = None) -> Any:
        """The body of a prompt."""
        named = "input_text" if isinstance(messages, str) else "messages"
        return self._add_parameters_to_request({named: messages}, param or self.param)

    def _add_parameters_to_request(self, payload: dict[str, Any], param: Any) -> dict[str, Any]:
        """Add the options of the command to a body."""
        if param.max_tokens is not None:
            payload["max_tokens"] = drawn(param.max_tokens)
        for name in ("model", "temperature", "top_p", "top_k", "stream"):
            value = getattr(param, name)
            if value is not None:
                payload[name] = value
        if payload.get("stream"):
            payload["stream_options"] = {"include_usage": True}
        payload.update(json_fields(param.extra_args))
        return payload

    def parse_responses(self, responses: list[Any], request: Any = None, **kwargs: Any) -> Any:
        """The counts of the last `usage`, or nothing: the tool counts with its tokenizer then."""
        for response in reversed(responses):
            body = json.loads(response) if isinstance(response, (str, bytes)) else response
            usage = body.get("usage") if isinstance(body, dict) else None
            if usage:
                return usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0)
        return None, None
