"""Owns the base class of plugins that make prompts, and classes of EvalScope's for subclasses."""

from evalscope.perf.plugin.datasets.base import (
    Conversation,
    DatasetPluginBase,
    Message,
    Messages,
    Turn,
)
from evalscope.perf.plugin.datasets.custom import CustomDatasetPlugin
from evalscope.perf.plugin.datasets.dataset_args import BaseDatasetArgs
from evalscope.perf.plugin.datasets.line_by_line import LineByLineDatasetPlugin
from evalscope.perf.plugin.datasets.longalpaca import LongAlpacaDatasetPlugin
from evalscope.perf.plugin.datasets.multi_turn import (
    RandomMultiTurnDatasetPlugin,
    ShareGPTEnMultiTurnPlugin,
    ShareGPTZhMultiTurnPlugin,
)
from evalscope.perf.plugin.datasets.openqa import OpenqaDatasetPlugin
from evalscope.perf.plugin.datasets.random_dataset import RandomDatasetPlugin
from evalscope.perf.plugin.datasets.share_gpt import (
    ShareGPTEnDatasetPlugin,
    ShareGPTZhDatasetPlugin,
)
from evalscope.perf.plugin.datasets.swe_smith import SweSmithDatasetPlugin
from evalscope.perf.plugin.datasets.trie import (
    TrieAgenticCodingPlugin,
    TrieCodeQaPlugin,
    TrieOfficeWorkPlugin,
)

__all__ = [
    "BaseDatasetArgs",
    "Conversation",
    "CustomDatasetPlugin",
    "DatasetPluginBase",
    "LineByLineDatasetPlugin",
    "LongAlpacaDatasetPlugin",
    "Message",
    "Messages",
    "OpenqaDatasetPlugin",
    "RandomDatasetPlugin",
    "RandomMultiTurnDatasetPlugin",
    "ShareGPTEnDatasetPlugin",
    "ShareGPTEnMultiTurnPlugin",
    "ShareGPTZhDatasetPlugin",
    "ShareGPTZhMultiTurnPlugin",
    "SweSmithDatasetPlugin",
    "TrieAgenticCodingPlugin",
    "TrieCodeQaPlugin",
    "TrieOfficeWorkPlugin",
    "Turn",
]
