"""Owns the lengths of turns that EvalScope's `multi_turn_args` sets."""

from __future__ import annotations

import random
from typing import Any, Union

from evalscope.errors import InvalidOption
from evalscope.perf.schema import Schema

IntOrRange = Union[int, list[int]]
"""A number, or a least and a most that one is drawn between."""


class MultiTurnArgs(Schema):
    """Lengths of turns, in tokens, of conversations that are put together from longer ones."""

    first_turn_length: IntOrRange = 65000
    """Of the first turn."""
    subsequent_turn_length: IntOrRange = 500
    """Of each later turn."""
    chars_per_token: float = 3.0
    """About how many characters a token has."""
    num_workers: int = 4
    """Has no effect."""

    def validate(self) -> None:
        """Check the ranges."""
        for name in ("first_turn_length", "subsequent_turn_length"):
            value = getattr(self, name)
            if isinstance(value, list) and not (len(value) == 2 and 0 <= value[0] <= value[1]):
                raise InvalidOption(f"`{name}` is a number, or a least and a most, not {value}")
        if self.num_workers < 0:
            raise InvalidOption(f"`num_workers` is {self.num_workers}; it is 0 or more")

    def sample_params(self) -> dict[str, Any]:
        """The options with a number drawn from each range."""
        return {
            name: drawn(value) if name.endswith("_length") else value
            for name, value in self.model_dump().items()
        }


def drawn(value: Any) -> Any:
    """A number out of a range of two, or the number itself."""
    if isinstance(value, (list, tuple)):
        return random.randint(int(value[0]), int(value[-1]))
    return value
