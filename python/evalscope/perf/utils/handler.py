"""Owns nothing: EvalScope's place of what Ctrl-C raises."""

from evalscope.perf.main import PerfBenchmarkInterrupted

__all__ = ["PerfBenchmarkInterrupted"]
