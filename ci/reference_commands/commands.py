"""Owns the commands: every `evalscope perf` line of the Python tool's documents, word for word, and
what has to be changed to run it here. `DATA` below stands for a folder that the runner makes."""

from dataclasses import dataclass, field

CHAT = ("'http://127.0.0.1:8000/v1/chat/completions'", "$SERVER/v1/chat/completions")
COMMENT = ("\\  # 可不填，或选[flash_attention_2|eager|sdpa]", "\\")


@dataclass
class Command:
    document: str
    title: str
    text: str
    # (what stands in the document, what stands here instead)
    changes: list = field(default_factory=list)
    # what was changed, for people; empty: nothing
    changed: str = "host and port"
    # the exit code, and what the result must show: requests of each run, all successful
    requests: tuple = (20,)
    # for commands that end before the load: the exit code and a part of the message
    ends: tuple = None
    note: str = ""
    # what else must have been sent and measured, by name (see checks.py)
    check: str = ""
    # of conversations: how many each run has, all of them complete
    conversations: tuple = None
    # of a search: the load that it finds, `None` for none
    searched: object = "no search"


COMMANDS = [
    Command("usage examples", "transformers", """evalscope perf \\
 --model 'Qwen/Qwen2.5-0.5B-Instruct' \\
 --attn-implementation flash_attention_2 \\  # 可不填，或选[flash_attention_2|eager|sdpa]
 --number 20 \\
 --parallel 2 \\
 --api local \\
 --dataset openqa""", [COMMENT], "the comment after `\\`, which a shell does not take",
            ends=(2, "pip install"), note="needs `transformers`: ends with what to install"),
    Command("usage examples", "vLLM", """evalscope perf \\
 --model 'Qwen/Qwen2.5-0.5B-Instruct' \\
 --number 20 \\
 --parallel 2 \\
 --api local_vllm \\
 --dataset openqa""", [], "",
            ends=(2, "pip install vllm"), note="needs vLLM and a GPU: ends with what to install"),
    Command("usage examples", "prompt", """evalscope perf \\
 --url 'http://127.0.0.1:8000/v1/chat/completions' \\
 --parallel 2 \\
 --model 'qwen2.5' \\
 --log-every-n-query 10 \\
 --number 20 \\
 --api openai \\
 --temperature 0.9 \\
 --max-tokens 1024 \\
 --prompt '写一个科幻小说，请开始你的表演'""", [CHAT], check="prompt"),
    Command("usage examples", "prompt from a file", """evalscope perf \\
 --url 'http://127.0.0.1:8000/v1/chat/completions' \\
 --parallel 2 \\
 --model 'qwen2.5' \\
 --log-every-n-query 10 \\
 --number 20 \\
 --api openai \\
 --temperature 0.9 \\
 --max-tokens 1024 \\
 --prompt @prompt.txt""", [CHAT], check="prompt_file"),
    Command("usage examples", "stop, stream, temperature", """evalscope perf \\
 --url 'http://127.0.0.1:8000/v1/chat/completions' \\
 --parallel 2 \\
 --model 'qwen2.5' \\
 --log-every-n-query 10 \\
 --read-timeout 120 \\
 --connect-timeout 120 \\
 --number 20 \\
 --max-prompt-length 128000 \\
 --min-prompt-length 128 \\
 --api openai \\
 --temperature 0.7 \\
 --max-tokens 1024 \\
 --stop '<|im_end|>' \\
 --dataset openqa \\
 --stream""", [CHAT], note="dataset from a stub of the hub", check="sampling"),
    Command("usage examples", "query template", """evalscope perf \\
 --url 'http://127.0.0.1:8000/v1/chat/completions' \\
 --parallel 2 \\
 --model 'qwen2.5' \\
 --log-every-n-query 10 \\
 --read-timeout 120 \\
 --connect-timeout 120 \\
 --number 20 \\
 --max-prompt-length 128000 \\
 --min-prompt-length 128 \\
 --api openai \\
 --query-template '{"model": "%m", "messages": [{"role": "user","content": "%p"}], "stream": true, "skip_special_tokens": false, "stop": ["<|im_end|>"], "temperature": 0.7, "max_tokens": 1024}' \\
 --dataset openqa """, [CHAT], note="dataset from a stub of the hub", check="template"),
    Command("usage examples", "query template from a file", """evalscope perf \\
 --url 'http://127.0.0.1:8000/v1/chat/completions' \\
 --parallel 2 \\
 --model 'qwen2.5' \\
 --log-every-n-query 10 \\
 --read-timeout 120 \\
 --connect-timeout 120 \\
 --number 20 \\
 --max-prompt-length 128000 \\
 --min-prompt-length 128 \\
 --api openai \\
 --query-template @template.json \\
 --dataset openqa """, [CHAT], note="dataset from a stub of the hub", check="template"),
    Command("usage examples", "random data set", """evalscope perf \\
  --parallel 20 \\
  --model Qwen2.5-0.5B-Instruct \\
  --url http://127.0.0.1:8801/v1/chat/completions \\
  --api openai \\
  --dataset random \\
  --min-tokens 128 \\
  --max-tokens 128 \\
  --prefix-length 64 \\
  --min-prompt-length 1024 \\
  --max-prompt-length 2048 \\
  --number 100 \\
  --tokenizer-path Qwen/Qwen2.5-0.5B-Instruct \\
  --debug""", [("http://127.0.0.1:8801", "$SERVER")], requests=(100,),
            note="tokenizer from a stub of the hub: a small one, not Qwen's", check="random"),
    Command("usage examples", "random images and text", """evalscope perf \\
  --parallel 20 \\
  --model Qwen2.5-VL-3B-Instruct \\
  --url http://127.0.0.1:8801/v1/chat/completions \\
  --api openai \\
  --dataset random_vl \\
  --min-tokens 128 \\
  --max-tokens 128 \\
  --prefix-length 0 \\
  --min-prompt-length 100 \\
  --max-prompt-length 100 \\
  --image-width 512 \\
  --image-height 512 \\
  --image-format RGB \\
  --image-num 1 \\
  --number 100 \\
  --tokenizer-path Qwen/Qwen2.5-VL-3B-Instruct \\
  --debug""", [("http://127.0.0.1:8801", "$SERVER")], requests=(100,),
            note="tokenizer from a stub of the hub: a small one, not Qwen's", check="pictures"),
    Command("stress test", "quick start", """evalscope perf \\
    --url "http://127.0.0.1:8000/v1/chat/completions" \\
    --parallel 1 \\
    --model qwen2.5 \\
    --number 15 \\
    --api openai \\
    --dataset openqa \\
    --stream""", [("http://127.0.0.1:8000", "$SERVER")], requests=(15,), note="dataset from a stub of the hub"),
    Command("stress test", "request with parameters", """evalscope perf --url 'http://127.0.0.1:8000/v1/chat/completions' --parallel 128 --model 'qwen' --log-every-n-query 10 --read-timeout=120 --dataset-path './datasets/open_qa.jsonl' -n 1 --max-prompt-length 128000 --api openai --stream --stop '<|im_end|>' --dataset openqa --debug""",
            [CHAT], requests=(1,)),
    Command("stress test", "URL without a flag, tokenizer, template", """evalscope perf 'http://host:port/v1/chat/completions' --parallel 128 --model 'qwen' --log-every-n-query 10 --read-timeout=120 -n 10000 --max-prompt-length 128000 --tokenizer-path "THE_PATH_TO_TOKENIZER/Qwen1.5-32B/" --api openai --query-template '{"model": "%m", "messages": [{"role": "user","content": "%p"}], "stream": true,"skip_special_tokens": false,"stop": ["<|im_end|>"]}' --dataset openqa --dataset-path 'THE_PATH_TO_DATASETS/open_qa.jsonl'""",
            [("'http://host:port/v1/chat/completions'", "$SERVER/v1/chat/completions"),
             ("THE_PATH_TO_TOKENIZER/Qwen1.5-32B/", "$DATA/tokenizer/"),
             ("'THE_PATH_TO_DATASETS/", "'datasets/"), ("-n 10000", "-n 1000")],
            "host, port, paths; 1000 requests", requests=(1000,), check="template_default"),
    Command("stress test", "template without a prompt", """evalscope perf --url 'http://127.0.0.1:8000/v1/chat/completions' --parallel 12 --model 'llama3' --log-every-n-query 10 --read-timeout=120 -n 1 --max-prompt-length 128000 --api openai --query-template '{"model": "%m", "messages": [], "stream": true, "stream_options":{"include_usage": true},"n": 3, "stop_token_ids": [128001, 128009]}' --dataset openqa --dataset-path './datasets/open_qa.jsonl'""",
            [CHAT], requests=(1,), check="template_choices"),
    Command("stress test", "OpenAI's service", """evalscope perf --url 'https://api.openai.com/v1/chat/completions' --parallel 1 --headers 'Authorization=Bearer YOUR_OPENAI_API_KEY' --model 'gpt-4o' --dataset-path 'THE_DATA_TO/open_qa.jsonl'  --log-every-n-query 10 --read-timeout=120  -n 100 --max-prompt-length 128000 --api openai --stream --dataset openqa""",
            [("'https://api.openai.com/", "$KEYED/"), ("THE_DATA_TO/", "datasets/"), ("completions'", "completions")],
            "host, path; the simulated server wants the key of the document", requests=(100,),
            note="needs an account: run against a server that checks the key"),
    Command("stress test", "a server by address", """evalscope perf --url 'http://IP:PORT/v1/chat/completions' --parallel 1 --model 'qwen' --log-every-n-query 1 --read-timeout=120 -n 1000 --max-prompt-length 128000 --tokenizer-path "THE_PATH_TO_TOKENIZER/Qwen1.5-32B/" --api openai --query-template '{"model": "%m", "messages": [{"role": "user","content": "%p"}], "stream": true,"skip_special_tokens": false,"stop": ["<|im_end|>"]}' --dataset openqa --dataset-path 'THE_PATH_TO_DATASETS/open_qa.jsonl'""",
            [("'http://IP:PORT/v1/chat/completions'", "$SERVER/v1/chat/completions"),
             ("THE_PATH_TO_TOKENIZER/Qwen1.5-32B/", "$DATA/tokenizer/"), ("'THE_PATH_TO_DATASETS/", "'datasets/"),
             ("-n 1000", "-n 200")],
            "host, port, paths; 200 requests", requests=(200,), check="template_default"),
    Command("a user's notes", "script", """openai_api_url="http://localhost:9000/v1/chat/completions"
model_name="test"
dataset_path=./data/open_qa.jsonl
nj=10
request_num=10

evalscope perf --url ${openai_api_url} \\
  --parallel ${nj} --model ${model_name} --log-every-n-query 10 --read-timeout=120 \\
  --dataset-path ${dataset_path} -n ${request_num} --max-prompt-length 128000 \\
  --api openai --stream  --dataset openqa --debug""", [("http://localhost:9000", "$SERVER")], requests=(10,)),
    Command("quick start", "quick start", """evalscope perf \\
    --url "http://127.0.0.1:8000/v1/chat/completions" \\
    --parallel 1 \\
    --model qwen2.5 \\
    --number 15 \\
    --api openai \\
    --dataset openqa \\
    --stream""", [("http://127.0.0.1:8000", "$SERVER")], requests=(15,), note="dataset from a stub of the hub"),
    *(Command("usage examples", f"{kind}: flags to add", f"""evalscope perf \\
    --url "http://127.0.0.1:8000/v1/chat/completions" \\
    --parallel 1 \\
    --model qwen2.5 \\
    --number 15 \\
    --api openai \\
    --dataset openqa \\
    --stream \\
    --visualizer {kind} \\
    --name 'name_of_{kind}_log'""", [("http://127.0.0.1:8000", "$SERVER")], "added to the quick start; host and port",
              ends=(2, f"pip install {kind}"),
              note="needs the client library and an account: ends with what to install; `ci/trackers` runs the real ones")
      for kind in ("wandb", "swanlab", "clearml")),
    Command("stress test", "wandb: flags to add", """evalscope perf --url "http://127.0.0.1:8000/v1/chat/completions" --parallel 1 --model qwen2.5 --number 15 --api openai --dataset openqa --stream --wandb-api-key 'your_wandb_api_key'  --name 'name_of_wandb_and_result_db'""",
            [("http://127.0.0.1:8000", "$SERVER")], "added to the quick start; host and port",
            ends=(2, "pip install wandb"), note="the same"),
]
