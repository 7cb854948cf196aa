"""Owns EvalScope's dataset of random text, for subclasses. The tool's `random` needs no Python."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from typing import Any

from evalscope.perf.plugin.datasets.base import DatasetPluginBase
from evalscope.perf.plugin.tokenizing import text_of_token_len, tokenize_chat_messages

# decoded one by one they are half a character
_BYTE = re.compile(r"<0x[0-9A-Fa-f]{2}>")


class RandomDatasetPlugin(DatasetPluginBase):
    """Random tokens of lengths between `min_prompt_length` and `max_prompt_length`.

    The template of a chat counts as part of them; `prefix_length` tokens come in addition.
    """

    allowed_tokens: list[int]
    """The tokens that prompts are made of."""
    prefix_pool: list[list[int]]
    """The shared prefixes, of which prompts take turns."""
    number: int
    """How many prompts there are."""

    def __init__(self, query_parameters: Any) -> None:
        """`query_parameters` has the options, of which `tokenizer_path` is needed."""
        super().__init__(query_parameters)
        if not query_parameters.tokenizer_path:
            raise ValueError("random prompts need a tokenizer: give `tokenizer_path`")
        self.number = query_parameters.total_count
        self.prefix_length = query_parameters.prefix_length or 0
        seed = query_parameters.seed
        self._seed = random.randrange(2**32) if seed is None else seed
        special = set(self.tokenizer.all_special_ids)
        vocabulary = self.tokenizer.get_vocab()
        self.allowed_tokens = sorted(
            token
            for text, token in vocabulary.items()
            if token not in special and not _BYTE.fullmatch(text)
        )
        draw = random.Random(self._seed)
        count = query_parameters.prefix_count or 1
        self.prefix_pool = [self._drawn(draw, self.prefix_length) for _ in range(count)]

    def build_messages(self) -> Iterator[Any]:
        """The prompts, the same ones every time."""
        draw = random.Random(self._seed + 1)
        shortest, longest = self._lengths()
        start = self.query_parameters.dataset_offset or 0
        for index in range(self.number):
            length = draw.randint(shortest, longest)
            first = start + index + draw.randrange(len(self.allowed_tokens))
            if self.query_parameters.tokenize_prompt:
                yield self._tokens(length, first, index)
                continue
            text = self.generate_token_sequence(length, first, index)[0]
            chat = self.query_parameters.apply_chat_template
            yield [self.create_message(text)] if chat else text

    def generate_token_sequence(
        self, input_len: int, offset: int, index: int
    ) -> tuple[str, int, int]:
        """A text of a prefix and so many tokens from `offset` on; its length, and the excess."""
        tokens = self._tokens(input_len, offset, index)
        draw = random.Random(self._seed + offset)
        text = text_of_token_len(
            self.tokenizer, tokens, len(tokens), lambda count: self._drawn(draw, count)
        )
        length = len(self.tokenizer.encode(text, add_special_tokens=False))
        return text, length, length - len(tokens)

    def _tokens(self, input_len: int, offset: int, index: int) -> list[int]:
        known = len(self.allowed_tokens)
        own = [self.allowed_tokens[(offset + at) % known] for at in range(input_len)]
        return self.prefix_pool[index % len(self.prefix_pool)] + own

    def get_template_len(self) -> int:
        """Tokens that the chat template adds."""
        return len(tokenize_chat_messages(self.tokenizer, [self.create_message("")]))

    def _lengths(self) -> tuple[int, int]:
        options = self.query_parameters
        chat = options.apply_chat_template and not options.tokenize_prompt
        template = self.get_template_len() if chat else 0
        longest = max(0, options.max_prompt_length - template)
        return min(longest, max(0, (options.min_prompt_length or 0) - template)), longest

    def _drawn(self, draw: random.Random, count: int) -> list[int]:
        return draw.choices(self.allowed_tokens, k=count)
