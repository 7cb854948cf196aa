"""Owns nothing: EvalScope's place of what a search has tried and found."""

from evalscope.perf.figures import SLAProbe, SLASelection

__all__ = ["SLAProbe", "SLASelection"]
