"""Owns the errors of this package that are meant for people. Each says what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evalscope.perf.results import Results


class EvalscopeError(Exception):
    """Something the user can fix: a wrong option, a failing server, a failed run."""

    exit_code: int | None
    """Exit code of `evalscope perf`; `None` if it was not started or did not end by itself."""
    stderr: str
    """Output of `evalscope perf` on stderr, unless that is a terminal; the end, if it is long."""
    results: Results | None
    """The results, if there are any: a run in which every request failed has results too."""

    def __init__(
        self,
        message: str,
        *,
        exit_code: int | None = None,
        stderr: str = "",
        results: Results | None = None,
    ) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.stderr = stderr
        self.results = results


class UnknownOption(EvalscopeError, TypeError, ValueError):
    """An option that does not exist.

    A `TypeError` too, as for any unknown keyword argument, and the `ValueError` of EvalScope.
    """


class InvalidOption(EvalscopeError, ValueError):
    """An option that has a value it cannot have. A `ValueError` too, as EvalScope raises."""


class Unsupported(EvalscopeError, NotImplementedError):
    """A part of EvalScope that cannot be here, since no Python sends or receives."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint to append to an error about `name`: the nearest known name, or nothing."""
    nearest = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean `{nearest[0]}`?" if nearest else ""
