"""Owns the plugin's side of the protocol: lines in, lines out, errors as responses.

`docs/plugin-protocol.md` is the protocol. It must not know what the roles do with a request, nor
where lines come from.
"""

from __future__ import annotations

import json
import os
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from evalscope.perf.values import json_text

VERSIONS = (1,)
"""The versions of the protocol that this plugin speaks."""
MAX_LINE_BYTES = 64 * 1024 * 1024
"""Longest line, its end included."""

_HEADING = "Traceback (most recent call last):\n"
_PACKAGE = str(Path(__file__).parent) + os.sep

Method = Callable[[Mapping[str, Any]], str]
"""Takes `params`, returns `result` as JSON text."""


class Lines(Protocol):
    """Where requests come from."""

    def readline(self, limit: int, /) -> bytes:
        """A line with its end, or as much of it as the limit allows."""


class Refusal(Exception):
    """A request that cannot be served, for a reason that needs no traceback."""


class Raised(Exception):
    """Code of a plugin raised; the cause is what it raised."""

    def __init__(self, where: str, cause: BaseException, detail: str = "") -> None:
        super().__init__(f"{where} raised {described(cause)}{detail}")
        self.__cause__ = cause


class Session(ABC):
    """One role, for one conversation with the tool."""

    role: str

    @abstractmethod
    def hello(self, name: str | None, options: Mapping[str, Any]) -> str:
        """Get ready; returns the name of the class that serves."""

    def more(self) -> Mapping[str, Any]:
        """Further fields of the response to `hello`."""
        return {}

    @abstractmethod
    def methods(self) -> Mapping[str, Method]:
        """What can be asked after `hello`."""

    def close(self, finished: bool) -> None:  # noqa: B027 - most roles have nothing to close
        """The conversation is over: with `bye` when it is `finished`."""


def serve(reader: Lines, write: Callable[[bytes], object], session: Session) -> None:
    """Serve requests in order until the input ends or `bye` comes.

    `write` writes all it is given, and keeps nothing back.
    """
    greeted = finished = False
    try:
        while not finished:
            line = reader.readline(MAX_LINE_BYTES + 1)
            if not line:
                return
            if len(line) > MAX_LINE_BYTES:
                # it is unknown where the next line begins
                write(_error(None, f"a line is longer than {MAX_LINE_BYTES} bytes", None))
                return
            number: Any = None
            try:
                request = _request(line)
                number = request["id"]
                method, params = request["method"], request.get("params") or {}
                if method == "bye":
                    finished = True
                    # before the response: the tool waits for it, and so for the upload
                    session.close(True)
                    result = "{}"
                elif method == "hello":
                    if greeted:
                        raise Refusal("`hello` was said already")
                    result = _hello(session, params)
                    greeted = True
                elif not greeted:
                    raise Refusal(f"`hello` comes before `{method}`")
                else:
                    result = _method(session, method)(params)
                answer = _result(number, result)
            except (Exception, SystemExit) as error:
                # a plugin may call `sys.exit`: that ends a request, and not the conversation
                answer = _failed(number, error)
            write(answer)
    except (BrokenPipeError, ConnectionResetError):
        # the tool is gone
        return
    finally:
        if not finished:
            session.close(False)


def dumps(value: Any, name: str = "value") -> str:
    """JSON text of one line; errors call the value `name`."""
    return json_text(value, name, compact=True)


def described(error: BaseException) -> str:
    """An exception in a line, as the last line of a traceback has it."""
    if isinstance(error, SyntaxError):
        # its lines of the source are in the traceback
        return f"{type(error).__name__}: {error}"
    return "".join(traceback.format_exception_only(type(error), error)).strip()


def traceback_text(error: BaseException) -> str:
    """The traceback of an exception, without the frames of this package.

    Empty where there are no others: `described` says it all.
    """
    told = traceback.TracebackException.from_exception(error)
    frames = _leave_theirs(told)
    if not isinstance(error, SyntaxError):
        return "".join(told.format()) if frames else ""
    # the file, the line and the place in it; `described` says the rest
    lines = [*told.stack.format(), *list(told.format_exception_only())[:-1]]
    return "".join([_HEADING, *lines] if told.stack else lines)


def _leave_theirs(told: traceback.TracebackException) -> int:
    """Take our frames out of an exception and those behind it; how many frames are left."""
    theirs = [frame for frame in told.stack if not _is_ours(frame.filename)]
    told.stack = traceback.StackSummary.from_list(theirs)
    behind = [told.__cause__, told.__context__, *(getattr(told, "exceptions", None) or [])]
    return len(theirs) + sum(_leave_theirs(other) for other in behind if other is not None)


def _is_ours(filename: str) -> bool:
    return filename.startswith((_PACKAGE, "<frozen importlib"))


def _request(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except ValueError as error:
        raise Refusal(f"a line is no JSON: {error}") from None
    if not isinstance(request, dict) or "id" not in request or "method" not in request:
        raise Refusal("a line is no object with `id` and `method`")
    return request


def _hello(session: Session, params: Mapping[str, Any]) -> str:
    version = params.get("protocol")
    if version not in VERSIONS:
        known = ", ".join(map(str, VERSIONS))
        raise Refusal(f"protocol {version} is not known here; known: {known}")
    role = params.get("role")
    if role != session.role:
        raise Refusal(f"this plugin was started for role {session.role}, not {role}")
    name = session.hello(params.get("name"), params.get("options") or {})
    return dumps({"protocol": version, "name": name, **session.more()})


def _method(session: Session, name: str) -> Method:
    methods = session.methods()
    try:
        return methods[name]
    except KeyError:
        known = ", ".join(f"`{method}`" for method in methods)
        raise Refusal(
            f"there is no method `{name}` for role {session.role}; there are {known}, `bye`"
        ) from None


def _result(number: Any, result: str) -> bytes:
    try:
        answer = f'{{"id":{dumps(number)},"result":{result}}}\n'.encode()
    except UnicodeEncodeError:
        raise Refusal("a text has half a surrogate pair in it, which is no Unicode") from None
    if len(answer) > MAX_LINE_BYTES:
        raise Refusal(
            f"the response is {len(answer)} bytes long, more than {MAX_LINE_BYTES}: "
            "ask for less at a time"
        )
    return answer


def _failed(number: Any, error: BaseException) -> bytes:
    if isinstance(error, Refusal):
        return _error(number, str(error), None)
    if isinstance(error, Raised) and error.__cause__ is not None:
        return _error(number, str(error), traceback_text(error.__cause__) or None)
    # a fault of this package
    trace = traceback.format_exception(type(error), error, error.__traceback__)
    return _error(number, described(error), "".join(trace))


def _error(number: Any, message: str, trace: str | None) -> bytes:
    answer = {"id": number, "error": {"message": message, "traceback": trace}}
    # half a surrogate pair may be what the error is about
    return dumps(answer).encode(errors="backslashreplace") + b"\n"
