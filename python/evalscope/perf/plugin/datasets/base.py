"""Owns what every data-set plugin is: an iterator of prompts, and ways to read files."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TextIO

Message = dict[str, Any]
"""A message in OpenAI's format."""
Messages = list[Message]
"""What a client says in one turn."""


@dataclass
class Turn:
    """A turn of a conversation: what the client adds before the server responds."""

    messages: Messages
    """New messages only; the tool itself puts the turns and the responses before it in front."""
    max_tokens: int | None = None
    """The most tokens of the response; `None`: as the command says."""
    tool_call_latency: float | None = None
    """Seconds to wait before this turn, unless it is the first; `None`: as the command says."""
    is_final: bool = False
    """The last turn of its conversation. It has no effect: the end of the list says it."""
    rid: str | None = None
    """In the first turn: `rid` of the conversation's requests, with `_t1`, `_t2`, … behind it."""


Conversation = list[Turn]
"""All turns of a conversation."""


class DatasetPluginBase:
    """Makes prompts.

    They must come in the same order every time: the tool starts over when it needs more than
    there are.
    """

    query_parameters: Any
    """The options, an `Arguments`."""
    args_schema: Callable[..., Any] | None = None
    """What makes `dataset_args` of the keys in `--dataset-args`, such as a dataclass; `None`: they
    are a dict."""
    dataset_args: Any
    """The options of the dataset."""

    def __init__(self, query_parameters: Any) -> None:
        """`query_parameters` has the options."""
        self.query_parameters = query_parameters
        given = getattr(query_parameters, "dataset_args", None) or {}
        if isinstance(given, str):
            given = json.loads(given)
        schema = type(self).args_schema
        self.dataset_args = given if schema is None else schema(**given)

    def __iter__(self) -> Iterator[Any]:
        """All prompts."""
        return self.build_messages()

    @abstractmethod
    def build_messages(self) -> Iterator[Any]:
        """Make the prompts, one after the other.

        Yields:
            A list of messages (dicts); a str for a plain prompt; a dict for a full body; a list
            of ints for a prompt of tokens; a list of `Turn` for a conversation.
        """
        raise NotImplementedError

    def dataset_line_by_line(self, dataset: Any) -> Iterator[str]:
        """The lines of a file, with their ends."""
        with _opened(dataset) as file:
            yield from file

    def dataset_json_list(self, dataset: Any) -> Iterator[dict[str, Any]]:
        """The items of a file that is one JSON list."""
        with _opened(dataset) as file:
            yield from json.load(file)

    def create_message(
        self, text: str, image_urls: list[str] | str | None = None, role: str = "user"
    ) -> dict[str, Any]:
        """A message with a text, and images where URLs of them are given."""
        if image_urls is None:
            return {"role": role, "content": text}
        urls = [image_urls] if isinstance(image_urls, str) else image_urls
        parts: list[dict[str, Any]] = [{"type": "text", "text": text}]
        parts += [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        return {"role": role, "content": parts}

    def check_prompt_length(self, prompt: str) -> tuple[bool, int]:
        """Whether a prompt is within `min_prompt_length` and `max_prompt_length`, and its length.

        In characters; the tool looks again, in tokens where it has a tokenizer.
        """
        shortest = self.query_parameters.min_prompt_length or 0
        longest = self.query_parameters.max_prompt_length
        length = len(prompt)
        return shortest <= length and (longest is None or length <= longest), length


def _opened(dataset: Any) -> TextIO:
    if dataset is None:
        raise ValueError("`dataset_path` is missing: this dataset reads a file, give its path")
    return open(dataset, encoding="utf-8")
