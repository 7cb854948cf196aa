"""Owns the options of datasets that are classes of their own, for `args_schema`."""

from __future__ import annotations

from typing import Literal, Optional

from evalscope.errors import InvalidOption
from evalscope.perf.multi_turn_args import MultiTurnArgs
from evalscope.perf.schema import Schema

BaseDatasetArgs = Schema
"""EvalScope's name of `Schema`: unknown options are refused."""


class TextLengthArgs(Schema):
    """How long prompts out of a text are to be."""

    target_input_len: Optional[int] = None
    """Tokens that longer prompts are cut to; needs a tokenizer. `None`: as the command says."""
    input_len_mode: Literal["cap", "drop"] = "cap"
    """Whether shorter prompts are kept (`cap`) or left out (`drop`)."""
    prefix_file: Optional[str] = None
    """A text that shorter prompts are filled up with, in front."""
    prefix_role: Literal["system", "user"] = "system"
    """Whether that is a message of its own, or part of the first message."""

    def validate(self) -> None:
        """Check what belongs together."""
        if self.target_input_len is not None and self.target_input_len <= 0:
            raise InvalidOption(f"`target_input_len` is {self.target_input_len}; it is above 0")
        if self.prefix_file is not None and self.target_input_len is None:
            raise InvalidOption(
                "`prefix_file` requires `target_input_len`, the length to fill up to"
            )
        if self.prefix_file is not None and self.input_len_mode == "drop":
            raise InvalidOption(
                '`prefix_file` is incompatible with `input_len_mode="drop"`, which leaves '
                'nothing to fill up; use "cap"'
            )


class TextDatasetArgs(TextLengthArgs):
    """Options of datasets whose prompts are texts."""


class MultiTurnDatasetArgs(MultiTurnArgs):
    """Options of datasets whose prompts are conversations."""


__all__ = [
    "BaseDatasetArgs",
    "MultiTurnArgs",
    "MultiTurnDatasetArgs",
    "TextDatasetArgs",
    "TextLengthArgs",
]
