"""Makes a tiny Llama of random weights whose tokens are words, and prompts for it.

    make_model.py FOLDER        (FOLDER/model for the server, FOLDER/prompts.txt for the client)

Nothing is downloaded. Every token but the special ones decodes to a word and the space before it, so
that each event of a stream has text; answers still end in a token without any when the model stops by
itself. As random weights hardly ever meet one certain token, 1 of 64 words ends an answer as well, by
`generation_config.json`: answers are some 64 tokens long on average, and of every length.
"""

import itertools
import pathlib
import random
import sys

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

WORDS = 4096
PROMPTS = 400

folder = pathlib.Path(sys.argv[1])
model = folder / "model"
draw = random.Random(0)

syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
words = ["".join(pair) for pair in itertools.product(syllables, repeat=2)]
words = draw.sample(words, WORDS)
special = ["<unk>", "<s>", "</s>"]
vocabulary = {token: at for at, token in enumerate(special + ["▁" + word for word in words])}

tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
tokenizer.decoder = decoders.Metaspace()
fast = PreTrainedTokenizerFast(
    tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
)
fast.chat_template = '{{ bos_token }}{{ messages | map(attribute="content") | join(" ") }}'
fast.save_pretrained(model)

torch.manual_seed(0)
llama = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=len(fast),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        bos_token_id=fast.bos_token_id,
        eos_token_id=fast.eos_token_id,
    )
)
llama.generation_config = GenerationConfig(
    bos_token_id=fast.bos_token_id,
    eos_token_id=[fast.eos_token_id, *range(len(special), len(fast), 64)],
    do_sample=True,
)
llama.save_pretrained(model)

with open(folder / "prompts.txt", "w", encoding="utf-8") as prompts:
    for _ in range(PROMPTS):
        prompts.write(" ".join(draw.choices(words, k=draw.randint(8, 96))) + "\n")
