"""Owns how values of options become words of a command line, by the kind of the option.

It must not know which options there are, nor which values are in range.
"""

from __future__ import annotations

import json
import os
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from evalscope.errors import InvalidOption
from evalscope.perf.values import NotJson, json_text, kind, listed, plain


def _whole_number(value: Any) -> str | None:
    if isinstance(value, str):
        return value if re.fullmatch("[+-]?[0-9]+", value) else None
    if isinstance(value, float) and value.is_integer():
        # 100.0 out of a spreadsheet or a JSON file
        return str(int(value))
    return str(int(value)) if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> str | None:
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return None
        return value
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _quantity(value: Any) -> str | None:
    # a text has a unit that the binary knows: `1%`, `5m`, `90/m`
    if isinstance(value, str):
        return value if re.match(r"\s*[-+.]?[0-9]|\s*[-+]?inf", value) else None
    return _number(value)


def _text(value: Any) -> str | None:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, (str, os.PathLike)):
        return os.fsdecode(value)
    # a number is a name too: `name=2024`
    return _number(value)


def _json(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _any_headers(value: Any) -> str | None:
    # they have no word on the command line, see `to_environment`
    return "" if isinstance(value, (str, Mapping)) or listed(value) is not None else None


@dataclass(frozen=True)
class Kind:
    """What the values of an option are. Which of them are in range, the binary knows."""

    wanted: str
    word: Callable[[Any], str | None]
    """A value on the command line; `None` for one of another kind."""
    is_list: bool = False
    parsed: Callable[[str], Any] = str
    """What argparse makes of a word; it says of a `ValueError` that the value is invalid."""
    as_json: tuple[type, ...] = ()
    """What is written as JSON."""
    is_switch: bool = False
    is_facts: bool = False
    """A dict of it is a list of `KEY=VALUE`."""


def _number_or_text(word: str) -> float | str:
    try:
        return float(word)
    except ValueError:
        return word


def _json_or_text(word: str) -> Any:
    return json.loads(word) if word.lstrip().startswith(("{", "[")) else word


_SWITCH = Kind("True or False", lambda _: None, is_switch=True)
_WHOLE_NUMBERS = Kind("a whole number or a list of them", _whole_number, is_list=True, parsed=int)
_FACTS = Kind("a dict, or a list of `KEY=VALUE`", _text, is_list=True, is_facts=True)
# By the annotations of options, without their `None`.
_KINDS = {
    "bool": _SWITCH,
    "int": Kind("a whole number", _whole_number, parsed=int),
    "int | Sequence[int]": _WHOLE_NUMBERS,
    "int | Sequence[int] | Sequence[str]": _WHOLE_NUMBERS,
    "float": Kind("a number", _number, parsed=float),
    "float | str": Kind(
        'a number, or a text such as "1%" or "5m"', _quantity, parsed=_number_or_text
    ),
    "float | str | Sequence[float] | Sequence[str]": Kind(
        'a number, a text such as "90/m", or a list of them',
        _quantity,
        is_list=True,
        parsed=_number_or_text,
    ),
    "str": Kind("a text", _text),
    "str | Sequence[str]": Kind("a text or a list of them", _text, is_list=True),
    "PathLike": Kind("a path", _text),
    "str | Mapping[str, Any]": Kind(
        "a dict, or JSON text", _json, as_json=(Mapping,), parsed=_json_or_text
    ),
    "str | Mapping[str, Any] | Sequence[Mapping[str, Any]]": Kind(
        "a dict, a list of them, or JSON text",
        _json,
        as_json=(Mapping, list, tuple),
        parsed=_json_or_text,
    ),
    "Mapping[str, Any] | Sequence[str]": _FACTS,
    "Mapping[str, str] | Sequence[str]": Kind("a dict, or a list of `NAME=VALUE`", _any_headers),
}

PAIRS = {"apply_chat_template", "stream"}
"""Switches with an opposite, `--no-…`."""
MAY_BE_EMPTY = {"stop", "stop_token_ids"}
SECRETS = {
    "api_key": "EVALSCOPE_API_KEY",
    "wandb_api_key": "WANDB_API_KEY",
    "swanlab_api_key": "SWANLAB_API_KEY",
}
"""Options that go through an environment variable."""


def kind_of(annotation: str) -> Kind:
    """The kind of an option with this annotation, without its `None`."""
    return _KINDS[annotation.partition(" | None")[0]]


def flag_words(name: str, value: Any, of: Kind) -> list[str]:
    """An option on the command line; none for a switch that is off."""
    flag = "--" + name.replace("_", "-")
    value = plain(value)
    if of.is_switch:
        if not isinstance(value, bool):
            raise InvalidOption(f"`{name}` is True or False, not {_brief(value)}")
        if value:
            return [flag]
        return [f"--no-{flag[2:]}"] if name in PAIRS else []
    if isinstance(value, of.as_json):
        return [f"{flag}={_as_json(name, value)}"]
    if of.is_facts and isinstance(value, Mapping):
        value = [f"{key}={item}" for key, item in value.items()]
    if of.is_list:
        return _list_words(name, flag, value, of)
    word = of.word(value)
    if word is None:
        raise InvalidOption(f"`{name}` is {of.wanted}, not {_brief(value)}")
    # `=` and not a separate argument: a prompt may begin with a dash
    return [] if name in SECRETS or name == "headers" else [f"{flag}={word}"]


def _list_words(name: str, flag: str, value: Any, of: Kind) -> list[str]:
    items = listed(value)
    words = []
    for place, item in enumerate([value] if items is None else items, start=1):
        word = of.word(item)
        if word is None:
            which = "" if items is None else f"; element {place} of it is {_brief(item)}"
            raise InvalidOption(f"`{name}` is {of.wanted}{which or f', not {_brief(item)}'}")
        words.append(word)
    if not words and of.is_facts:
        return []
    if not words and name not in MAY_BE_EMPTY:
        raise InvalidOption(f"`{name}` is an empty list; leave it out to take the default")
    if len(words) == 1:
        return [f"{flag}={words[0]}"]
    if name == "stop" and any(word.startswith("-") for word in words):
        raise InvalidOption(
            "several texts in `stop`, one of which begins with `-`, would be read as flags; "
            'give them as `extra_args={"stop": […]}`'
        )
    return [flag, *words]


def header_texts(value: Any) -> list[str]:
    """Headers as `NAME=VALUE`."""
    if isinstance(value, Mapping):
        return [f"{name}={_header_text(name, text)}" for name, text in value.items()]
    items = listed(value)
    items = [value] if items is None else items
    return [_header_text(number, item) for number, item in enumerate(items, 1)]


def _header_text(which: object, value: Any) -> str:
    text = _text(value)
    if text is None or isinstance(value, bytes):
        # its text may be a key
        raise InvalidOption(f"the header {which!r} is a {type(value).__name__}, not a text")
    return text


def header_line(header: str) -> str:
    """A header, if it may stand in a request."""
    if not header.isprintable():
        name = header.partition("=")[0]
        raise InvalidOption(f"the header {name!r} has a character that no header may have")
    return header


def _as_json(name: str, value: Any) -> str:
    try:
        return json_text(value, name)
    except NotJson as error:
        raise InvalidOption(f"`{name}` cannot be written as JSON: {error}") from None


def _brief(value: Any) -> str:
    """A value in an error: itself, but of what may hold a key its kind alone."""
    if value is None or isinstance(value, (str, int, float)):
        return reprlib.repr(value)
    return kind(value)
