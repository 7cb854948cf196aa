"""Owns what values of other libraries, numpy's and the like, are in Python's own types and in JSON.

It imports none of these libraries, and must not know what a value is for.
"""

from __future__ import annotations

import json
import math
import operator
import os
from collections.abc import Mapping
from typing import Any

# Subclasses are as good: numpy's float64 is a float.
_OWN = (str, bytes, int, float, list, tuple, Mapping, os.PathLike)


class NotJson(ValueError):
    """A value that JSON cannot hold; the message names the place, as `extra_args["a"][0]`."""


def plain(value: Any) -> Any:
    """A number or an array of another library as a number or a list; all else as it is.

    Nothing is compared with it and its truth is not asked for: an array has none.
    """
    if value is None or isinstance(value, _OWN):
        return value
    # `tolist` of an array and of a scalar; the others for types that have no arrays
    for method in ("tolist", "item"):
        convert = getattr(value, method, None)
        if callable(convert):
            try:
                converted = convert()
            except Exception:  # whatever it is, it is no number
                continue
            if isinstance(converted, (str, int, float, list)):
                return converted
    if isinstance(value, type):
        return value
    if hasattr(value, "__index__"):
        try:
            return operator.index(value)
        except TypeError:
            pass
    if hasattr(value, "__float__"):
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError):
            pass
    return value


def listed(value: Any) -> list[Any] | None:
    """The items of what can be iterated, in Python's own types; `None` where it is one value."""
    value = plain(value)
    if isinstance(value, (str, bytes, Mapping)):
        return None
    try:
        return [plain(item) for item in value]
    except TypeError:
        return None


def json_text(value: Any, name: str, *, compact: bool = False) -> str:
    """JSON text of one line. NaN and infinity are refused: they are no JSON.

    Raises:
        NotJson: it calls the value `name`.
    """
    try:
        return json.dumps(
            value,
            ensure_ascii=False,
            allow_nan=False,
            separators=(",", ":") if compact else None,
            default=_default,
        )
    except (TypeError, ValueError, RecursionError) as error:
        try:
            complaint = _complaint(value, name, ())
        except RecursionError:
            complaint = f"{name} is nested too deeply"
        raise NotJson(complaint or str(error)) from None


def kind(value: object) -> str:
    """What a value is, for an error: `a list`, `an int`, `None`."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"


def _default(value: Any) -> Any:
    converted = plain(value)
    if isinstance(converted, Mapping):
        return dict(converted)
    if converted is value:
        raise TypeError(f"{kind(value)} is no JSON")
    return converted


def _complaint(value: Any, place: str, within: tuple[int, ...]) -> str | None:
    """What is wrong with the first value that JSON cannot hold, and where it stands."""
    value = plain(value)
    if value is None or isinstance(value, (str, int)):
        return None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{place} is {float(value)!r}, which is no JSON"
    if id(value) in within:
        return f"{place} has itself in it"
    within = (*within, id(value))
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, (str, int, float, type(None))):
                return f"{place} has {kind(key)} as a key, {key!r}; keys are texts"
            told = _complaint(item, f"{place}[{_key(key)}]", within)
            if told is not None:
                return told
        return None
    if isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            told = _complaint(item, f"{place}[{number}]", within)
            if told is not None:
                return told
        return None
    return f"{place} is {kind(value)}; JSON has texts, numbers, True, False, None, lists and dicts"


def _key(key: Any) -> str:
    return json.dumps(key, ensure_ascii=False) if isinstance(key, str) else repr(key)
