"""Owns nothing: EvalScope's place of what datasets do with tokenizers."""

from evalscope.perf.plugin.tokenizing import (
    fit_prefix_to_budget,
    fit_text_to_token_len,
    load_tokenizer,
    tokenize_chat_messages,
    truncate_text_to_token_len,
)

__all__ = [
    "fit_prefix_to_budget",
    "fit_text_to_token_len",
    "load_tokenizer",
    "tokenize_chat_messages",
    "truncate_text_to_token_len",
]
