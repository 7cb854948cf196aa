"""Owns the options of `evalscope perf` as Python sees them.

Their defaults are those of the binary, and for people to see: only what was given is passed on,
and the binary decides. Plugins get the values of the binary (`Arguments.from_options`).
"""

from __future__ import annotations

import inspect
import json
import os
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, fields
from typing import Any, Union, cast

from evalscope.errors import EvalscopeError, InvalidOption, UnknownOption, did_you_mean
from evalscope.perf import secrets
from evalscope.perf.checks import check, is_chat_url
from evalscope.perf.options import (
    MAY_BE_EMPTY,
    SECRETS,
    flag_words,
    header_line,
    header_texts,
    kind_of,
)
from evalscope.perf.schema import Schema
from evalscope.perf.values import kind, listed, plain

PathLike = Union[str, "os.PathLike[str]"]


@dataclass(repr=False)
class Arguments:
    """The options of `evalscope perf`, all of them optional. `None` means the tool's default.

    Values are checked when the object is made: an unknown name (`UnknownOption`), a value of
    another kind and options that contradict each other (`InvalidOption`) are refused there.
    `number`, `parallel` and `rate` are lists, also of a single value.

    A plugin gets one of these as `param`: then it holds the options as the tool resolved them,
    with a single value in place of a list of one. Changing it changes nothing in the tool.
    """

    # --- server ---

    url: str | Sequence[str] | None = "http://127.0.0.1:8877/v1/chat/completions"
    """URL of the endpoint. `http://host:8000` is completed by the tool. Several spread the load."""
    model: str | Sequence[str] | None = None
    """Name of the model, as the server knows it; several for a mix. May be left out if the server
    lists only one."""
    model_id: str | None = None
    """Last part of the model's name; it is worked out, and not passed on."""
    model_weights: float | str | Sequence[float] | Sequence[str] | None = None
    """Which share of the requests asks for each of several models."""
    url_strategy: str | None = None
    """Which of several URLs a request goes to: `round-robin` (default) or `least-in-flight`."""
    api: str | None = "openai"
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
    total_timeout: float | str | None = 21600
    """Fail a request that takes longer than this in total; 0 for no limit."""
    no_test_connection: bool | None = False
    """Send no test request first."""
    wait_for_server: float | str | None = None
    """Wait up to this long for a server that is still starting or loading its model."""
    insecure: bool | None = False
    """Do not verify the server's certificate."""
    ca_cert: PathLike | None = None
    """Also trust the certificates in this PEM file."""
    port: int | None = 8877
    """Port of the local inference server, for the `local…` APIs."""
    attn_implementation: str | None = None
    """Attention implementation of the `local` API."""
    trust_remote_code: bool | None = False
    """Let the `local…` APIs run code shipped with the model."""
    server_start_timeout: float | str | None = None
    """Give up when the `local…` APIs have not loaded the model within this time."""
    tokenizer_path: PathLike | None = None
    """Tokenizer: a folder, a file or a name on the hub. Counts tokens and makes random prompts."""

    # --- load ---

    parallel: int | Sequence[int] | None = 1
    """Requests in flight at a time. Several values make a sweep, one run each. With `rate` alone
    it is unlimited."""
    number: int | Sequence[int] | None = 1000
    """Requests of each run: one value for all runs, or one for each. With `duration` alone
    it is unlimited."""
    rate: float | str | Sequence[float] | Sequence[str] | None = -1
    """Arrivals per second, `"90/m"`, or a profile such as `"1..20@60,20@5m"`; -1 for no pacing."""
    open_loop: bool | None = False
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
    stop_when_saturated: bool | None = False
    """End an open loop when the server is found not to keep up."""
    duration: float | str | None = None
    """Stop sending after this time: seconds, or `"5m"`."""
    warmup_num: float | None = 0
    """Requests to send before the measured ones; below 1, a fraction of `number`."""
    sleep_interval: float | str | None = 5
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
    num_workers: float | None = 0
    """Accepted for compatibility with EvalScope; has no effect."""
    db_commit_interval: float | None = 1000
    """Accepted for compatibility with EvalScope; has no effect."""
    queue_size_multiplier: float | None = 5
    """Accepted for compatibility with EvalScope; has no effect."""
    in_flight_task_multiplier: float | None = 2
    """Accepted for compatibility with EvalScope; has no effect."""

    scenario: str | Mapping[str, Any] | None = None
    """AgentX of EvalScope, which is not here."""
    enable_pd_metrics: bool | None = False
    """Report the first gap of each response apart: the hand-off of disaggregated prefill."""

    # --- objectives ---

    slo: str | Sequence[str] | None = None
    """What a good request meets, such as `"ttft<=500ms tpot<=50ms"`."""
    goodput: str | Sequence[str] | None = None
    """The same in milliseconds, as vLLM writes it: `"ttft:500 tpot:50"`."""
    slo_from: str | None = None
    """Where ttft, ttfat and latency of `slo` begin: `schedule` or `send`."""
    min_goodput: float | str | None = None
    """Fail (`EvalscopeError`, exit code 1) when fewer requests meet `slo`: 0.95, or `"95%"`."""
    fail_if: str | Sequence[str] | None = None
    """Fail (`EvalscopeError`, exit code 3) if this holds of a finished run: `"ttft_p99>500ms"`."""
    abort_if: str | Sequence[str] | None = None
    """Stop (exit code 3) as soon as this holds of the last 30 s of a run: `"error_rate>20%"`."""
    abort_after: float | str | None = None
    """From when on `abort_if` counts, after the first measured request: seconds, or `"30s"`."""

    # --- search for a service level ---

    sla_auto_tune: bool | None = False
    """Search for the highest load that keeps `sla_params`."""
    sla_variable: str | None = "parallel"
    """What is varied: `parallel` or `rate`."""
    sla_params: str | Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    """The levels to keep, such as `[{"p99_ttft": "<=200"}]`; JSON text or the value itself."""
    sla_num_runs: int | None = 3
    """Runs of each load, whose figures are averaged."""
    sla_upper_bound: int | None = 65536
    """Highest load to try."""
    sla_lower_bound: int | None = 1
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

    dataset: str | None = "openqa"
    """Where prompts come from; or the name of a class registered with `register_dataset`; or
    `path/to/plugin.py[:name]`."""
    dataset_path: PathLike | None = None
    """File or folder of the dataset."""
    prompt_field: str | None = None
    """Field that holds the prompt, in your own JSON list, JSON Lines, CSV or Parquet file."""
    skip_bad_lines: bool | None = False
    """Skip lines of a file that cannot be used, instead of rejecting the file."""
    data_source: str | None = None
    """Hub that datasets are downloaded from: `modelscope`, `huggingface` or `local`."""
    dataset_offset: int | None = 0
    """Number of prompts to skip at the start of the dataset."""
    dataset_args: str | Mapping[str, Any] | None = None
    """Options of the dataset; JSON text or a dict."""
    repeat_prompts: bool | None = False
    """Use the same prompts in every run of a sweep: the server's prefix cache will be warm."""
    prompt: str | None = None
    """One prompt for all requests, or `@FILE`. Overrides `dataset`."""
    query_template: str | Mapping[str, Any] | None = None
    """Request body: JSON text, `@FILE` or a dict. `%m` and `%p` become the model and the prompt."""
    min_prompt_length: int | None = 0
    """Leave out shorter prompts."""
    max_prompt_length: int | None = 131072
    """Leave out longer prompts."""
    prefix_length: int | None = 0
    """Length of a shared random prefix, in tokens."""
    prefix_count: int | None = 1
    """Number of different prefixes; request i begins with prefix i modulo this number."""
    apply_chat_template: bool | None = None
    """Send chat messages rather than a plain prompt."""
    tokenize_prompt: bool | None = False
    """Send token ids rather than text."""
    image_width: int | None = 224
    """Width of random images, in pixels."""
    image_height: int | None = 224
    """Height of random images, in pixels."""
    image_format: str | None = "RGB"
    """Mode of random images, such as `RGB`."""
    image_num: int | None = 1
    """Random images in each prompt."""
    image_patch_size: int | None = 28
    """Side of the square of an image that counts as one token, in pixels."""

    # --- conversations ---

    multi_turn: bool | None = False
    """Send conversations: each turn with the responses to the turns before it."""
    min_turns: int | None = 1
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
    salt: bool | None = False
    """Begin each conversation with a line of its own, so that no cache knows it."""
    finish_conversations: bool | None = False
    """Let conversations end after `duration`, not only their turns."""
    session_header: str | None = None
    """Header that names the conversation in every request."""
    session_token_header: str | None = None
    """Header of a response that is sent back with the next request."""
    connections: str | None = None
    """How long a connection is kept: `keep`, `session` or `request`."""

    # --- generation ---

    max_tokens: int | Sequence[int] | None = 2048
    """Maximum tokens of a response; with two values each request draws one between them."""
    min_tokens: int | None = None
    """Minimum tokens of a response."""
    temperature: float | None = 0.0
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
    stream: bool | None = True
    """Stream responses; TTFT, TPOT and ITL need it."""
    extra_args: str | Mapping[str, Any] | None = None
    """Additional fields of the request body: JSON text or a dict. `None` in it deletes a field."""

    # --- output ---

    outputs_dir: PathLike | None = "outputs"
    """Folder for all results."""
    name: str | None = None
    """Name of the results folder, and of the run in a tracker."""
    alias: str | None = None
    """A display name, shown next to the model in tables and files."""
    metadata: Mapping[str, Any] | Sequence[str] | None = None
    """Facts to keep with the results, in `result.json`: a dict, or a list of `KEY=VALUE`."""
    no_timestamp: bool | None = False
    """Write to `outputs_dir`/`name`, without a timestamp folder."""
    record_bodies: str | None = None
    """Request and response bodies to keep in the database: `all`, `failed` or `none`."""
    confidence: bool | None = False
    """Show 95 % intervals of percentiles, throughput and good requests within each run."""
    no_html: bool | None = False
    """Do not write the HTML report, `perf_report.html`."""
    lang: str | None = None
    """Language of the HTML report: `en` or `zh`."""
    log_every_n_query: int | None = 100
    """Log progress after every N requests."""
    debug: bool | None = False
    """Log every request and every event of its response."""
    enable_progress_tracker: bool | None = False
    """Keep `progress.json` in the results folder up to date while the command runs."""
    progress: str | None = None
    """How the tool shows progress on stderr: `auto`, or `json` for one JSON object a line."""
    metrics_listen: str | None = None
    """Serve metrics for Prometheus at this address while the command runs: `"127.0.0.1:9464"`."""
    metrics_linger: float | str | None = None
    """Serve metrics for this much longer after the last run: seconds, or `"30s"`."""
    shard: str | None = None
    """Part of a run of several processes: `I/N`, such as `0/4`, or `env`."""
    start_at: float | str | None = None
    """Unix time at which the load begins, in seconds; `stdin` waits for a line with it."""
    run_id: str | None = None
    """A name that all parts of a run share."""
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

    # `__new__` is there for its error message, and to see what was given: the generated `__init__`
    # cannot tell a default from a value.
    def __new__(cls, *args: object, **options: object) -> Arguments:
        """Refuse unknown names before the generated `__init__` does."""
        _refuse_unknown(options)
        self = super().__new__(cls)
        self.__dict__["_asked"] = {*options, *_NAMES[: len(args)]}
        return self

    def __post_init__(self) -> None:
        """Turn arrays into lists, which have a truth value, and check what was given."""
        self.__dict__["_given"] = self.__dict__.pop("_asked")
        for name in _NAMES:
            value = _own(name, self.__dict__[name])
            self.__dict__[name] = _DEFAULTS[name] if value is None else value
            if value is None:
                self._given.discard(name)
        for name in self._given - NOT_PASSED_ON:
            flag_words(name, self.__dict__[name], KIND_OF[name])
        if "headers" in self._given:
            header_texts(self.headers)
        check(self, self._given)
        self._work_out()

    def _work_out(self) -> None:
        """Fill in what follows from other options."""
        for name in _SWEPT:
            value = self.__dict__[name]
            self.__dict__[name] = value if isinstance(value, list) else [value]
        self._fold_lengths_of_turns()
        if self.headers is None:
            self.__dict__["headers"] = {}
        for name in _SINGLE_OR_SEVERAL:
            value = self.__dict__[name]
            if isinstance(value, list) and len(value) == 1:
                self.__dict__[name] = value[0]
        if self.model_id is None:
            names = [name.rstrip("/").rpartition("/")[2] for name in _texts(self.model)]
            self.__dict__["model_id"] = "+".join(names) or self.dataset
        if self.apply_chat_template is None:
            first = _texts(self.url)[:1] or [""]
            self.__dict__["apply_chat_template"] = is_chat_url(first[0], str(self.api))

    def _fold_lengths_of_turns(self) -> None:
        """Put `multi_turn_args`, the earlier form, into `dataset_args`."""
        lengths, own = self.multi_turn_args, self.dataset_args
        if not isinstance(lengths, Mapping) and not isinstance(own, Mapping):
            return
        folded = dict(lengths) if isinstance(lengths, Mapping) else {}
        folded.update(own if isinstance(own, Mapping) else {})
        workers = folded.pop("num_workers", None)
        if workers is not None and "num_workers" not in self._given:
            self.__dict__["num_workers"] = workers
        self.__dict__["dataset_args"] = folded or None

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an option: it counts as given from now on, unless the value is `None`."""
        if name in _NAMES and "_given" in self.__dict__:
            (self._given.discard if value is None else self._given.add)(name)
        super().__setattr__(name, value)

    # --- ways in ---

    @classmethod
    def of(cls, given: Arguments | Mapping[str, Any] | Namespace) -> Arguments:
        """Take options in any of the forms that `run_perf_benchmark` takes."""
        if isinstance(given, Arguments):
            return given
        if isinstance(given, Namespace):
            return cls.from_args(given)
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
    def from_args(cls, args: Namespace) -> Arguments:
        """Take options from argparse, without those that are `None`."""
        # `func` is what argparse's subcommands leave behind
        options = {k: v for k, v in vars(args).items() if v is not None and k != "func"}
        return cls.from_dict(options)

    @classmethod
    def from_json(cls, json_file: PathLike) -> Arguments:
        """Take options from a JSON file with an object in it."""
        with open(json_file, encoding="utf-8") as file:
            try:
                return cls._from_file(json_file, json.load(file))
            except ValueError as error:
                if isinstance(error, EvalscopeError):
                    raise
                raise InvalidOption(f"{os.fsdecode(json_file)} is no JSON: {error}") from error

    @classmethod
    def from_yaml(cls, yaml_file: PathLike) -> Arguments:
        """Take options from a YAML file with a mapping in it; needs PyYAML."""
        try:
            import yaml
        except ImportError:
            raise EvalscopeError(
                "options in YAML need PyYAML: `pip install pyyaml`, or write them as JSON"
            ) from None
        with open(yaml_file, encoding="utf-8") as file:
            try:
                return cls._from_file(yaml_file, yaml.safe_load(file))
            except yaml.YAMLError as error:
                raise InvalidOption(f"{os.fsdecode(yaml_file)} is no YAML: {error}") from error

    @classmethod
    def _from_file(cls, path: PathLike, options: Any) -> Arguments:
        if not isinstance(options, Mapping):
            raise InvalidOption(
                f"{os.fsdecode(path)} holds {kind(options)}; write a mapping of options to values"
            )
        return cls.from_dict(options)

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Arguments:
        """Take the options that the tool passes to a plugin.

        Those that this version does not know become attributes as well: a newer tool must not
        break a plugin. So nothing is checked.
        """
        arguments = cls()
        for name, value in options.items():
            if name not in _NAMES or value is not None:
                setattr(arguments, name, _single(name, _own(name, value)))
        if options.get("apply_chat_template") is None:
            arguments.__dict__["apply_chat_template"] = None
        arguments._work_out()
        for name in _SWEPT:
            arguments.__dict__[name] = _single(name, arguments.__dict__[name])
        return arguments

    # --- ways out ---

    def given(self) -> dict[str, Any]:
        """The options that were given, secrets included: those that are passed on."""
        given = {
            name: self.__dict__[name]
            for name in _NAMES
            if name in self._given and self.__dict__[name] is not None
        }
        asked, folder = self.__dict__.get("_outputs", (None, None))
        if "outputs_dir" in given and given["outputs_dir"] == folder:
            given["outputs_dir"] = asked
        return given

    def wrote(self, folder: PathLike) -> None:
        """Let `outputs_dir` be the folder of a command's results, as scripts for EvalScope expect.

        The next command goes beside it, and not into it.
        """
        self.__dict__["_outputs"] = (self.given().get("outputs_dir"), os.fspath(folder))
        self.__dict__["outputs_dir"] = os.fspath(folder)

    def model_dump(self, *, exclude_unset: bool = False) -> dict[str, Any]:
        """All options, secrets included; with `exclude_unset`, those that were given."""
        return self.given() if exclude_unset else {name: self.__dict__[name] for name in _NAMES}

    def model_copy(self, *, update: Mapping[str, Any] | None = None) -> Arguments:
        """A copy, in which the options in `update` have other values."""
        copied = copy(self)
        copied.__dict__["_given"] = set(self._given)
        for name, value in (update or {}).items():
            _refuse_unknown({name: value})
            setattr(copied, name, value)
        return copied

    def to_dict(self) -> dict[str, Any]:
        """All options in types of JSON, secrets masked."""
        shown = {name: _shown(name, value) for name, value in self.model_dump().items()}
        return cast("dict[str, Any]", json.loads(json.dumps(shown, default=os.fspath)))

    def to_argv(self) -> list[str]:
        """The flags for `evalscope perf`. Keys and headers are not among them, see
        `to_environment`."""
        argv: list[str] = []
        for name, value in self.given().items():
            if name not in NOT_PASSED_ON and not self._is_idle(name, value):
                argv += flag_words(name, value, KIND_OF[name])
        if self.visualizer is None:
            if self.wandb_api_key is not None:
                argv.append("--visualizer=wandb")
            elif self.swanlab_api_key is not None:
                argv.append("--visualizer=swanlab")
        return argv

    def _is_idle(self, name: str, value: Any) -> bool:
        """A default of a search where there is none, as in the dump of all options."""
        return name.startswith("sla_") and not self.sla_auto_tune and value == _DEFAULTS[name]

    def to_environment(self) -> dict[str, str]:
        """The environment variables for `evalscope perf`: what `ps` must not show, which is
        keys and, since many a key is one, headers."""
        options = self.given()
        environment = {
            variable: str(options[name]) for name, variable in SECRETS.items() if name in options
        }
        if headers := header_texts(options.get("headers", [])):
            environment[_HEADERS] = "\n".join(map(header_line, headers))
        return environment

    # --- what follows from them ---

    @property
    def warmup_count(self) -> int:
        """Requests before the measured ones: `warmup_num`, or that share of `number`."""
        share = float(self.warmup_num or 0)
        if share <= 0:
            return 0
        return int(share) if share >= 1 else max(1, int(share * self._first_number()))

    @property
    def total_count(self) -> int:
        """Requests of the first run, with those before the measured ones."""
        return self._first_number() + self.warmup_count

    def _first_number(self) -> int:
        number: Any = self.number
        return int(number[0] if isinstance(number, (list, tuple)) else number or 0)

    @contextmanager
    def output_context(self, path: PathLike) -> Iterator[PathLike]:
        """Another `outputs_dir` for some lines."""
        before, was_given = self.outputs_dir, "outputs_dir" in self._given
        self.outputs_dir = path
        try:
            yield path
        finally:
            self.outputs_dir = before
            if not was_given:
                self._given.discard("outputs_dir")

    def __getattr__(self, name: str) -> Any:
        """Only reached by names that do not exist."""
        raise AttributeError(f"there is no option `{name}`{did_you_mean(name, _NAMES)}")

    def __repr__(self) -> str:
        """The options that were given, secrets masked."""
        shown = (f"{name}={_shown(name, value)!r}" for name, value in self.given().items())
        return f"Arguments({', '.join(shown)})"

    def __str__(self) -> str:
        """All options as JSON, secrets masked."""
        return json.dumps(self.to_dict(), indent=4, ensure_ascii=False)


_NAMES = tuple(field.name for field in fields(Arguments))
_DEFAULTS = {field.name: field.default for field in fields(Arguments)}
_SWEPT = ("number", "parallel", "rate")
NOT_PASSED_ON = {"model_id"}
"""Options that only Python knows."""

# `__new__` hides the options from `inspect`, and so from completion in notebooks.
_OF_INIT = inspect.signature(Arguments.__init__)
Arguments.__signature__ = _OF_INIT.replace(  # type: ignore[attr-defined]
    parameters=list(_OF_INIT.parameters.values())[1:]
)

KIND_OF = {field.name: kind_of(str(field.type)) for field in fields(Arguments)}
"""What the values of each option are."""
_LISTS = {name for name, of in KIND_OF.items() if of.is_list}
_SINGLE_OR_SEVERAL = ("url", "model")
"""Lists of which one of a single value is that value, as in EvalScope."""
_FIELDS = ("extra_args", "dataset_args", "multi_turn_args")
"""Options that plugins read as dicts, which may be given as JSON text."""
_JSON = {name for name, of in KIND_OF.items() if of.as_json}
_HEADERS = "EVALSCOPE_HEADERS"


def _refuse_unknown(options: Mapping[str, object]) -> None:
    for name in options:
        if name not in _NAMES:
            raise UnknownOption(f"there is no option `{name}`{did_you_mean(name, _NAMES)}")


def _own(name: str, value: Any) -> Any:
    """A value in Python's own types, and a list where the option has several."""
    if isinstance(value, Schema):
        return value.model_dump(exclude_unset=True)
    if name in _FIELDS and isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except ValueError as error:
            raise InvalidOption(f"`{name}` is no JSON: {error}") from None
    value = plain(value)
    if name in _LISTS and value is not None and not isinstance(value, (str, list, Mapping)):
        items = listed(value)
        return value if items is None else items
    return value


def _texts(value: str | Sequence[str] | None) -> list[str]:
    """A text, or several, as a list."""
    if not value:
        return []
    return [value] if isinstance(value, str) else [str(text) for text in value]


def _single(name: str, value: Any) -> Any:
    """What a plugin wants to see of a list of one: `max_tokens` goes into a body as it is."""
    if name in _LISTS - MAY_BE_EMPTY and isinstance(value, list) and len(value) == 1:
        return value[0]
    return value


def _shown(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name in SECRETS:
        return secrets.MASK
    if name == "headers":
        return [secrets.shown_header(header) for header in header_texts(value)]
    if name == "url" and isinstance(value, list):
        return [secrets.shown_url(str(url)) for url in value]
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

# EvalScope's place of these; they need `Arguments` themselves
from evalscope.perf.parser import ParseKVAction, add_argument, parse_args  # noqa: E402

__all__ = ["Arguments", "ParseKVAction", "QueryParameters", "add_argument", "parse_args"]
