"""Stand-ins for what tests do without: the types of numpy and its like, a tokenizer."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any


class Items:
    """Can be iterated, and neither compared nor asked whether it is true, as an array."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)

    def __eq__(self, other: object) -> Any:
        return self

    def __bool__(self) -> bool:
        raise ValueError("The truth value of an array is ambiguous")

    __hash__ = None  # type: ignore[assignment]


class Array(Items):
    """Has the methods of an array beside that."""

    def tolist(self) -> list[Any]:
        return list(self.items)

    def item(self) -> Any:
        raise ValueError("can only convert an array of size 1")

    def __index__(self) -> int:
        raise TypeError("only integer scalar arrays can be converted")

    def __float__(self) -> float:
        raise TypeError("only length-1 arrays can be converted")


class Scalar:
    """A number or a truth value that only tells itself by `item`."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def item(self) -> Any:
        return self.value


class Indexed:
    """A whole number that only tells itself by `__index__`."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


class Floating:
    """A number that only tells itself by `__float__`."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __float__(self) -> float:
        return self.value


class Words:
    """A tokenizer with a token for each word, which is the word's number."""

    all_special_ids = (0,)
    name_or_path = "words"

    def __init__(self) -> None:
        self.words = ["<s>", "<0x41>", *(f"w{number}" for number in range(2, 40))]

    def get_vocab(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words)}

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        for word in text.split():
            if word not in self.words:
                self.words.append(word)
        return [self.words.index(word) for word in text.split()]

    def decode(self, tokens: list[int], skip_special_tokens: bool = False) -> str:
        return " ".join(self.words[token] for token in tokens) + " "

    def apply_chat_template(self, messages: Any, **_options: Any) -> Any:
        return SimpleNamespace(
            input_ids=[[0, *self.encode(" ".join(message["content"] for message in messages)), 0]]
        )
