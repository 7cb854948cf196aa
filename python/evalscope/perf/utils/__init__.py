"""Owns nothing: EvalScope's places of results and of what plugins import."""
