"""Owns the figures of a run as objects: `metrics.avg_ttft`, and `metrics["Avg TTFT (ms)"]` as well.

It must not know where the files are that they come from.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, overload

from evalscope.errors import did_you_mean
from evalscope.perf.names import Metrics, PercentileMetrics
from evalscope.perf.record import Record, field
from evalscope.perf.tables import cell, table


def _count(value: Any) -> Any:
    # a mean over several runs has a fraction
    return round(value) if isinstance(value, float) and math.isfinite(value) else value


class BenchmarkSummary(Record):
    """`benchmark_summary.json`: means, rates and counts of a run."""

    time_taken: float = field(0.0, Metrics.TIME_TAKEN_FOR_TESTS)
    """Seconds that the measured requests took together."""
    concurrency: int = field(0, Metrics.NUMBER_OF_CONCURRENCY, _count)
    """Requests in flight at a time; -1 for an open loop."""
    request_rate: float = field(0.0, Metrics.REQUEST_RATE)
    """Arrivals per second; -1 for no pacing."""
    total_requests: int = field(0, Metrics.TOTAL_REQUESTS, _count)
    """All requests."""
    succeed_requests: int = field(0, Metrics.SUCCEED_REQUESTS, _count)
    """Those that succeeded."""
    failed_requests: int = field(0, Metrics.FAILED_REQUESTS, _count)
    """Those that failed."""
    stream_requests: int = field(0, Metrics.STREAM_REQUESTS, _count)
    """Those whose response was streamed."""
    non_stream_requests: int = field(0, Metrics.NON_STREAM_REQUESTS, _count)
    """Those whose response was not."""
    request_throughput: float = field(0.0, Metrics.REQUEST_THROUGHPUT)
    """Requests per second."""
    avg_latency: float = field(0.0, Metrics.AVERAGE_LATENCY)
    """Mean latency, in seconds."""
    avg_input_tokens: float = field(0.0, Metrics.AVERAGE_INPUT_TOKENS_PER_REQUEST)
    """Mean tokens of a prompt."""
    not_applicable_metrics: list[str] | None = field(None, "Not Applicable Metrics")
    """Metrics that an API of this kind does not have."""
    output_token_throughput: float = field(0.0, Metrics.OUTPUT_TOKEN_THROUGHPUT)
    """Generated tokens per second."""
    total_token_throughput: float = field(0.0, Metrics.TOTAL_TOKEN_THROUGHPUT)
    """Tokens per second, of prompts and of responses."""
    avg_ttft: float = field(0.0, Metrics.AVERAGE_TIME_TO_FIRST_TOKEN)
    """Mean time to first token, in milliseconds."""
    avg_tpot: float = field(0.0, Metrics.AVERAGE_TIME_PER_OUTPUT_TOKEN)
    """Mean time per output token after the first, in milliseconds."""
    avg_itl: float = field(0.0, Metrics.AVERAGE_INTER_TOKEN_LATENCY)
    """Mean inter-token latency, in milliseconds."""
    avg_steady_itl: float | None = field(None, Metrics.AVERAGE_STEADY_INTER_TOKEN_LATENCY)
    """The same without the first gap of each response; with `enable_pd_metrics`."""
    avg_pd_handoff_latency: float | None = field(None, Metrics.AVERAGE_PD_HANDOFF_LATENCY)
    """Mean of the first gap of each response, in milliseconds."""
    avg_pd_handoff_overhead: float | None = field(None, Metrics.AVERAGE_PD_HANDOFF_OVERHEAD)
    """How much longer the first gap is than the others, in milliseconds."""
    avg_output_tokens: float = field(0.0, Metrics.AVERAGE_OUTPUT_TOKENS_PER_REQUEST)
    """Mean tokens of a response."""
    input_token_throughput: float = field(0.0, Metrics.INPUT_TOKEN_THROUGHPUT)
    """Tokens of prompts per second."""
    avg_turns: float | None = field(None, Metrics.AVERAGE_INPUT_TURNS_PER_REQUEST)
    """Mean number of the turn that a request is, in conversations."""
    avg_cached_percent: float | None = field(None, Metrics.AVERAGE_CACHED_PERCENT)
    """Share of prompt tokens that the server had cached, in percent."""
    avg_first_turn_ttft: float | None = field(None, Metrics.AVERAGE_FIRST_TURN_TTFT)
    """Mean time to first token of first turns, in milliseconds."""
    avg_subsequent_turn_ttft: float | None = field(None, Metrics.AVERAGE_SUBSEQUENT_TURN_TTFT)
    """The same of later turns."""
    avg_decoded_tokens_per_iter: float | None = field(None, Metrics.AVERAGE_DECODED_TOKENS_PER_ITER)
    """Mean tokens of an event."""
    approx_spec_acceptance_rate: float | None = field(
        None, Metrics.APPROX_SPECULATIVE_ACCEPTANCE_RATE
    )
    """What share of speculated tokens that amounts to."""

    @property
    def success_rate(self) -> float:
        """Share of requests that succeeded, in percent."""
        if self.total_requests <= 0:
            return 0.0
        return round(self.succeed_requests / self.total_requests * 100, 1)

    def to_table(self) -> str:
        """A table in groups, as the console has it."""
        counts = f"{self.total_requests} / {self.succeed_requests} / {self.failed_requests}"
        kinds = f"{self.stream_requests} / {self.non_stream_requests}"
        both = self.stream_requests > 0 and self.non_stream_requests > 0
        groups: list[tuple[str, list[tuple[str, str]]]] = [
            (
                "General",
                [
                    *self._shown(
                        Metrics.TIME_TAKEN_FOR_TESTS,
                        Metrics.NUMBER_OF_CONCURRENCY,
                        Metrics.REQUEST_RATE,
                    ),
                    ("Total / Success / Failed", counts),
                    *([("Stream / Non-Stream", kinds)] if both else []),
                    *self._shown(Metrics.REQUEST_THROUGHPUT),
                ],
            ),
            (
                "Latency",
                [
                    *self._shown(Metrics.AVERAGE_LATENCY),
                    *self._measured(
                        Metrics.AVERAGE_TIME_TO_FIRST_TOKEN,
                        Metrics.AVERAGE_TIME_PER_OUTPUT_TOKEN,
                        Metrics.AVERAGE_INTER_TOKEN_LATENCY,
                    ),
                    *self._known(
                        Metrics.AVERAGE_STEADY_INTER_TOKEN_LATENCY,
                        Metrics.AVERAGE_PD_HANDOFF_LATENCY,
                        Metrics.AVERAGE_PD_HANDOFF_OVERHEAD,
                    ),
                ],
            ),
            (
                "Tokens",
                [
                    *self._shown(Metrics.AVERAGE_INPUT_TOKENS_PER_REQUEST),
                    *self._measured(
                        Metrics.AVERAGE_OUTPUT_TOKENS_PER_REQUEST,
                        Metrics.OUTPUT_TOKEN_THROUGHPUT,
                        Metrics.TOTAL_TOKEN_THROUGHPUT,
                        Metrics.INPUT_TOKEN_THROUGHPUT,
                    ),
                ],
            ),
            (
                "Multi-turn",
                self._known(
                    Metrics.AVERAGE_INPUT_TURNS_PER_REQUEST,
                    Metrics.AVERAGE_CACHED_PERCENT,
                    Metrics.AVERAGE_FIRST_TURN_TTFT,
                    Metrics.AVERAGE_SUBSEQUENT_TURN_TTFT,
                ),
            ),
            (
                "Speculative Decoding",
                self._known(
                    Metrics.AVERAGE_DECODED_TOKENS_PER_ITER,
                    Metrics.APPROX_SPECULATIVE_ACCEPTANCE_RATE,
                ),
            ),
        ]
        rows = []
        for title, group in groups:
            if group:
                rows += [(f"── {title} ──", ""), *group]
        return table(["Metric", "Value"], rows)

    def _shown(self, *keys: str) -> list[tuple[str, str]]:
        return [(key, cell(self[key], key)) for key in keys]

    def _measured(self, *keys: str) -> list[tuple[str, str]]:
        return [(key, cell(self[key], key)) for key in keys if self[key]]

    def _known(self, *keys: str) -> list[tuple[str, str]]:
        return [(key, cell(self[key], key)) for key in keys if self[key] is not None]


class PercentileRow(Record):
    """One percentile of all metrics. Each is sorted on its own."""

    percentile: str = field("", PercentileMetrics.PERCENTILES)
    """`min`, `1%`, …, `99%`, `max`."""
    latency: float | None = field(None, PercentileMetrics.LATENCY)
    """Seconds."""
    ttft: float | None = field(None, PercentileMetrics.TTFT)
    """Time to first token, in milliseconds."""
    itl: float | None = field(None, PercentileMetrics.ITL)
    """Inter-token latency, in milliseconds."""
    steady_itl: float | None = field(None, PercentileMetrics.STEADY_ITL)
    """The same without first gaps; with `enable_pd_metrics`."""
    pd_handoff_latency: float | None = field(None, PercentileMetrics.PD_HANDOFF_LATENCY)
    """First gap, in milliseconds."""
    pd_handoff_overhead: float | None = field(None, PercentileMetrics.PD_HANDOFF_OVERHEAD)
    """How much longer the first gap is than the others, in milliseconds."""
    tpot: float | None = field(None, PercentileMetrics.TPOT)
    """Time per output token after the first, in milliseconds."""
    input_tokens: float | None = field(None, PercentileMetrics.INPUT_TOKENS)
    """Tokens of a prompt."""
    output_tokens: float | None = field(None, PercentileMetrics.OUTPUT_TOKENS)
    """Tokens of a response."""
    output_throughput: float | None = field(None, PercentileMetrics.OUTPUT_THROUGHPUT)
    """Generated tokens per second of a request."""
    input_throughput: float | None = field(None, PercentileMetrics.INPUT_THROUGHPUT)
    """Prompt tokens per second of a request."""
    total_throughput: float | None = field(None, PercentileMetrics.TOTAL_THROUGHPUT)
    """Both."""
    decode_throughput: float | None = field(None, PercentileMetrics.DECODE_THROUGHPUT)
    """Generated tokens per second after the first token."""


class PercentileResult(Sequence[PercentileRow]):
    """`benchmark_percentile.json`: a row for each percentile.

    `percentiles[0]` is a row, `percentiles["TTFT (ms)"]` a column, and `percentiles.get_p("99%",
    "ttft")` or `percentiles.value("TTFT (ms)", "99%")` one figure.
    """

    rows: list[PercentileRow]
    """All rows, in the order of percentiles."""

    def __init__(self, rows: Iterable[Mapping[str, Any]] = ()) -> None:
        self.rows = [r if isinstance(r, PercentileRow) else PercentileRow(r) for r in rows]

    @classmethod
    def from_list(cls, rows_list: Iterable[Mapping[str, Any]] | None) -> PercentileResult:
        """Make one of rows, as the file has them."""
        return cls(rows_list or ())

    @classmethod
    def from_transposed(cls, d: Mapping[str, Sequence[Any]] | None) -> PercentileResult:
        """Make one of columns, as `to_columns` gives them."""
        columns = dict(d or {})
        labels = columns.get(PercentileMetrics.PERCENTILES, [])
        return cls(
            {key: column[place] for key, column in columns.items() if place < len(column)}
            for place in range(len(labels))
        )

    def get_p(self, percentile_str: str, metric_field: str) -> float:
        """One figure by the name of its attribute, such as `ttft`; 0.0 where there is none."""
        for row in self.rows:
            if row.percentile == percentile_str:
                return float(getattr(row, metric_field) or 0)
        return 0.0

    def get_p99(self, metric_field: str) -> float:
        """The 99th percentile of an attribute."""
        return self.get_p("99%", metric_field)

    def get_p_by_alias(self, percentile_str: str, alias: str) -> float:
        """One figure by its key in the file, such as `TTFT (ms)`; 0.0 where there is none."""
        found = PercentileRow._field_of_key(alias)
        names = [name for name, of in PercentileRow._FIELDS.items() if of is found]
        return self.get_p(percentile_str, names[0]) if names else 0.0

    def get_p99_by_alias(self, alias: str) -> float:
        """The 99th percentile of a key."""
        return self.get_p_by_alias("99%", alias)

    def value(self, column: str, percentile: str) -> Any:
        """One figure; `percentile` is written as in the table: `min`, `50%`, `99%`, `max`."""
        names = self[PercentileMetrics.PERCENTILES]
        if percentile not in names:
            raise KeyError(f"no percentile `{percentile}`; there are {', '.join(names)}")
        return self[column][names.index(percentile)]

    def to_list(self) -> list[dict[str, Any]]:
        """Plain rows, as the file has them."""
        return [row.to_dict() for row in self.rows]

    def to_columns(self) -> dict[str, list[Any]]:
        """Plain columns by key; NaN where a row has no value, and no column without any."""
        columns: dict[str, list[Any]] = {}
        for of in PercentileRow._FIELDS.values():
            column = [row[of.key] for row in self.rows]
            if any(value is not None for value in column):
                columns[of.key] = [math.nan if value is None else value for value in column]
        return columns

    def to_table(self) -> str:
        """A table with a row for each metric."""
        columns = self.to_columns()
        labels = columns.pop(PercentileMetrics.PERCENTILES, [])
        rows = [[key, *(cell(value, key) for value in of)] for key, of in columns.items()]
        return table(["Metric", *labels], rows)

    @overload
    def __getitem__(self, key: int) -> PercentileRow: ...
    @overload
    def __getitem__(self, key: slice) -> list[PercentileRow]: ...
    @overload
    def __getitem__(self, key: str) -> list[Any]: ...
    def __getitem__(self, key: int | slice | str) -> Any:
        """A row by its position, or a column by its name."""
        if not isinstance(key, str):
            return self.rows[key]
        columns = list(self.rows[0]) if self.rows else []
        if key not in columns:
            raise KeyError(f"no column `{key}`{did_you_mean(key, columns)}")
        return [row[key] for row in self.rows]

    def __len__(self) -> int:
        """How many percentiles there are."""
        return len(self.rows)

    def __eq__(self, other: object) -> bool:
        """Whether all rows are equal."""
        return isinstance(other, PercentileResult) and self.rows == other.rows

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """The rows."""
        return f"PercentileResult({[dict(row) for row in self.rows]!r})"


class TraceMetricStats(Record):
    """One metric over all conversations."""

    metric: str = field("")
    """Its name, with its unit."""
    mean: float = field(0.0)
    """Mean."""
    min: float = field(0.0)
    """Smallest."""
    p50: float = field(0.0)
    """Median."""
    p90: float = field(0.0)
    """90th percentile."""
    p95: float = field(0.0)
    """95th percentile."""
    p99: float = field(0.0)
    """99th percentile."""
    max: float = field(0.0)
    """Largest."""


def _rows_of(cls: type[Record]) -> Any:
    return lambda rows: [row if isinstance(row, cls) else cls(row) for row in rows]


class TraceLevelSummary(Record):
    """`trace_summary.json`: metrics of whole conversations."""

    n_traces: int = field(0)
    """Number of conversations."""
    rows: list[TraceMetricStats] = field([], of=_rows_of(TraceMetricStats))
    """A row for each metric."""

    def is_empty(self) -> bool:
        """Whether there is nothing in it."""
        return self.n_traces == 0 or not self.rows

    def to_table(self) -> str:
        """A table with a row for each metric; empty without any."""
        if self.is_empty():
            return ""
        names = ["mean", "min", "p50", "p90", "p95", "p99", "max"]
        rows = [
            [row.metric, *(cell(getattr(row, name), row.metric) for name in names)]
            for row in self.rows
        ]
        return table(["Metric", *names], rows)


class WorkloadThroughputRow(Record):
    """One kind of tokens, per second."""

    metric: str = field("")
    """Which tokens."""
    overall: float = field(0.0)
    """Over the whole run."""
    last_window: float = field(0.0)
    """Over its last seconds."""
    steady_state: float = field(0.0)
    """Without its beginning."""


class WorkloadThroughput(Record):
    """`workload_throughput.json`: tokens per second of the whole run, of its end, and without its
    beginning."""

    n_samples: int = field(0)
    """Number of requests."""
    wall_time_s: float = field(0.0)
    """Length of the run, in seconds."""
    last_window_s: float = field(30.0)
    """Length of the end, in seconds."""
    warmup_frac: float = field(0.2)
    """Share of the run that the beginning is."""
    rows: list[WorkloadThroughputRow] = field([], of=_rows_of(WorkloadThroughputRow))
    """A row for each kind of tokens."""

    def is_empty(self) -> bool:
        """Whether there is nothing in it."""
        return not self.rows

    def to_table(self) -> str:
        """A table with a row for each kind of tokens; empty without any."""
        if self.is_empty():
            return ""
        names = ["overall", "last_window", "steady_state"]
        rate = Metrics.OUTPUT_TOKEN_THROUGHPUT
        rows = [
            [row.metric, *(cell(getattr(row, name), rate) for name in names)] for row in self.rows
        ]
        last = f"Last {int(self.last_window_s)}s"
        steady = f"Steady (drop {int(self.warmup_frac * 100)}%)"
        return table(["Metric (tok/s)", "Overall", last, steady], rows)


class SLAProbe(Record):
    """A load that a search has tried, and what was found of it."""

    value: int = field(0)
    """Requests in flight, or requests per second."""
    averaged_result: dict[str, Any] = field({})
    """Its figures, means over its runs: `metrics` and `percentiles`."""
    total_requests: int = field(0)
    """Requests of all its runs."""
    succeeded_requests: int = field(0)
    """Those that succeeded."""
    success_rate: float = field(0.0)
    """Their share, in percent."""
    request_gate_passed: bool = field(False)
    """Whether enough of them did."""
    valid: bool = field(False)
    """Whether its figures count."""
    reasons: list[str] = field([])
    """Why not."""
    metric_values: dict[str, float] = field({})
    """The figures that have limits."""
    group_passes: dict[str, bool] = field({})
    """Whether it keeps the limits of each group."""


class SLASelection(Record):
    """What a search has come to, for one group of limits or one objective."""

    criteria: dict[str, str] = field({})
    """The limits."""
    mode: str = field("constraint")
    """`constraint`, `max` or `min`."""
    selected_value: int | None = field(None)
    """The load; `None` if none keeps the limits."""
    observed_metric: float | None = field(None)
    """The figure that was to be largest or smallest."""
    status: str = field("none")
    """`best_observed` or `none`."""
    reason: str = field("")
    """Why this one, or why none."""
    assumption: str = field("")
    """What the search takes for granted."""
