"""Owns what must never be shown: keys, and what looks like one. The binary has the same rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

MASK = "***"
"""What is shown in place of a secret."""

_WORDS = (
    "auth",
    "bearer",
    "cookie",
    "credential",
    "jwt",
    "key",
    "passphrase",
    "passw",
    "pwd",
    "secret",
    "session",
    "signature",
    "token",
)

_PLAIN_HEADERS = {
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "anthropic-beta",
    "anthropic-version",
    "cache-control",
    "connection",
    "content-encoding",
    "content-language",
    "content-length",
    "content-type",
    "expect",
    "host",
    "openai-beta",
    "traceparent",
    "user-agent",
    "x-correlation-id",
    "x-dashscope-sse",
    "x-request-id",
    "x-trace-id",
}
"""Headers whose values are no secrets. Gateways call their keys as they like, so all others are."""


def is_secret_name(name: str) -> bool:
    """Whether the value of a parameter or a field of this name is to be masked."""
    lower = name.lower()
    return any(word in lower for word in _WORDS)


def shown_header(header: str) -> str:
    """A header `NAME=VALUE` for people to see."""
    name, equals, _ = header.partition("=")
    is_plain = name.strip().lower() in _PLAIN_HEADERS
    return f"{name}={MASK}" if equals and not is_plain else header


def _shown_parameter(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return f"{name}={MASK}" if equals and is_secret_name(name) else pair


def shown_url(url: str) -> str:
    """A URL for people to see: no user, no password, no secret parameter."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return MASK
    query = "&".join(_shown_parameter(pair) for pair in parts.query.split("&"))
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
