"""Owns the names of figures in `benchmark_summary.json` and `benchmark_percentile.json`."""

from __future__ import annotations


class Metrics:
    """Keys of `benchmark_summary.json`."""

    TIME_TAKEN_FOR_TESTS = "Test Duration (s)"
    NUMBER_OF_CONCURRENCY = "Concurrency"
    REQUEST_RATE = "Request Rate (req/s)"
    TOTAL_REQUESTS = "Total Requests"
    SUCCEED_REQUESTS = "Success Requests"
    FAILED_REQUESTS = "Failed Requests"
    STREAM_REQUESTS = "Stream Requests"
    NON_STREAM_REQUESTS = "Non-Stream Requests"
    REQUEST_THROUGHPUT = "Req Throughput (req/s)"
    AVERAGE_LATENCY = "Avg Latency (s)"
    AVERAGE_INPUT_TOKENS_PER_REQUEST = "Avg Input Tokens"
    OUTPUT_TOKEN_THROUGHPUT = "Output Throughput (tok/s)"
    TOTAL_TOKEN_THROUGHPUT = "Total Throughput (tok/s)"
    AVERAGE_TIME_TO_FIRST_TOKEN = "Avg TTFT (ms)"
    AVERAGE_TIME_PER_OUTPUT_TOKEN = "Avg TPOT (ms)"
    AVERAGE_INTER_TOKEN_LATENCY = "Avg ITL (ms)"
    AVERAGE_STEADY_INTER_TOKEN_LATENCY = "Avg Steady ITL (ms)"
    AVERAGE_PD_HANDOFF_LATENCY = "Avg PD Handoff Latency (ms)"
    AVERAGE_PD_HANDOFF_OVERHEAD = "Avg PD Handoff Overhead (ms)"
    AVERAGE_OUTPUT_TOKENS_PER_REQUEST = "Avg Output Tokens"
    INPUT_TOKEN_THROUGHPUT = "Input Throughput (tok/s)"
    AVERAGE_INPUT_TURNS_PER_REQUEST = "Avg Turns/Request"
    AVERAGE_CACHED_PERCENT = "KV Cache Hit Rate (%)"
    AVERAGE_FIRST_TURN_TTFT = "Avg First-Turn TTFT (ms)"
    AVERAGE_SUBSEQUENT_TURN_TTFT = "Avg Subsequent-Turn TTFT (ms)"
    AVERAGE_DECODED_TOKENS_PER_ITER = "Avg Decoded Tok/Iter"
    APPROX_SPECULATIVE_ACCEPTANCE_RATE = "Spec. Accept Rate"

    @staticmethod
    def is_embedding_or_rerank(api_name: str | None) -> bool:
        """Whether an API of this name returns embeddings or scores, and no text."""
        return api_name is not None and any(w in api_name.lower() for w in ("embed", "rerank"))

    @staticmethod
    def is_input_only(api_name: str | None) -> bool:
        """Whether an API of this name generates no tokens."""
        return Metrics.is_embedding_or_rerank(api_name) or api_name in ("systemone", "autotrust")


class PercentileMetrics:
    """Keys of the rows of `benchmark_percentile.json`."""

    TTFT = "TTFT (ms)"
    ITL = "ITL (ms)"
    STEADY_ITL = "Steady ITL (ms)"
    PD_HANDOFF_LATENCY = "PD Handoff Latency (ms)"
    PD_HANDOFF_OVERHEAD = "PD Handoff Overhead (ms)"
    TPOT = "TPOT (ms)"
    LATENCY = "Latency (s)"
    INPUT_TOKENS = "Input tokens"
    OUTPUT_TOKENS = "Output tokens"
    OUTPUT_THROUGHPUT = "Output (tok/s)"
    INPUT_THROUGHPUT = "Input (tok/s)"
    TOTAL_THROUGHPUT = "Total (tok/s)"
    DECODE_THROUGHPUT = "Decode (tok/s)"
    PERCENTILES = "Percentiles"
