"""Owns nothing: EvalScope's place of the HTML report."""
