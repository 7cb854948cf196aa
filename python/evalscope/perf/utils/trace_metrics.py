"""Owns nothing: EvalScope's place of the metrics of conversations."""

from evalscope.perf.figures import TraceLevelSummary, TraceMetricStats

__all__ = ["TraceLevelSummary", "TraceMetricStats"]
