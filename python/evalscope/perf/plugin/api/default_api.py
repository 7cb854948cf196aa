"""Owns the newer form of an API plugin: OpenAI's bodies, and responses that are already parsed."""

from __future__ import annotations

import codecs
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

    `parse_responses` gets parsed JSON (dicts) and not bytes as in `ApiPluginBase`, and the request
    as JSON text.
    """

    def __init__(self, param: Any = None) -> None:
        """`param` has the options."""
        super().__init__(param)
        self._random = random.Random(getattr(param, "seed", None) or 0)

    def build_request(self, messages: Any, param: Any = None) -> Any:
        """A body for chat completions, or for completions where the prompt is plain."""
        param = param or self.param
        body: dict[str, Any]
        if isinstance(messages, Mapping):
            body = dict(messages)
        elif isinstance(messages, str) or (messages and isinstance(messages[0], int)):
            body = {"prompt": messages}
        else:
            body = {"messages": messages}
        return self._completed(body, param)

    def parse_responses(self, responses: list[Any], request: Any = None, **kwargs: Any) -> Any:
        """The counts of the last `usage` that the server reported."""
        for response in reversed(responses):
            usage = response.get("usage") if isinstance(response, Mapping) else None
            if usage:
                return usage.get("prompt_tokens"), usage.get("completion_tokens")
        return None, None

    def _completed(self, body: dict[str, Any], param: Any) -> dict[str, Any]:
        """A body with the options that it does not have; `extra_args` win over what is in it."""
        for option, field in _FIELDS.items():
            value = getattr(param, option)
            if value is not None and (value is not False or option == "stream"):
                body.setdefault(field, value)
        body.setdefault("stream", False)
        if param.max_tokens is not None:
            body.setdefault("max_tokens", self._most_tokens(param.max_tokens))
        if body["stream"]:
            body.setdefault("stream_options", {"include_usage": True})
        for field, value in json_fields(param.extra_args).items():
            if value is None:
                body.pop(field, None)
            else:
                body[field] = value
        return body

    def _most_tokens(self, max_tokens: Any) -> Any:
        if isinstance(max_tokens, (list, tuple)):
            return self._random.randint(min(max_tokens), max(max_tokens))
        return max_tokens


class StreamedResponseHandler:
    """Takes the bytes of a stream as they arrive, and gives its events: `data: {…}`, one a line.

    The tool reads responses itself; this is for scripts that read others.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="ignore")
        self.buffer = ""

    def add_chunk(self, chunk_bytes: bytes) -> list[str]:
        """The events that are complete with these bytes. `[DONE]` is one."""
        self.buffer += self._decoder.decode(chunk_bytes).replace("\r\n", "\n")
        *blocks, self.buffer = self.buffer.split("\n\n")
        events = [event for block in blocks if (event := _event(block))]
        last = _event(self.buffer)
        # a stream may end without an empty line
        if last and _is_whole(last[len("data: ") :]):
            events.append(last)
            self.buffer = ""
        return events


def _event(block: str) -> str:
    lines = block.strip().split("\n")
    payload = "".join(line[5:].removeprefix(" ") for line in lines if line.startswith("data:"))
    return f"data: {payload.strip()}" if payload.strip() else ""


def _is_whole(payload: str) -> bool:
    if payload == "[DONE]":
        return True
    try:
        json.loads(payload)
    except ValueError:
        return False
    return True


def json_fields(extra_args: Any) -> dict[str, Any]:
    """Fields of a body, out of a dict or JSON text."""
    if isinstance(extra_args, str):
        extra_args = json.loads(extra_args)
    return dict(extra_args or {})
