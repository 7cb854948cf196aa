"""Owns the responses of datasets and APIs to the tool: the roles `dataset` and `api`."""

from __future__ import annotations

import inspect
import json
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from evalscope.perf.arguments import Arguments
from evalscope.perf.plugin.api.base import AnswerFailed
from evalscope.perf.plugin.api.default_api import DefaultApiPlugin
from evalscope.perf.plugin.datasets.base import Turn
from evalscope.perf.plugin.loading import made, not_async
from evalscope.perf.utils.body_meta import BODY_META_PREFIX
from evalscope.perf.values import NotJson, kind, plain
from evalscope.perf.wire import Method, Raised, Refusal, Session, dumps, traceback_text

# A batch ends early when it has this many characters: long prompts must not make a line too long.
_BATCH_CHARS = 4 * 1024 * 1024

# More are a mistake, such as a time in nanoseconds.
_MOST_TOKENS = 10**12

Find = Callable[["str | None"], "tuple[str, type]"]
"""Finds the class for the name that the tool asks for, and returns its name."""


class PluginSession(Session):
    """A class of a plugin, made into an object when the tool says hello."""

    def __init__(self, find: Find) -> None:
        self._find = find

    def hello(self, name: str | None, options: Mapping[str, Any]) -> str:
        """Find the class, and make an object of it."""
        found, cls = self._find(name)
        self._start(cls, Arguments.from_options(options))
        return found

    @abstractmethod
    def _start(self, cls: type, options: Arguments) -> None: ...


class DatasetSession(PluginSession):
    """Prompts out of `build_messages`."""

    role = "dataset"

    _prompts: Iterator[Any]

    def _start(self, cls: type, options: Arguments) -> None:
        self._plugin = made(cls, options, ("build_messages",))
        self._begin()

    def methods(self) -> Mapping[str, Method]:
        """`next` and `rewind`."""
        return {"next": self._next, "rewind": self._rewind}

    def _begin(self) -> None:
        # what was raised behind prompts that were still good; it is told at the next request
        self._raised: BaseException | None = None
        with _plugin_code("build_messages"):
            prompts = self._plugin.build_messages()
        _refuse_async("build_messages", prompts)
        if isinstance(prompts, (str, bytes, Mapping)) or not hasattr(prompts, "__iter__"):
            raise Refusal(
                "build_messages must be a generator that yields prompts, or return a list of them; "
                f"it returned {kind(prompts)}"
            )
        with _plugin_code("build_messages"):
            self._prompts = iter(prompts)

    def _rewind(self, _params: Mapping[str, Any]) -> str:
        self._begin()
        return "{}"

    def _next(self, params: Mapping[str, Any]) -> str:
        most = int(params.get("max", 1))
        if self._raised is not None:
            raised, self._raised = self._raised, None
            raise raised
        items: list[str] = []
        chars = 0
        end = False
        try:
            while len(items) < most and chars < _BATCH_CHARS:
                with _plugin_code("build_messages"):
                    prompt = next(self._prompts, _END)
                if prompt is _END:
                    end = True
                    break
                items.append(_item(prompt))
                chars += len(items[-1])
        except (Raised, Refusal) as error:
            if not items:
                raise
            self._raised = error
        return f'{{"items":[{",".join(items)}],"end":{"true" if end else "false"}}}'


class ApiSession(PluginSession):
    """Bodies out of `build_request`, counts out of `parse_responses`."""

    role = "api"

    def _start(self, cls: type, options: Arguments) -> None:
        self._options = options
        self._plugin = made(cls, options, ("build_request", "parse_responses"))
        self._parsed = isinstance(self._plugin, DefaultApiPlugin)

    def more(self) -> Mapping[str, Any]:
        """How to read responses, if the class declares it."""
        answers = getattr(self._plugin, "answers", None)
        if answers is None:
            return {}
        _written("answers", "answers", answers)
        return {"answers": answers}

    def methods(self) -> Mapping[str, Method]:
        """`build` and `parse`."""
        return {"build": self._build, "parse": self._parse}

    def _build(self, params: Mapping[str, Any]) -> str:
        bodies = []
        for prompt in params["prompts"]:
            with _plugin_code("build_request"):
                body = self._plugin.build_request(_prompt(prompt), self._options)
            _refuse_async("build_request", body)
            if not isinstance(body, Mapping):
                raise Refusal(f"build_request must return a dict, not {kind(body)}")
            _refuse_meta("build_request", body)
            most = prompt.get("max_tokens")
            if most is not None and hasattr(self._plugin, "set_request_max_tokens"):
                with _plugin_code("set_request_max_tokens"):
                    self._plugin.set_request_max_tokens(body, most)
            bodies.append(_written("build_request", "body", body))
        return f'{{"bodies":[{",".join(bodies)}]}}'

    def _parse(self, params: Mapping[str, Any]) -> str:
        return dumps({"counts": [self._count(answer) for answer in params["answers"]]})

    def _count(self, answer: Mapping[str, Any]) -> dict[str, Any]:
        texts = answer["responses"]
        responses = (
            [_loaded(text) for text in texts] if self._parsed else [text.encode() for text in texts]
        )
        request = dumps(answer["request"]) if self._parsed else answer["request"]
        try:
            with _plugin_code("parse_responses"):
                counts = self._plugin.parse_responses(responses, request=request)
            _refuse_async("parse_responses", counts)
            prompt, completion = _counts(counts)
        except Raised as error:
            if isinstance(error.__cause__, AnswerFailed):
                return {"failed": _said(error.__cause__) or "parse_responses raised AnswerFailed"}
            trace = traceback_text(error.__cause__) if error.__cause__ else ""
            return {"error": _said(error), "traceback": _encodable(trace or "")}
        except Refusal as error:
            return {"error": _said(error), "traceback": ""}
        return {"prompt_tokens": prompt, "completion_tokens": completion}


def _said(error: BaseException) -> str:
    """What an exception says, whatever it is: one that cannot be told must not cost others."""
    try:
        return _encodable(str(error))
    except Exception:
        return f"{type(error).__name__}, which cannot be shown"


def _encodable(text: str) -> str:
    """Half a surrogate pair, of a text that was cut, is no Unicode."""
    return text.encode("utf-8", "replace").decode()


_END = object()


class _plugin_code:
    """Everything that is raised inside is the plugin's, and named so."""

    __slots__ = ("_method",)

    def __init__(self, method: str) -> None:
        self._method = method

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, (Exception, SystemExit)):
            raise Raised(self._method, error) from error


def _refuse_async(method: str, returned: Any) -> None:
    """What a plain method gives may be async all the same."""
    if inspect.iscoroutine(returned):
        # else Python complains that it was never awaited
        returned.close()
    if inspect.isawaitable(returned) or inspect.isasyncgen(returned):
        raise Refusal(not_async(method))


def _refuse_meta(method: str, body: Mapping[str, Any]) -> None:
    """EvalScope takes these keys out of a body; here they would be sent."""
    for key in body:
        if isinstance(key, str) and key.startswith(BODY_META_PREFIX):
            raise Refusal(
                f"{method} made a body with `{key}`; headers and moments of single requests are "
                "not a plugin's here: write them into a file for `--dataset workload_trace`"
            )


def _item(prompt: Any) -> str:
    prompt = plain(prompt)
    if isinstance(prompt, str):
        form = "text"
    elif isinstance(prompt, Mapping):
        form = "body"
        _refuse_meta("build_messages", prompt)
    elif isinstance(prompt, (list, tuple)):
        if prompt and all(isinstance(turn, Turn) for turn in prompt):
            return _conversation(prompt)
        form = _form_of_list(prompt)
    else:
        raise Refusal(f"{_WANTED}; got {kind(prompt)}")
    return f'{{"{form}":{_written("build_messages", "prompt", prompt)}}}'


_WANTED = (
    "build_messages must yield a str, a list of dicts, a dict, a list of ints or a list of `Turn`"
)


def _conversation(turns: Sequence[Turn]) -> str:
    item: dict[str, Any] = {"turns": [_turn(turn) for turn in turns]}
    if turns[0].rid is not None:
        item["rid"] = item["session"] = str(turns[0].rid)
    return _written("build_messages", "conversation", item)


def _turn(turn: Turn) -> dict[str, Any]:
    written: dict[str, Any] = {"messages": turn.messages}
    if turn.max_tokens is not None:
        written["max_tokens"] = turn.max_tokens
    if turn.tool_call_latency is not None:
        written["delay_s"] = turn.tool_call_latency
    return written


def _form_of_list(prompt: Sequence[Any]) -> str:
    # first the case of very many elements
    if set(map(type, prompt)) == {int}:
        return "token_ids"
    if not prompt:
        raise Refusal(f"{_WANTED}; got an empty {type(prompt).__name__}")
    forms = [_form_of_element(element) for element in prompt]
    for number, (form, element) in enumerate(zip(forms, prompt), start=1):
        if form is None or form != forms[0]:
            which = "first element" if number == 1 else f"element {number}"
            raise Refusal(f"{_WANTED}; got {kind(prompt)} whose {which} is {kind(element)}")
    return forms[0] or ""


def _form_of_element(element: Any) -> str | None:
    element = plain(element)
    if isinstance(element, Mapping):
        return "messages"
    return "token_ids" if isinstance(element, int) and not isinstance(element, bool) else None


def _written(method: str, name: str, value: Any) -> str:
    try:
        return dumps(value, name)
    except NotJson as error:
        raise Refusal(f"what {method} made cannot be written as JSON: {error}") from None


def _prompt(item: Mapping[str, Any]) -> Any:
    for form in ("messages", "text", "body", "token_ids"):
        if form in item:
            return item[form]
    raise Refusal("a prompt has none of `text`, `messages`, `body` and `token_ids`")


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        # a response that is not JSON stays a text
        return text


def _counts(counts: Any) -> tuple[int | None, int | None]:
    counts = plain(counts)
    if not isinstance(counts, (tuple, list)) or len(counts) != 2:
        raise Refusal(
            "parse_responses must return the tokens of the prompt and of the response, "
            f"not {counts!r}"
        )
    prompt, completion = counts
    return _tokens(prompt), _tokens(completion)


def _tokens(count: Any) -> int | None:
    told = plain(count)
    if told is None:
        return None
    if isinstance(told, float) and told.is_integer():
        told = int(told)
    if isinstance(told, bool) or not isinstance(told, int) or not 0 <= told <= _MOST_TOKENS:
        raise Refusal(f"parse_responses returned {count!r}, which is no number of tokens")
    return told
