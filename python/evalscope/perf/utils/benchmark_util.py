"""Owns the type that EvalScope's `process_request` returns, so that plugins can name it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from evalscope.errors import Unsupported
from evalscope.perf.names import Metrics

__all__ = ["BenchmarkData", "Metrics", "is_stream_body"]


@dataclass
class BenchmarkData:
    """What was measured of a request. Here the tool measures it: a plugin never makes one."""

    request: str | None = None
    start_time: float = 0.0
    completed_time: float = 0.0
    chunk_times: list[float] = field(default_factory=list)
    success: bool = False
    is_stream: bool = False
    response_messages: list[Any] = field(default_factory=list)
    query_latency: float = 0.0
    first_chunk_latency: float = 0.0
    time_per_output_token: float = 0.0
    inter_chunk_latency: list[float] = field(default_factory=list)
    pd_handoff_latency: float | None = None
    pd_handoff_overhead: float | None = None
    generated_text: str = ""
    error: str | None = None
    status_code: int | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_num_turns: int = 0
    real_cached_tokens: int | None = None
    cached_tokens: int | None = None
    is_last_turn: bool = False
    is_first_turn: bool = False
    trace_id: str | None = None
    request_id: str | None = None
    is_warmup: bool = False
    n_decode_chunks: int = 0
    decoded_tokens_per_iter: float = 0.0

    def finalize(self, *_args: Any, **_options: Any) -> None:
        """Work out latencies, which is the tool's part."""
        raise Unsupported(
            "`BenchmarkData.finalize` has nothing to work on: the tool takes all times itself, and "
            "results are in what `run_perf_benchmark` returns"
        )


def is_stream_body(body: Any) -> bool:
    """Whether a body asks for a stream."""
    return isinstance(body, dict) and body.get("stream") is True
