"""Owns the options of `evalscope perf` as Python sees them, and how they become a command line.

It knows no defaults: an option that is not set is not passed on, and the binary decides. Only
plugins see every value, since the binary passes its own to them (`Arguments.from_options`).
"""

from __future__ import annotations

import inspect
import json
import os
import re
import reprlib
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any, Union

from evalscope.errors import EvalscopeError, UnknownOption, did_you_mean
from evalscope.perf import secrets
from evalscope.perf.values import NotJson, json_text, kind, listed, plain

PathLike = Union[str, "os.PathLike[str]"]


@dataclass(repr=False)
class Arguments:
    """The options of `evalscope perf`, all of them optional. `None` means the tool's default.

    `evalscope perf --help` has the defaults. The binary rejects options of
    EvalScope that it does not have yet.

    A plugin gets one of these as `param`: then it holds the options as the tool resolved them,
    with a single value in place of a list of one. Changing it changes nothing in the tool.
    """

    # --- server ---

    url: str | None = None
    """URL of the endpoint. `http://host:8000` is completed by the tool."""
    model: str | None = None
    """Name of the model, as the server knows it. May be left out if the server lists only one."""
    api: str | None = None
    """API of the server; or the name of a class registered with `register_api`; or
    `path/to/plugin.py[:name]`."""
    api_key: str | None = None
    """Key, sent as `Authorization: Bearer`. It reaches the tool through the environment."""
    headers: Mapping[str, str] | Sequence[str] | None = None
    """Additional headers of every request: a dict, or a list of `NAME=VALUE`. They reach the tool
    through the environment, in place of what `EVALSCOPE_HEADERS` says there."""
    connect_timeout: float | str | None = None
    """Fail a request when its connection takes longer: seconds, or `"30s"`; 0 for no limit."""
    read_timeout: float | str | None = None
    """Fail a request when nothing arrives for this long; 0 for no limit."""
    total_timeout: float | str | None = None
    """Fail a request that takes longer than this in total; 0 for no limit."""
    no_test_connection: bool | None = None
    """Send no test request first."""
    wait_for_server: float | str | None = None
    """Wait up to this long for a server that is still starting or loading its model."""
    insecure: bool | None = None
    """Do not verify the server's certificate."""
    ca_cert: PathLike | None = None
    """Also trust the certificates in this PEM file."""
    port: int | None = None
    """Port of the local inference server, for the `local…` APIs."""
    attn_implementation: str | None = None
    """Attention implementation of the `local` API."""
    trust_remote_code: bool | None = None
    """Let the `local…` APIs run code shipped with the model."""
    server_start_timeout: float | str | None = None
    """Give up when the `local…` APIs have not loaded the model within this time."""
    tokenizer_path: PathLike | None = None
    """Tokenizer: a folder, a file or a name on the hub. Counts tokens and makes random prompts."""

    # --- load ---

    parallel: int | Sequence[int] | None = None
    """Requests in flight at a time. Several values make a sweep, one run each. With `rate` alone
    it is unlimited."""
    number: int | Sequence[int] | None = None
    """Requests of each run: one value for all runs, or one for each. With `duration` alone
    it is unlimited."""
    rate: float | str | Sequence[float] | Sequence[str] | None = None
    """Arrivals per second, `"90/m"`, or a profile such as `"1..20@60,20@5m"`; -1 for no pacing."""
    open_loop: bool | None = None
    """Send at the moments of `rate` and never wait for responses."""
    arrivals: str | None = None
    """How arrivals are spread: `poisson`, `constant` or `gamma:SHAPE`."""
    burstiness: float | str | None = None
    """The same as `arrivals="gamma:SHAPE"`; infinity is `constant`."""
    max_in_flight: int | None = None
    """The most requests in flight of an open loop."""
    when_full: str | None = None
    """What happens to a request that is due then: `wait`, `drop` or `stop`."""
    drain_timeout: float | str | None = None
    """How long requests may go on after the last was sent; 30 seconds in an open loop."""
    stop_when_saturated: bool | None = None
    """End an open loop when the server is found not to keep up."""
    duration: float | str | None = None
    """Stop sending after this time: seconds, or `"5m"`."""
    warmup_num: float | None = None
    """Requests to send before the measured ones; below 1, a fraction of `number`."""
    sleep_interval: float | str | None = None
    """Pause between the runs of a sweep."""
    repeats: int | None = None
    """How often each run of a sweep is measured."""
    max_error_rate: float | str | None = None
    """Fail (`EvalscopeError`, exit code 1) when more requests fail: 0.01, or `"1%"`."""
    give_up_after: float | str | None = None
    """End the run when no request has reached the server for this long, or when the first 20
    responses are all the same 4xx error; 0 for never."""
    client_threads: int | None = None
    """Number of receive threads."""
    num_workers: float | None = None
    """Accepted for compatibility with EvalScope; has no effect."""
    db_commit_interval: float | None = None
    """Accepted for compatibility with EvalScope; has no effect."""
    queue_size_multiplier: float | None = None
    """Accepted for compatibility with EvalScope; has no effect."""
    in_flight_task_multiplier: float | None = None
    """Accepted for compatibility with EvalScope; has no effect."""

    # --- objectives ---

    slo: str | Sequence[str] | None = None
    """What a good request meets, such as `"ttft<=500ms tpot<=50ms"`."""
    goodput: str | Sequence[str] | None = None
    """The same in milliseconds, as vLLM writes it: `"ttft:500 tpot:50"`."""
    slo_from: str | None = None
    """Where ttft, ttfat and latency of `slo` begin: `schedule` or `send`."""
    min_goodput: float | str | None = None
    """Fail (`EvalscopeError`, exit code 1) when fewer requests meet `slo`: 0.95, or `"95%"`."""

    # --- search for a service level ---

    sla_auto_tune: bool | None = None
    """Search for the highest load that keeps `sla_params`."""
    sla_variable: str | None = None
    """What is varied: `parallel` or `rate`."""
    sla_params: str | Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    """The levels to keep, such as `[{"p99_ttft": "<=200"}]`; JSON text or the value itself."""
    sla_num_runs: int | None = None
    """Runs of each load, whose figures are averaged."""
    sla_upper_bound: int | None = None
    """Highest load to try."""
    sla_lower_bound: int | None = None
    """Lowest load to try."""
    sla_fixed_parallel: int | None = None
    """Requests in flight while the rate is varied."""
    sla_number_multiplier: float | None = None
    """Requests of a run, in multiples of the load tried."""

    sla_precision: float | str | None = None
    """How far apart a load that meets the limits and one that does not may be: 0.05, or `"5%"`."""
    sla_confidence: float | str | None = None
    """How sure a verdict on a load has to be."""
    sla_probe_time: str | None = None
    """How long a load is measured: `"20..120"`, the first and the last look in seconds."""
    sla_max_time: float | str | None = None
    """Begin no measurement after this time: seconds, or `"30m"`."""
    # --- prompts ---

    dataset: str | None = None
    """Where prompts come from; or the name of a class registered with `register_dataset`; or
    `path/to/plugin.py[:name]`."""
    dataset_path: PathLike | None = None
    """File or folder of the dataset."""
    prompt_field: str | None = None
    """Field that holds the prompt, in your own JSON list, JSON Lines, CSV or Parquet file."""
    skip_bad_lines: bool | None = None
    """Skip lines of a file that cannot be used, instead of rejecting the file."""
    data_source: str | None = None
    """Hub that datasets are downloaded from: `modelscope`, `huggingface` or `local`."""
    dataset_offset: int | None = None
    """Number of prompts to skip at the start of the dataset."""
    dataset_args: str | Mapping[str, Any] | None = None
    """Options of the dataset; JSON text or a dict."""
    repeat_prompts: bool | None = None
    """Use the same prompts in every run of a sweep: the server's prefix cache will be warm."""
    prompt: str | None = None
    """One prompt for all requests, or `@FILE`. Overrides `dataset`."""
    query_template: str | Mapping[str, Any] | None = None
    """Request body: JSON text, `@FILE` or a dict. `%m` and `%p` become the model and the prompt."""
    min_prompt_length: int | None = None
    """Leave out shorter prompts."""
    max_prompt_length: int | None = None
    """Leave out longer prompts."""
    prefix_length: int | None = None
    """Length of a shared random prefix, in tokens."""
    prefix_count: int | None = None
    """Number of different prefixes; request i begins with prefix i modulo this number."""
    apply_chat_template: bool | None = None
    """Send chat messages rather than a plain prompt."""
    tokenize_prompt: bool | None = None
    """Send token ids rather than text."""
    image_width: int | None = None
    """Width of random images, in pixels."""
    image_height: int | None = None
    """Height of random images, in pixels."""
    image_format: str | None = None
    """Mode of random images, such as `RGB`."""
    image_num: int | None = None
    """Random images in each prompt."""
    image_patch_size: int | None = None
    """Side of the square of an image that counts as one token, in pixels."""

    # --- conversations ---

    multi_turn: bool | None = None
    """Send conversations: each turn with the responses to the turns before it."""
    min_turns: int | None = None
    """Minimum turns of a random conversation."""
    max_turns: int | None = None
    """Maximum turns of a conversation."""
    multi_turn_args: str | Mapping[str, Any] | None = None
    """Lengths of turns, the earlier form of `dataset_args`; JSON text or a dict."""
    history: str | None = None
    """What the history holds for the responses: `real`, `real+reasoning`, `recorded` or `none`."""
    turn_delay: str | None = None
    """How long a client waits before each turn after the first: seconds, `"1..5"`, `"exp:2"` or
    `"lognormal:2,0.8"`."""
    max_turn_tokens: int | Sequence[int] | None = None
    """Maximum tokens of the response of each turn, the first one first; later ones as the last."""
    max_context: int | None = None
    """End a conversation before a turn that would have more tokens than this."""
    salt: bool | None = None
    """Begin each conversation with a line of its own, so that no cache knows it."""
    finish_conversations: bool | None = None
    """Let conversations end after `duration`, not only their turns."""
    session_header: str | None = None
    """Header that names the conversation in every request."""
    session_token_header: str | None = None
    """Header of a response that is sent back with the next request."""
    connections: str | None = None
    """How long a connection is kept: `keep`, `session` or `request`."""

    # --- generation ---

    max_tokens: int | Sequence[int] | None = None
    """Maximum tokens of a response; with two values each request draws one between them."""
    min_tokens: int | None = None
    """Minimum tokens of a response."""
    temperature: float | None = None
    """Sampling temperature."""
    top_p: float | None = None
    """Nucleus sampling."""
    top_k: int | None = None
    """Sample from this many most likely tokens."""
    frequency_penalty: float | None = None
    """Frequency penalty."""
    repetition_penalty: float | None = None
    """Repetition penalty."""
    logprobs: bool | None = None
    """Ask for log probabilities."""
    n_choices: int | None = None
    """Number of choices in each response."""
    seed: int | None = None
    """Seed for the server's sampling and for random prompts and arrivals."""
    stop: str | Sequence[str] | None = None
    """Texts that end generation."""
    stop_token_ids: int | Sequence[int] | Sequence[str] | None = None
    """Token ids that end generation."""
    stream: bool | None = None
    """Stream responses; TTFT, TPOT and ITL need it."""
    extra_args: str | Mapping[str, Any] | None = None
    """Additional fields of the request body: JSON text or a dict. `None` in it deletes a field."""

    # --- output ---

    outputs_dir: PathLike | None = None
    """Folder for all results."""
    name: str | None = None
    """Name of the results folder, and of the run in a tracker."""
    alias: str | None = None
    """A display name, shown next to the model in tables and files."""
    metadata: Mapping[str, Any] | Sequence[str] | None = None
    """Facts to keep with the results, in `result.json`: a dict, or a list of `KEY=VALUE`."""
    no_timestamp: bool | None = None
    """Write to `outputs_dir`/`name`, without a timestamp folder."""
    record_bodies: str | None = None
    """Request and response bodies to keep in the database: `all`, `failed` or `none`."""
    confidence: bool | None = None
    """Show 95 % intervals of percentiles, throughput and good requests within each run."""
    no_html: bool | None = None
    """Do not write the HTML report, `perf_report.html`."""
    lang: str | None = None
    """Language of the HTML report: `en` or `zh`."""
    log_every_n_query: int | None = None
    """Log progress after every N requests."""
    debug: bool | None = None
    """Log every request and every event of its response."""
    enable_progress_tracker: bool | None = None
    """Keep `progress.json` in the results folder up to date while the command runs."""
    visualizer: str | None = None
    """Tracker to report to: `wandb`, `swanlab` or `clearml`."""
    wandb_api_key: str | None = None
    """Key of Weights & Biases; implies `visualizer="wandb"`. Goes through the environment."""
    swanlab_api_key: str | None = None
    """Key of SwanLab, or `local` to stay offline; implies `visualizer="swanlab"`. Goes through
    the environment."""
    swanlab_host: str | None = None
    """Address of your own SwanLab server."""
    tracker_files: str | None = None
    """Files that a tracker is given: `reports`, `none`, or `db`, which holds all prompts and
    responses."""

    # `__new__` is there for its error message: the one of a dataclass suggests nothing.
    def __new__(cls, *_args: object, **options: object) -> Arguments:
        """Refuse unknown names before the generated `__init__` does."""
        _refuse_unknown(options)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        """Turn arrays into lists: arrays have no plain comparison and no truth value."""
        for name in _NAMES:
            value = plain(self.__dict__[name])
            if name in _LISTS and value is not None and not isinstance(value, (str, list, tuple)):
                items = listed(value)
                value = value if items is None else items
            self.__dict__[name] = value

    @classmethod
    def of(cls, given: Arguments | Mapping[str, Any] | Namespace) -> Arguments:
        """Take options in any of the forms that `run_perf_benchmark` takes."""
        if isinstance(given, Arguments):
            return given
        if isinstance(given, Namespace):
            # `func` is what argparse's subcommands leave behind
            options = {k: v for k, v in vars(given).items() if v is not None and k != "func"}
            return cls.from_dict(options)
        if isinstance(given, Mapping):
            return cls.from_dict(given)
        raise EvalscopeError(
            f"options are a dict, an `Arguments` or an argparse `Namespace`, not {kind(given)}"
        )

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> Arguments:
        """Take options from a dict; `max-tokens` is `max_tokens`.

        Raises:
            UnknownOption: with the nearest name that exists.
        """
        return cls(**{str(name).replace("-", "_"): value for name, value in options.items()})

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Arguments:
        """Take the options that the tool passes to a plugin.

        Those that this version does not know become attributes as well: a newer tool must not
        break a plugin.
        """
        known = {name: _single(name, options[name]) for name in _NAMES if name in options}
        arguments = cls(**known)
        for name, value in options.items():
            if name not in known:
                setattr(arguments, name, value)
        return arguments

    def to_dict(self) -> dict[str, Any]:
        """The options that are set, secrets included."""
        return {name: self.__dict__[name] for name in _NAMES if self.__dict__[name] is not None}

    def to_argv(self) -> list[str]:
        """The flags for `evalscope perf`. Keys and headers are not among them, see
        `to_environment`."""
        argv: list[str] = []
        for name, value in self.to_dict().items():
            argv += _flag(name, value)
        if self.visualizer is None:
            if self.wandb_api_key is not None:
                argv.append("--visualizer=wandb")
            elif self.swanlab_api_key is not None:
                argv.append("--visualizer=swanlab")
        return argv

    def to_environment(self) -> dict[str, str]:
        """The environment variables for `evalscope perf`: what `ps` must not show, which is
        keys and, since many a key is one, headers."""
        options = self.to_dict()
        environment = {
            variable: str(options[name]) for name, variable in _SECRETS.items() if name in options
        }
        if headers := _headers(options.get("headers", [])):
            environment[_HEADERS] = "\n".join(map(_header_line, headers))
        return environment

    def __getattr__(self, name: str) -> Any:
        """Only reached by names that do not exist."""
        raise AttributeError(f"there is no option `{name}`{did_you_mean(name, _NAMES)}")

    def __repr__(self) -> str:
        """The options that are set, secrets masked."""
        shown = (f"{name}={_shown(name, value)!r}" for name, value in self.to_dict().items())
        return f"Arguments({', '.join(shown)})"


_NAMES = tuple(field.name for field in fields(Arguments))

# `__new__` hides the options from `inspect`, and so from completion in notebooks.
_OF_INIT = inspect.signature(Arguments.__init__)
Arguments.__signature__ = _OF_INIT.replace(  # type: ignore[attr-defined]
    parameters=list(_OF_INIT.parameters.values())[1:]
)


def _whole_number(value: Any) -> str | None:
    if isinstance(value, str):
        return value if re.fullmatch("[+-]?[0-9]+", value) else None
    if isinstance(value, float) and value.is_integer():
        # 100.0 out of a spreadsheet or a JSON file
        return str(int(value))
    return str(int(value)) if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: Any) -> str | None:
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return None
        return value
    return str(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _quantity(value: Any) -> str | None:
    # a text has a unit that the binary knows: `1%`, `5m`, `90/m`
    if isinstance(value, str):
        return value if re.match(r"\s*[-+.]?[0-9]|\s*[-+]?inf", value) else None
    return _number(value)


def _text(value: Any) -> str | None:
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, (str, os.PathLike)):
        return os.fsdecode(value)
    # a number is a name too: `name=2024`
    return _number(value)


def _json(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _any_headers(value: Any) -> str | None:
    # they have no word on the command line, see `to_environment`
    return "" if isinstance(value, (str, Mapping)) or listed(value) is not None else None


@dataclass(frozen=True)
class _Kind:
    """What the values of an option are. Which of them are in range, the binary knows."""

    wanted: str
    word: Callable[[Any], str | None]
    """A value on the command line; `None` for one of another kind."""
    is_list: bool = False
    as_json: tuple[type, ...] = ()
    """What is written as JSON."""


_SWITCH = _Kind("True or False", lambda _: None)
_WHOLE_NUMBERS = _Kind("a whole number or a list of them", _whole_number, is_list=True)
_FACTS = _Kind("a dict, or a list of `KEY=VALUE`", _text, is_list=True)
# By the annotations of options, without their `None`.
_KINDS = {
    "bool": _SWITCH,
    "int": _Kind("a whole number", _whole_number),
    "int | Sequence[int]": _WHOLE_NUMBERS,
    "int | Sequence[int] | Sequence[str]": _WHOLE_NUMBERS,
    "float": _Kind("a number", _number),
    "float | str": _Kind('a number, or a text such as "1%" or "5m"', _quantity),
    "float | str | Sequence[float] | Sequence[str]": _Kind(
        'a number, a text such as "90/m", or a list of them', _quantity, is_list=True
    ),
    "str": _Kind("a text", _text),
    "str | Sequence[str]": _Kind("a text or a list of them", _text, is_list=True),
    "PathLike": _Kind("a path", _text),
    "str | Mapping[str, Any]": _Kind("a dict, or JSON text", _json, as_json=(Mapping,)),
    "str | Mapping[str, Any] | Sequence[Mapping[str, Any]]": _Kind(
        "a dict, a list of them, or JSON text", _json, as_json=(Mapping, list, tuple)
    ),
    "Mapping[str, Any] | Sequence[str]": _FACTS,
    "Mapping[str, str] | Sequence[str]": _Kind("a dict, or a list of `NAME=VALUE`", _any_headers),
}
_KIND_OF = {field.name: _KINDS[str(field.type)[: -len(" | None")]] for field in fields(Arguments)}

# Switches with an opposite, `--no-…`.
_PAIRS = {"apply_chat_template", "stream"}
_LISTS = {name for name, of in _KIND_OF.items() if of.is_list}
_MAY_BE_EMPTY = {"stop", "stop_token_ids"}
_JSON = {name for name, of in _KIND_OF.items() if of.as_json}
_SECRETS = {
    "api_key": "EVALSCOPE_API_KEY",
    "wandb_api_key": "WANDB_API_KEY",
    "swanlab_api_key": "SWANLAB_API_KEY",
}
_HEADERS = "EVALSCOPE_HEADERS"


def _refuse_unknown(options: Mapping[str, object]) -> None:
    for name in options:
        if name not in _NAMES:
            raise UnknownOption(f"there is no option `{name}`{did_you_mean(name, _NAMES)}")


def _single(name: str, value: Any) -> Any:
    """What a plugin wants to see of a list of one: `max_tokens` goes into a body as it is."""
    if name in _LISTS - _MAY_BE_EMPTY and isinstance(value, list) and len(value) == 1:
        return value[0]
    return value


def _flag(name: str, value: Any) -> list[str]:
    flag = "--" + name.replace("_", "-")
    value, of = plain(value), _KIND_OF[name]
    if of is _SWITCH:
        if not isinstance(value, bool):
            raise EvalscopeError(f"`{name}` is True or False, not {_brief(value)}")
        if value:
            return [flag]
        return [f"--no-{flag[2:]}"] if name in _PAIRS else []
    if isinstance(value, of.as_json):
        return [f"{flag}={_as_json(name, value)}"]
    if of is _FACTS and isinstance(value, Mapping):
        value = [f"{key}={item}" for key, item in value.items()]
    if of.is_list:
        return _list_flag(name, flag, value)
    word = of.word(value)
    if word is None:
        raise EvalscopeError(f"`{name}` is {of.wanted}, not {_brief(value)}")
    # `=` and not a separate argument: a prompt may begin with a dash
    return [] if name in _SECRETS or name == "headers" else [f"{flag}={word}"]


def _list_flag(name: str, flag: str, value: Any) -> list[str]:
    items, of = listed(value), _KIND_OF[name]
    words = []
    for place, item in enumerate([value] if items is None else items, start=1):
        word = of.word(item)
        if word is None:
            which = "" if items is None else f"; element {place} of it is {_brief(item)}"
            raise EvalscopeError(f"`{name}` is {of.wanted}{which or f', not {_brief(item)}'}")
        words.append(word)
    if not words and name not in _MAY_BE_EMPTY:
        raise EvalscopeError(f"`{name}` is an empty list; leave it out to take the default")
    if len(words) == 1:
        return [f"{flag}={words[0]}"]
    if name == "stop" and any(word.startswith("-") for word in words):
        raise EvalscopeError(
            "several texts in `stop`, one of which begins with `-`, would be read as flags; "
            'give them as `extra_args={"stop": […]}`'
        )
    return [flag, *words]


def _headers(value: Any) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{name}={_header_text(name, text)}" for name, text in value.items()]
    items = listed(value)
    items = [value] if items is None else items
    return [_header_text(number, item) for number, item in enumerate(items, 1)]


def _header_text(which: object, value: Any) -> str:
    text = _text(value)
    if text is None or isinstance(value, bytes):
        # its text may be a key
        raise EvalscopeError(f"the header {which!r} is a {type(value).__name__}, not a text")
    return text


def _header_line(header: str) -> str:
    if not header.isprintable():
        name = header.partition("=")[0]
        raise EvalscopeError(f"the header {name!r} has a character that no header may have")
    return header


def _as_json(name: str, value: Any) -> str:
    try:
        return json_text(value, name)
    except NotJson as error:
        raise EvalscopeError(f"`{name}` cannot be written as JSON: {error}") from None


def _brief(value: Any) -> str:
    """A value in an error: itself, but of what may hold a key its kind alone."""
    if value is None or isinstance(value, (str, int, float)):
        return reprlib.repr(value)
    return kind(value)


def _shown(name: str, value: Any) -> Any:
    if name in _SECRETS:
        return secrets.MASK
    if name == "headers":
        return [secrets.shown_header(header) for header in _headers(value)]
    if name == "url":
        return secrets.shown_url(str(value))
    if name in _JSON:
        return _shown_json(value)
    return value


def _shown_json(value: Any) -> Any:
    if not isinstance(value, str) or value.startswith("@"):
        return secrets.shown_fields(value)
    try:
        return secrets.shown_fields(json.loads(value))
    except ValueError:
        return value


QueryParameters = Arguments
"""The earlier tool's name of `Arguments`."""
