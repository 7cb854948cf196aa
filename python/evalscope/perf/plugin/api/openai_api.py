"""Owns EvalScope's plugin for OpenAI's API, for subclasses: what the tool does without one."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from evalscope.perf.plugin.api.default_api import DefaultApiPlugin
from evalscope.perf.plugin.tokenizing import tokenize_chat_messages

_COUNTS = ("prompt_tokens", "completion_tokens")


class OpenaiPlugin(DefaultApiPlugin):
    """Bodies for chat completions and completions, and counts of what the server reports.

    Options of the command overwrite a query template, and fill up a body that a dataset made.
    """

    def build_request(self, messages: Any, param: Any = None) -> Any:
        """The body of a prompt: messages, a text, tokens, or a body already."""
        param = param or self.param
        if param.tokenize_prompt and not isinstance(messages, Mapping):
            return self._completed({"prompt": self._tokens(messages)}, param)
        if param.query_template is None:
            return super().build_request(messages, param)
        template = template_of(param.query_template)
        template["prompt" if isinstance(messages, str) else "messages"] = messages
        # what the command says comes before what the template says
        return {**template, **self._completed({}, param)}

    def parse_responses(self, responses: list[Any], request: Any = None, **kwargs: Any) -> Any:
        """The counts of the last `usage`; without one, those of the tokenizer."""
        if not responses:
            return 0, 0
        parsed = [response for response in responses if isinstance(response, Mapping)]
        for response in reversed(parsed):
            usage = response.get("usage")
            if isinstance(usage, Mapping) and not usage.keys().isdisjoint(_COUNTS):
                prompt, completion = (usage.get(name) or 0 for name in _COUNTS)
                return prompt, completion
        texts = _texts(parsed)
        if self.tokenizer is None:
            raise ValueError(
                "Unable to retrieve usage information: the response has no `usage`, and there is "
                "no tokenizer; give one with `tokenizer_path`"
            )
        completion = sum(self._count_output_tokens(text) for text in texts.values())
        return self._count_input_tokens(request), completion

    def _tokens(self, messages: Any) -> list[int]:
        if self.tokenizer is None:
            raise ValueError("A tokenizer is required for `tokenize_prompt`: give `tokenizer_path`")
        if isinstance(messages, str):
            return list(self.tokenizer.encode(messages, add_special_tokens=False))
        if messages and isinstance(messages[0], int):
            return list(messages)
        return tokenize_chat_messages(self.tokenizer, messages)

    def _count_input_tokens(self, request_str: Any) -> int:
        """Tokens of a body's prompt. Images are not counted: the server reports those."""
        body = json.loads(request_str) if isinstance(request_str, str) else request_str or {}
        if "messages" in body:
            return len(tokenize_chat_messages(self.tokenizer, body["messages"]))
        prompt = body.get("prompt", "")
        if isinstance(prompt, list):
            return len(prompt)
        return self._count_output_tokens(prompt)

    def _count_output_tokens(self, response: str) -> int:
        """Tokens of a text."""
        return len(self.tokenizer.encode(response, add_special_tokens=False))


def template_of(given: Any) -> dict[str, Any]:
    """The body of `query_template`: a dict, JSON text or `@FILE`."""
    if isinstance(given, Mapping):
        return dict(given)
    if not given.startswith("@"):
        return dict(json.loads(given))
    with open(given[1:], encoding="utf-8") as file:
        return dict(json.load(file))


def _texts(responses: Iterable[Mapping[str, Any]]) -> dict[int, str]:
    """What was generated, reasoning too, by the number of the choice."""
    texts: dict[int, str] = defaultdict(str)
    for response in responses:
        for choice in response.get("choices") or []:
            part = choice.get("delta") or choice.get("message") or {}
            reasoning = part.get("reasoning_content") or part.get("reasoning") or ""
            text = (part.get("content") or "") + reasoning + (choice.get("text") or "")
            texts[choice.get("index", 0)] += text
    return texts
