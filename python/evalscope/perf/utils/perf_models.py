"""Owns nothing: EvalScope's place of the figures of a run."""

from evalscope.perf.figures import BenchmarkSummary, PercentileResult, PercentileRow

__all__ = ["BenchmarkSummary", "PercentileResult", "PercentileRow"]
