"""Owns nothing: EvalScope's place of the names of figures."""

from evalscope.perf.names import Metrics, PercentileMetrics

__all__ = ["Metrics", "PercentileMetrics"]
