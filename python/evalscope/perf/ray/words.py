"""Owns the words of a command `evalscope perf …`: single flags of it, and the points of its sweep.

It must not know what flags mean beyond the lists that make a sweep, nor who runs the command.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from evalscope.errors import EvalscopeError

# flags whose lists make the points of a sweep
_LISTS = ("parallel", "number", "rate")
_SHORT = {"-n": "number"}
# what else a list may hold than numbers: `90/m`, profiles, files of profiles
_ITEM = re.compile(r"-?[0-9.+@]")


def value(words: Sequence[str], flag: str) -> str | None:
    """The value of a flag that has one; of several, the last."""
    found = None
    for place, word in enumerate(words):
        name, equals, given = _split(word)
        if name == flag:
            found = given if equals else next(iter(words[place + 1 :]), None)
    return found


def has(words: Sequence[str], flag: str) -> bool:
    """Whether a flag is there."""
    return any(_split(word)[0] == flag for word in words)


def points(words: Sequence[str]) -> list[list[str]]:
    """The commands for the points of a sweep: as many as the longest list has items.

    Raises:
        EvalscopeError: lists of different lengths, or points that would have the same name.
    """
    rest, lists = _take_lists(words)
    several = {flag: items for flag, items in lists.items() if len(items) > 1}
    lengths = {len(items) for items in several.values()}
    if len(lengths) > 1:
        shown = ", ".join(f"`--{flag}` has {len(items)}" for flag, items in several.items())
        raise EvalscopeError(f"the lists of a sweep are of different lengths: {shown}")
    count = max(lengths, default=1)
    made = [
        tuple((flag, items[min(nth, len(items) - 1)]) for flag, items in lists.items())
        for nth in range(count)
    ]
    names = [
        tuple(item for item in point if item[0] != "rate" or "parallel" not in lists)
        for point in made
    ]
    if len(set(names)) < len(names):
        raise EvalscopeError(
            "two points of the sweep would have the same name: measure them with a command each"
        )
    return [[*rest, *(f"--{flag}={item}" for flag, item in point)] for point in made]


def _split(word: str) -> tuple[str | None, bool, str]:
    """The name of a flag, whether a value stands in the same word, and that value."""
    if word in _SHORT:
        return _SHORT[word], False, ""
    if not word.startswith("--"):
        return None, False, ""
    name, equals, given = word[2:].partition("=")
    return name.replace("_", "-"), bool(equals), given


def _take_lists(words: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """What is no list, and the lists by their flags. Of a flag that is there twice, the last."""
    rest: list[str] = []
    lists: dict[str, list[str]] = {}
    current: list[str] | None = None
    for word in words:
        name, equals, given = _split(word)
        if name in _LISTS:
            current = lists[name] = _items(name, given) if equals else []
            if equals:
                current = None
        elif current is not None and name is None and _ITEM.match(word):
            of = next(flag for flag, items in lists.items() if items is current)
            current += _items(of, word)
        else:
            current = None
            rest.append(word)
    return rest, {flag: items for flag, items in lists.items() if items}


def _items(flag: str, word: str) -> list[str]:
    """The items in a word. The segments of a profile have commas too."""
    if flag == "rate" and re.search("[@+]", word):
        return [word]
    return word.split(",")
