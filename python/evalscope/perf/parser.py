"""Owns argparse's view of the options, for scripts with a command line of their own."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from evalscope.perf import arguments
from evalscope.perf.options import MAY_BE_EMPTY, PAIRS


class ParseKVAction(argparse.Action):
    """Words of the form `KEY=VALUE` as a dict."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Split each at its first `=`."""
        pairs: dict[str, str] = {}
        for word in [values] if isinstance(values, str) else values or []:
            key, equals, value = str(word).partition("=")
            if not equals:
                parser.error(f"{option_string} takes KEY=VALUE, not `{word}`")
            pairs[key.strip()] = value.strip()
        setattr(namespace, self.dest, pairs)


def add_argument(parser: argparse.ArgumentParser) -> None:
    """Add all options of `evalscope perf` to a parser.

    What is not on the command line is `None`: so `Arguments.from_args` passes on only what is.
    """
    for name, of in arguments.KIND_OF.items():
        if name in arguments.NOT_PASSED_ON:
            continue
        flags = [f"--{name.replace('_', '-')}"]
        if name == "number":
            flags.insert(0, "-n")
        if name == "headers":
            parser.add_argument(*flags, nargs="+", action=ParseKVAction)
        elif of.is_switch and name in PAIRS:
            parser.add_argument(*flags, default=None, action=argparse.BooleanOptionalAction)
        elif of.is_switch:
            parser.add_argument(*flags, default=None, action="store_true")
        elif of.is_list:
            nargs = "*" if name in MAY_BE_EMPTY else "+"
            parser.add_argument(*flags, nargs=nargs, type=of.parsed)
        else:
            parser.add_argument(*flags, type=of.parsed)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of this process's command line."""
    parser = argparse.ArgumentParser(description="Load-test an LLM server.")
    add_argument(parser)
    return parser.parse_args(argv)
