"""Owns what every data-set plugin is: an iterator of prompts, and ways to read files."""

from __future__ import annotations

import json
import os
from abc import abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, TextIO

from evalscope.errors import Unsupported
from evalscope.perf.plugin.datasets import hubs
from evalscope.perf.plugin.datasets.dataset_args import (
    BaseDatasetArgs,
    MultiTurnArgs,
    TextLengthArgs,
)
from evalscope.perf.plugin.tokenizing import (
    NoTokenizerLibrary,
    fit_prefix_to_budget,
    fit_text_to_token_len,
    load_tokenizer,
    tokenize_chat_messages,
)

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
    args_schema: Callable[..., Any] = BaseDatasetArgs
    """What makes `dataset_args` of the keys in `--dataset-args`: a subclass of `BaseDatasetArgs`,
    a dataclass, or `dict` for any keys. Without one of your own, there are none."""
    dataset_args: Any
    """The options of the dataset."""

    provides_arrival_schedule: ClassVar[bool] = False
    """EvalScope's mark of prompts with moments of their own; `workload_trace` has them here."""
    requires_model: ClassVar[bool] = True
    """EvalScope's mark of bodies with a model of their own; it has no effect."""
    dataset_source: ClassVar[Any] = None
    """What `load_hub_dataset` and `download_hub_file` load, unless they are given a name."""

    def __init__(self, query_parameters: Any) -> None:
        """`query_parameters` has the options."""
        self.query_parameters = query_parameters
        given = getattr(query_parameters, "dataset_args", None) or {}
        if isinstance(given, str):
            given = json.loads(given)
        self.dataset_args = type(self).args_schema(**given)
        self._prefix_tokens: list[int] | None = None
        if self._target() is not None and not query_parameters.tokenizer_path:
            raise ValueError("`target_input_len` requires a tokenizer: give `tokenizer_path`")
        if self._fills():
            self._prefix_tokens = self._read_prefix()

    @property
    def tokenizer(self) -> Any:
        """The tokenizer at `tokenizer_path`, loaded when first used; `None` without a path."""
        if "_tokenizer" not in self.__dict__:
            path = self.query_parameters.tokenizer_path
            self._tokenizer = None if path is None else load_tokenizer(path)
        return self._tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

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

    # --- files ---

    def dataset_line_by_line(self, dataset: Any) -> Iterator[str]:
        """The lines of a file, with their ends."""
        with _opened(dataset) as file:
            yield from file

    def dataset_json_list(self, dataset: Any) -> Iterator[dict[str, Any]]:
        """The items of a file that is one JSON list."""
        with _opened(dataset) as file:
            yield from json.load(file)

    def load_hub_dataset(
        self, dataset_id: str | None = None, split: str = "train", subset: str = "default"
    ) -> Any:
        """A dataset of a hub, or the one in the folder `dataset_path`; needs `datasets`."""
        path = self._existing_path()
        if path is not None:
            return hubs.load(path, split, subset, "local")
        source = self.query_parameters.data_source
        return hubs.load(self._dataset_id(dataset_id), split, subset, source)

    def download_hub_file(self, dataset_id: str | None = None, file_name: str | None = None) -> str:
        """The path of a file: `dataset_path`, or a file in that folder, or one of a hub."""
        if not file_name:
            raise ValueError("`file_name` is missing: say which file of the dataset to read")
        path = self._existing_path()
        if path is None:
            source = self.query_parameters.data_source
            return hubs.download(self._dataset_id(dataset_id), file_name, source)
        inside = os.path.join(path, file_name)
        if os.path.isdir(path) and not os.path.isfile(inside):
            raise FileNotFoundError(f"there is no `{file_name}` in the `dataset_path` {path}")
        return inside if os.path.isdir(path) else path

    def _existing_path(self) -> str | None:
        path = self.query_parameters.dataset_path
        if path and not os.path.exists(path):
            raise FileNotFoundError(f"there is no {path}, which `dataset_path` names")
        return os.fspath(path) if path else None

    def _dataset_id(self, given: str | None) -> str:
        own = getattr(self.dataset_source, "dataset_id", self.dataset_source)
        if not (given or own):
            raise ValueError("say which dataset: give its name on the hub, or set `dataset_source`")
        return str(given or own)

    # --- prompts ---

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

        In tokens where `tokenizer_path` is given, with the chat template where messages are sent;
        else in characters. Without a library for tokenizers in Python, every prompt will do: the
        tool looks again.
        """
        try:
            tokenizer = self.tokenizer
        except NoTokenizerLibrary:
            return True, len(prompt)
        if tokenizer is None:
            length = len(prompt)
        elif self.query_parameters.apply_chat_template:
            length = len(tokenize_chat_messages(tokenizer, [self.create_message(prompt)]))
        else:
            length = len(tokenizer.encode(prompt))
        shortest = self.query_parameters.min_prompt_length or 0
        longest = self.query_parameters.max_prompt_length
        return shortest <= length and (longest is None or length <= longest), length

    def prepare_prompt(self, prompt: str) -> str | None:
        """A prompt of the length that the options ask for; `None` for one to leave out.

        With `target_input_len` of `TextLengthArgs` it is cut, else only looked at.
        """
        target = self._target()
        if target is None:
            return prompt if self.check_prompt_length(prompt)[0] else None
        mode = self.dataset_args.input_len_mode
        return fit_text_to_token_len(prompt, target, mode, self.tokenizer)

    def prepare_messages(self, prompt: str) -> str | Messages | None:
        """What to yield for a text: messages or a plain prompt, filled up with `prefix_file`.

        `None` for one to leave out.
        """
        prepared = self.prepare_prompt(prompt)
        if prepared is None:
            return None
        if self.query_parameters.apply_chat_template:
            return self.apply_prefix_to_messages([self.create_message(prepared)])
        return (
            self._prefix(self.content_token_len(prepared)) + prepared if self._fills() else prepared
        )

    def prepare_conversation(self, messages: Messages) -> Messages | None:
        """A whole conversation filled up with `prefix_file`; `None` for one that is too long."""
        target = self._target()
        if target is not None and self.measure_messages_len(messages) > target:
            return None
        return self.apply_prefix_to_messages(messages)

    def apply_prefix_to_messages(self, messages: Messages) -> Messages:
        """Messages with the beginning of `prefix_file` in front, up to `target_input_len`."""
        prefix = self._prefix(self.measure_messages_len(messages)) if self._fills() else ""
        if not prefix:
            return messages
        if self.dataset_args.prefix_role == "system" and self.query_parameters.apply_chat_template:
            return [self.create_message(prefix, role="system"), *messages]
        first = {**messages[0], "content": prefix + messages[0]["content"]}
        return [first, *messages[1:]]

    def content_token_len(self, content: str) -> int:
        """Tokens of a text, without a template."""
        return len(self.tokenizer.encode(content, add_special_tokens=False))

    def measure_messages_len(self, messages: Messages) -> int:
        """Tokens of the texts of messages, without a template."""
        return sum(self.content_token_len(message["content"]) for message in messages)

    def _target(self) -> int | None:
        args = self.dataset_args
        return args.target_input_len if isinstance(args, TextLengthArgs) else None

    def _fills(self) -> bool:
        return self._target() is not None and self.dataset_args.prefix_file is not None

    def _prefix(self, taken: int) -> str:
        budget = (self._target() or 0) - taken
        return fit_prefix_to_budget(self._prefix_tokens or [], budget, self.tokenizer)

    def _read_prefix(self) -> list[int]:
        with _opened(self.dataset_args.prefix_file) as file:
            tokens = self.tokenizer.encode(file.read(), add_special_tokens=False)
        if not tokens:
            raise ValueError(f"`prefix_file` {self.dataset_args.prefix_file} is empty")
        return list(tokens)

    def supports_parallel_message_generation(self, total_count: int | None = None) -> bool:
        """EvalScope's question whether several processes may make prompts; none do here."""
        return False

    def build_messages_parallel(self, total_count: int, workers: int) -> list[Any]:
        """EvalScope's way to make prompts in several processes, which is never taken here."""
        raise Unsupported("prompts are made by one process, ahead of time: use `build_messages`")

    def get_sampled_multi_turn_params(self) -> dict[str, Any]:
        """Lengths of turns, drawn anew where they are ranges; none without `MultiTurnArgs`."""
        args = self.dataset_args
        return args.sample_params() if isinstance(args, MultiTurnArgs) else {}


def _opened(dataset: Any) -> TextIO:
    if dataset is None:
        raise ValueError("`dataset_path` is missing: this dataset reads a file, give its path")
    return open(dataset, encoding="utf-8")
