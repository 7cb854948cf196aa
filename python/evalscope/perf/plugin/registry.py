"""Owns which class belongs to which name of `api` and `dataset`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TypeVar, cast

from evalscope.errors import EvalscopeError, did_you_mean

T = TypeVar("T", bound=type)


class PluginRegistry:
    """Classes by name. A name that is registered again names the newer class, as a REPL wants."""

    def __init__(self, role: str, built_in: Mapping[str, str] | None = None) -> None:
        self.role = role
        """`api` or `dataset`."""
        self._classes: dict[str, type] = {}
        self._built_in = built_in or {}

    def register(self, name: str, cls: T) -> T:
        """Let `name` stand for `cls`."""
        before = self._classes.get(name)
        # a cell or a module that is run again makes its classes again
        if before is not None and _place(before) != _place(cls):
            print(
                f"warning: {self.role} `{name}` was {_place(before)} and is now {_place(cls)}: "
                "give one of them another name",
                file=sys.stderr,
            )
        self._classes[name] = cls
        return cls

    def get_class(self, name: str) -> type:
        """The class of this name, also EvalScope's for a name that the tool serves by itself."""
        try:
            if name not in self._classes and name in self._built_in:
                module, _, of = self._built_in[name].partition(":")
                return cast(type, getattr(importlib.import_module(module), of))
            return self._classes[name]
        except KeyError:
            known = did_you_mean(name, self._classes) or _listed(self._classes)
            raise EvalscopeError(
                f"no class is registered for {self.role} `{name}`{known}"
            ) from None

    def all_classes(self) -> list[str]:
        """All names."""
        return list(self._classes)

    def items(self) -> list[tuple[str, type]]:
        """All names with their classes."""
        return list(self._classes.items())

    def __contains__(self, name: object) -> bool:
        """Whether a class is registered under this name."""
        return name in self._classes

    def __call__(self, name: str) -> type:
        """The class of this name."""
        return self.get_class(name)


_APIS = "evalscope.perf.plugin.api."
_DATASETS = "evalscope.perf.plugin.datasets."

ApiRegistry = PluginRegistry(
    "api",
    {
        **dict.fromkeys(("openai", "local", "local_vllm"), f"{_APIS}openai_api:OpenaiPlugin"),
        **dict.fromkeys(
            ("openai_responses", "openai_response", "responses"),
            f"{_APIS}openai_responses_api:OpenAIResponsesPlugin",
        ),
        **dict.fromkeys(
            ("openai_embedding", "embedding"), f"{_APIS}openai_embedding_api:OpenaiEmbeddingPlugin"
        ),
        **dict.fromkeys(
            ("openai_rerank", "rerank"), f"{_APIS}openai_rerank_api:OpenaiRerankPlugin"
        ),
        "dashscope": f"{_APIS}dashscope_api:DashScopeApiPlugin",
        "custom": f"{_APIS}custom_api:CustomPlugin",
    },
)
"""Classes that build bodies and read responses."""
DatasetRegistry = PluginRegistry(
    "dataset",
    {
        "openqa": f"{_DATASETS}openqa:OpenqaDatasetPlugin",
        "random": f"{_DATASETS}random_dataset:RandomDatasetPlugin",
        "longalpaca": f"{_DATASETS}longalpaca:LongAlpacaDatasetPlugin",
        "custom": f"{_DATASETS}custom:CustomDatasetPlugin",
        "line_by_line": f"{_DATASETS}line_by_line:LineByLineDatasetPlugin",
        "share_gpt_zh": f"{_DATASETS}share_gpt:ShareGPTZhDatasetPlugin",
        "share_gpt_en": f"{_DATASETS}share_gpt:ShareGPTEnDatasetPlugin",
        "random_multi_turn": f"{_DATASETS}multi_turn:RandomMultiTurnDatasetPlugin",
        "share_gpt_zh_multi_turn": f"{_DATASETS}multi_turn:ShareGPTZhMultiTurnPlugin",
        "share_gpt_en_multi_turn": f"{_DATASETS}multi_turn:ShareGPTEnMultiTurnPlugin",
        "swe_smith": f"{_DATASETS}swe_smith:SweSmithDatasetPlugin",
        "trie_agentic_coding": f"{_DATASETS}trie:TrieAgenticCodingPlugin",
        "trie_code_qa": f"{_DATASETS}trie:TrieCodeQaPlugin",
        "trie_office_work": f"{_DATASETS}trie:TrieOfficeWorkPlugin",
    },
)
"""Classes that make prompts."""


def register_api(*names: str | list[str]) -> Callable[[T], T]:
    """Register a class for `api`, under one name or several."""
    return _register(ApiRegistry, names)


def register_dataset(*names: str | list[str]) -> Callable[[T], T]:
    """Register a class for `dataset`, under one name or several."""
    return _register(DatasetRegistry, names)


def _register(registry: PluginRegistry, names: Iterable[str | list[str]]) -> Callable[[T], T]:
    flat: list[str] = []
    for name in names:
        flat += name if isinstance(name, list) else [name]
    if not flat or not all(isinstance(name, str) and name for name in flat):
        # also what `@register_api` without parentheses comes to
        raise TypeError(f'a name is missing: @register_{registry.role}("my_{registry.role}")')

    def decorate(cls: T) -> T:
        for name in flat:
            registry.register(name, cls)
        return cls

    return decorate


def _place(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


def _listed(names: Iterable[str]) -> str:
    listed = ", ".join(names)
    return f"; known are {listed}" if listed else "; none are registered"
