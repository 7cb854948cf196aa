"""Owns the rules between options that are known without a server, and what a URL says of prompts.

All others are the binary's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from evalscope.errors import InvalidOption

if TYPE_CHECKING:
    from evalscope.perf.arguments import Arguments

_CHAT = "chat/completions"
_ENDPOINTS = (
    _CHAT,
    "completions",
    "responses",
    "embeddings",
    "reranks",
    "rerank",
    "systemone",
    "decide",
)


def is_chat_url(url: str, api: str) -> bool:
    """Whether prompts go to a URL as chat messages, unless something else is asked for."""
    path = urlsplit(url).path.rstrip("/")
    if path.endswith(_CHAT):
        return True
    known = any(path.endswith(f"/{endpoint}") for endpoint in _ENDPOINTS)
    # the tool completes it
    return api == "openai" and not known


def check(options: Arguments, given: set[str]) -> None:
    """Refuse options that contradict each other.

    Raises:
        InvalidOption: with what to do.
    """
    if options.scenario is not None:
        raise InvalidOption(
            "`scenario` is AgentX, which is EvalScope's; conversations of agents are here "
            '`multi_turn=True` with a dataset such as "swe_smith" or "trie_agentic_coding"'
        )
    _sweep(options, given)
    _max_tokens(options.max_tokens)
    _prefixes(options)
    if options.sla_auto_tune:
        _search(options)
    workers = _number(options.num_workers)
    if workers is not None and workers < 0:
        raise InvalidOption(f"`num_workers` is {options.num_workers}; it is 0 or more")


def _sweep(options: Arguments, given: set[str]) -> None:
    lengths = {
        name: len(value)
        for name in ("parallel", "number", "rate")
        if name in given and isinstance(value := getattr(options, name), list) and len(value) > 1
    }
    if len(set(lengths.values())) > 1:
        told = " and ".join(f"`{name}` has {count} values" for name, count in lengths.items())
        raise InvalidOption(f"{told}; a sweep takes as many of each, or a single one for all runs")
    if "parallel" in given and not options.open_loop:
        parallel: Any = options.parallel
        for value in parallel if isinstance(parallel, list) else [parallel]:
            number = _number(value)
            if number is not None and number <= 0:
                raise InvalidOption(f"`parallel` is {value}; it is 1 or more")


def _max_tokens(given: Any) -> None:
    if not isinstance(given, list):
        return
    if len(given) > 2:
        raise InvalidOption(f"`max_tokens` is one number, or a least and a most, not {given}")
    numbers = [_number(value) for value in given]
    if any(number is not None and number < 0 for number in numbers):
        raise InvalidOption(f"`max_tokens` is {given}; no number of tokens is below 0")
    if len(numbers) == 2 and None not in numbers and numbers[0] > numbers[1]:  # type: ignore[operator]
        raise InvalidOption(f"`max_tokens` is {given}; the least comes first")


def _prefixes(options: Arguments) -> None:
    count = _number(options.prefix_count)
    if count is None or count == 1:
        return
    if count < 1:
        raise InvalidOption(f"`prefix_count` is {options.prefix_count}; it is 1 or more")
    if options.prompt:
        raise InvalidOption(
            "`prefix_count` above 1 has no effect on `prompt`; leave one of them out"
        )
    if options.dataset != "random":
        raise InvalidOption(
            f'`prefix_count` above 1 needs `dataset="random"`; it is "{options.dataset}"'
        )
    if not _number(options.prefix_length):
        raise InvalidOption("`prefix_count` above 1 needs a `prefix_length` above 0")


def _search(options: Arguments) -> None:
    if options.sla_variable not in ("parallel", "rate"):
        raise InvalidOption(f'`sla_variable` is "parallel" or "rate", not {options.sla_variable!r}')
    if not options.sla_params:
        raise InvalidOption(
            '`sla_auto_tune` needs limits: `sla_params=[{"p99_ttft": "<=500ms"}]`, for instance'
        )
    lower, upper = _number(options.sla_lower_bound), _number(options.sla_upper_bound)
    if lower is not None and upper is not None and upper < lower:
        raise InvalidOption(
            f"`sla_lower_bound` is {options.sla_lower_bound}, above `sla_upper_bound`, "
            f"{options.sla_upper_bound}"
        )
    for name in ("sla_num_runs", "sla_lower_bound", "sla_fixed_parallel", "sla_number_multiplier"):
        number = _number(getattr(options, name))
        if number is not None and not (math.isfinite(number) and number > 0):
            raise InvalidOption(f"`{name}` is {getattr(options, name)}; it is above 0")


def _number(value: Any) -> float | None:
    """A number, also as a text; `None` for what has a unit, which the binary knows."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
