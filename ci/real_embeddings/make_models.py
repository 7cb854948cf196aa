"""Makes a tiny BERT that embeds, a tiny BERT that ranks, both of random weights, and inputs for them.

    make_models.py FOLDER

FOLDER/embedder and FOLDER/ranker are for the server, FOLDER/texts.txt and FOLDER/rankings.jsonl for the
client. Nothing is downloaded. The tokenizer is a WordPiece like BERT's, with [CLS] and [SEP] around a
text and a second [SEP] behind a document; its words are made up.
"""

import itertools
import json
import pathlib
import random
import sys

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, BertModel, PreTrainedTokenizerFast

WORDS = 2048
TEXTS = 400
RANKINGS = 200
NUMBERS = 384  # of a vector, as many as those of common small models

folder = pathlib.Path(sys.argv[1])
draw = random.Random(0)

syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
words = ["".join(pair) for pair in itertools.product(syllables, repeat=2)]
words = draw.sample(words, WORDS)
special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
pieces = special + words + ["##" + syllable for syllable in syllables]
vocabulary = {piece: at for at, piece in enumerate(pieces)}

tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
tokenizer.normalizer = normalizers.BertNormalizer()
tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
tokenizer.decoder = decoders.WordPiece()
tokenizer.post_processor = processors.TemplateProcessing(
    single="[CLS] $A [SEP]",
    pair="[CLS] $A [SEP] $B:1 [SEP]:1",
    special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
)
fast = PreTrainedTokenizerFast(
    tokenizer_object=tokenizer,
    model_max_length=512,
    unk_token="[UNK]",
    cls_token="[CLS]",
    sep_token="[SEP]",
    pad_token="[PAD]",
    mask_token="[MASK]",
)

config = BertConfig(
    vocab_size=len(vocabulary),
    hidden_size=NUMBERS,
    intermediate_size=2 * NUMBERS,
    num_hidden_layers=2,
    num_attention_heads=6,
    max_position_embeddings=512,
)
torch.manual_seed(0)
BertModel(config).save_pretrained(folder / "embedder")
config.num_labels = 1
BertForSequenceClassification(config).save_pretrained(folder / "ranker")
for name in ("embedder", "ranker"):
    fast.save_pretrained(folder / name)


def text(least, most):
    """Words of one piece and of two."""
    count = draw.randint(least, most)
    ends = ["", "", "", *draw.sample(syllables, 1)]
    return " ".join(draw.choice(words) + draw.choice(ends) for _ in range(count))


with open(folder / "texts.txt", "w", encoding="utf-8") as texts:
    for _ in range(TEXTS):
        texts.write(text(8, 96) + "\n")
with open(folder / "rankings.jsonl", "w", encoding="utf-8") as rankings:
    for _ in range(RANKINGS):
        documents = [text(16, 64) for _ in range(draw.randint(1, 12))]
        rankings.write(json.dumps({"query": text(4, 16), "documents": documents}) + "\n")
