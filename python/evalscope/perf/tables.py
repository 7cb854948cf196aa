"""Owns how figures are shown as text: decimals by their unit, and tables with lines around them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

# more or fewer decimals than the unit says
_DECIMALS = {
    "Test Duration (s)": 2,
    "Avg Input Tokens": 1,
    "Avg Output Tokens": 1,
    "Avg Turns/Request": 1,
    "Avg Decoded Tok/Iter": 2,
    "Decode TPS": 4,
    "First-Turn TTFT (s)": 4,
    "TTFAT (s)": 4,
    "Cache Hit Rate (%)": 4,
    "Eligible Cache Hit Rate (%)": 4,
}
# of a name's end
_DECIMALS_OF_UNIT = (("/s)", 2), ("(ms)", 2), ("(s)", 3), ("(%)", 1))


def cell(value: Any, name: str) -> str:
    """A figure as a table shows it; `name` is its key, which ends in its unit."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "—"
    if not isinstance(value, (int, float)):
        return str(value)
    if name == "Spec. Accept Rate":
        return f"{_number(100 * value, 1)}%"
    ends = (decimals for end, decimals in _DECIMALS_OF_UNIT if name.endswith(end))
    return _number(float(value), _DECIMALS.get(name, next(ends, 0)))


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table: the first column to the left, all others to the right."""
    # two more than a heading has, as tabulate does it
    least = [len(heading) + 2 for heading in headers]
    widths = [max([width, *(len(row[place]) for row in rows)]) for place, width in enumerate(least)]

    def line(cells: Sequence[str]) -> str:
        first = f" {cells[0]:<{widths[0]}} "
        others = [f" {text:>{width}} " for text, width in zip(cells[1:], widths[1:])]
        return "│" + "│".join([first, *others]) + "│"

    def rule(left: str, middle: str, right: str) -> str:
        return left + middle.join("─" * (width + 2) for width in widths) + right

    body = [line(row) for row in rows]
    return "\n".join(
        [rule("┌", "┬", "┐"), line(headers), rule("├", "┼", "┤"), *body, rule("└", "┴", "┘")]
    )


def _number(value: float, decimals: int) -> str:
    # as people round: 0.0065 is 0.007, though its nearest binary number lies below
    exact = Decimal(repr(value)).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)
    text = f"{exact:f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
