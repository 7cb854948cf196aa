"""Owns tokenizers for plugins in Python. The tool has its own: most plugins need none.

It must not know which plugin counts what.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

from evalscope.errors import EvalscopeError

_LIBRARIES = ("modelscope", "transformers")
_ROUNDS = 10


class NoTokenizerLibrary(EvalscopeError, ImportError):
    """No library that loads tokenizers is installed."""


def load_tokenizer(tokenizer_path: Any) -> Any:
    """The tokenizer in a folder, or of this name on a hub.

    Raises:
        NoTokenizerLibrary: without modelscope and transformers.
    """
    for library in _LIBRARIES:
        try:
            auto = importlib.import_module(library).AutoTokenizer
        except (ImportError, AttributeError):
            continue
        return auto.from_pretrained(str(tokenizer_path), trust_remote_code=True)
    raise NoTokenizerLibrary(
        "a plugin that counts tokens in Python needs transformers: `pip install transformers`; "
        "where the server reports usage, and in the tool itself, nothing is needed"
    )


def tokenize_chat_messages(
    tokenizer: Any, messages: Sequence[Any], add_generation_prompt: bool = True
) -> list[int]:
    """The tokens of messages in the tokenizer's chat template.

    Raises:
        ValueError: if it has none, or one that does not take these messages.
    """
    try:
        made = tokenizer.apply_chat_template(
            messages, tokenize=True, add_generation_prompt=add_generation_prompt
        )
    except ImportError:
        raise
    except Exception as error:
        name = getattr(tokenizer, "name_or_path", None) or type(tokenizer).__name__
        raise ValueError(
            f"Failed to apply the chat template of tokenizer `{name}`: {error}\n"
            "drop `--tokenizer-path` where the server reports usage, or use a tokenizer that has a "
            "chat template and shares the vocabulary of the model, or send plain prompts with "
            "`--no-apply-chat-template`"
        ) from error
    # transformers 4.46 and newer return a dict
    tokens = getattr(made, "input_ids", made)
    tokens = tokens.tolist() if hasattr(tokens, "tolist") else list(tokens)
    return list(tokens[0]) if tokens and isinstance(tokens[0], list) else tokens


def fit_text_to_token_len(
    text: str, target_len: int, mode: str, tokenizer: Any, add_special_tokens: bool = False
) -> str | None:
    """A text cut to so many tokens; a shorter one as it is, or `None` in the mode `drop`."""
    tokens = tokenizer.encode(text, add_special_tokens=add_special_tokens)
    if len(tokens) > target_len:
        return str(tokenizer.decode(tokens[:target_len], skip_special_tokens=True))
    if mode == "cap" or len(tokens) == target_len:
        return text
    if mode == "drop":
        return None
    raise ValueError(f"`input_len_mode` is `cap` or `drop`, not {mode!r}")


def truncate_text_to_token_len(
    text: str, target_len: int, tokenizer: Any, add_special_tokens: bool = False
) -> str:
    """A text cut to so many tokens; a shorter one as it is."""
    return fit_text_to_token_len(text, target_len, "cap", tokenizer, add_special_tokens) or ""


def fit_prefix_to_budget(prefix_ids: Sequence[int], budget: int, tokenizer: Any) -> str:
    """A text of so many tokens from the beginning of others, which are repeated where they end."""
    if budget <= 0:
        return ""
    if not prefix_ids:
        raise ValueError("the prefix has no tokens")
    taken = budget

    def more(count: int) -> list[int]:
        nonlocal taken
        taken += count
        return [prefix_ids[place % len(prefix_ids)] for place in range(taken - count, taken)]

    tokens = [prefix_ids[place % len(prefix_ids)] for place in range(budget)]
    return text_of_token_len(tokenizer, tokens, budget, more, skip_special_tokens=True)


def text_of_token_len(
    tokenizer: Any,
    tokens: list[int],
    target_len: int,
    more: Callable[[int], list[int]],
    *,
    skip_special_tokens: bool = False,
) -> str:
    """A text whose tokens are that many when it is read again, as near as ten rounds bring it."""
    text = ""
    for _ in range(_ROUNDS + 1):
        text = tokenizer.decode(tokens, skip_special_tokens=skip_special_tokens)
        tokens = list(tokenizer.encode(text, add_special_tokens=False))
        missing = target_len - len(tokens)
        if missing == 0:
            break
        tokens = tokens[:target_len] if missing < 0 else tokens + more(missing)
    return text
