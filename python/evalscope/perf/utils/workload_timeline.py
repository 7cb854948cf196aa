"""Owns nothing: EvalScope's place of the throughput of a run."""

from evalscope.perf.figures import WorkloadThroughput, WorkloadThroughputRow

__all__ = ["WorkloadThroughput", "WorkloadThroughputRow"]
