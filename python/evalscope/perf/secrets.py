"""Owns what must never be shown: keys, and what looks like one. The binary has the same rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

MASK = "***"
"""What stands in a secret's place."""

_WORDS = (
    "auth",
    "bearer",
    "cookie",
    "credential",
    "key",
    "passw",
    "secret",
    "session",
    "signature",
    "token",
)


def is_secret_name(name: str) -> bool:
    """Whether the value of a header, a parameter or a field of this name is to be masked."""
    lower = name.lower()
    return any(word in lower for word in _WORDS)


def shown_header(header: str) -> str:
    """A header `NAME=VALUE` for people to see."""
    name, equals, _ = header.partition("=")
    return f"{name}={MASK}" if equals and is_secret_name(name) else header


def shown_url(url: str) -> str:
    """A URL for people to see: no user, no password, no secret parameter."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return MASK
    query = "&".join(shown_header(pair) for pair in parts.query.split("&"))
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, query, parts.fragment))


def shown_fields(value: Any) -> Any:
    """A JSON value for people to see: texts under secret names are masked at any depth."""
    if isinstance(value, Mapping):
        return {
            name: MASK if is_secret_name(str(name)) and _holds_text(item) else shown_fields(item)
            for name, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [shown_fields(item) for item in value]
    return value


def _holds_text(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_holds_text(item) for item in value.values())
    if isinstance(value, (list, tuple)):
        return any(_holds_text(item) for item in value)
    return isinstance(value, (str, bytes))
