"""Owns nothing: the earlier tool's place of `QueryParameters`, kept for its plugins."""

from evalscope.perf.arguments import Arguments, QueryParameters

__all__ = ["Arguments", "QueryParameters"]
