"""Owns the commands of EvalScope 1.14's documents: every complete `evalscope perf` line, word for word, and what has
to be changed to run it here. The pages are those of its English documentation.
"""

from commands import Command

QWEN = "tokenizer from a stub of the hub: a small one, not Qwen's"
STUB = "dataset from a stub of the hub"

PAGES = [
    Command("1.14: examples", "transformers", """evalscope perf \\
  --model 'Qwen/Qwen2.5-0.5B-Instruct' \\
  --number 20 \\
  --parallel 2 \\
  --api local \\
  --dataset openqa""",
            [], "",
            ends=(2, "pip install"), note="needs `transformers`: ends with what to install"),
    Command("1.14: examples", "vLLM", """evalscope perf \\
  --model 'Qwen/Qwen2.5-0.5B-Instruct' \\
  --number 20 \\
  --parallel 2 \\
  --api local_vllm \\
  --dataset openqa""",
            [], "",
            ends=(2, "pip install vllm"), note="needs vLLM and a GPU: ends with what to install"),
    Command("1.14: examples", "prompt", """evalscope perf \\
  --url 'http://127.0.0.1:8000/v1/chat/completions' \\
  --parallel 2 \\
  --model 'qwen2.5' \\
  --log-every-n-query 10 \\
  --number 20 \\
  --api openai \\
  --temperature 0.9 \\
  --max-tokens 1024 \\
  --prompt 'Write a science fiction story, please begin your performance'""",
            [("http://127.0.0.1:8000", "$SERVER")],
            requests=(20,), check="story"),
    Command("1.14: examples", "prompt from a file", """evalscope perf \\
  --url 'http://127.0.0.1:8000/v1/chat/completions' \\
  --parallel 2 \\
  --model 'qwen2.5' \\
  --log-every-n-query 10 \\
  --number 20 \\
  --api openai \\
  --temperature 0.9 \\
  --max-tokens 1024 \\
  --prompt @prompt.txt""",
            [("http://127.0.0.1:8000", "$SERVER")],
            requests=(20,), check="prompt_file"),
    Command("1.14: examples", "random dataset", """evalscope perf \\
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
  --debug""",
            [("http://127.0.0.1:8801", "$SERVER")],
            requests=(100,), check="random", note=QWEN),
    Command("1.14: examples", "random images and text", """evalscope perf \\
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
  --debug""",
            [("http://127.0.0.1:8801", "$SERVER")],
            requests=(100,), check="pictures", note=QWEN),
    Command("1.14: examples", "long prefix as a system message", """evalscope perf \\
  --parallel 4 \\
  --model Qwen2.5-0.5B-Instruct \\
  --url http://127.0.0.1:8801/v1/chat/completions \\
  --api openai \\
  --dataset openqa \\
  --tokenizer-path Qwen/Qwen2.5-0.5B-Instruct \\
  --dataset-args '{"target_input_len": 8192, "prefix_file": "long_text.txt", "prefix_role": "system"}' \\
  --max-tokens 128 \\
  --number 20""",
            [("http://127.0.0.1:8801", "$SERVER")],
            requests=(20,), check="filled_system", note=f"{STUB}; {QWEN}"),
    Command("1.14: examples", "long prefix before the question", """evalscope perf \\
  --parallel 2 \\
  --model Qwen2.5-0.5B-Instruct \\
  --url http://127.0.0.1:8801/v1/chat/completions \\
  --api openai \\
  --dataset openqa \\
  --tokenizer-path Qwen/Qwen2.5-0.5B-Instruct \\
  --dataset-args '{"target_input_len": 131072, "prefix_file": "long_text.txt", "prefix_role": "user"}' \\
  --number 10""",
            [("http://127.0.0.1:8801", "$SERVER")],
            requests=(10,), check="filled_user", note=f"{STUB}; {QWEN}"),
    Command("1.14: examples", "stop, stream, temperature", """evalscope perf \\
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
  --stream""",
            [("http://127.0.0.1:8000", "$SERVER")],
            requests=(20,), check="sampling", note=STUB),
    Command("1.14: examples", "query template", """evalscope perf \\
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
  --dataset openqa""",
            [("http://127.0.0.1:8000", "$SERVER")],
            requests=(20,), check="template", note=STUB),
    Command("1.14: examples", "query template from a file", """evalscope perf \\
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
  --dataset openqa""",
            [("http://127.0.0.1:8000", "$SERVER")],
            requests=(20,), check="template", note=STUB),
    Command("1.14: examples", "warm-up of a number", """evalscope perf \\
  --url 'http://127.0.0.1:8000/v1/chat/completions' \\
  --parallel 10 \\
  --model 'qwen2.5' \\
  --number 100 \\
  --warmup-num 10 \\
  --api openai \\
  --dataset openqa \\
  --stream""",
            [("http://127.0.0.1:8000", "$SERVER")],
            requests=(100,), check="warmed", note=STUB),
    Command("1.14: examples", "warm-up of a share", """evalscope perf \\
  --url 'http://127.0.0.1:8000/v1/chat/completions' \\
  --parallel 10 \\
  --model 'qwen2.5' \\
  --number 100 \\
  --warmup-num 0.1 \\
  --api openai \\
  --dataset openqa \\
  --stream""",
            [("http://127.0.0.1:8000", "$SERVER")],
            requests=(100,), check="warmed", note=STUB),
    Command("1.14: examples", "open loop at three rates", """evalscope perf \\
  --url 'http://127.0.0.1:8000/v1/chat/completions' \\
  --model 'qwen2.5' \\
  --api openai \\
  --dataset openqa \\
  --open-loop \\
  --rate 5 10 20 \\
  --number 500 1000 2000 \\
  --max-tokens 1024 \\
  --stream""",
            [("http://127.0.0.1:8000", "$SERVER"), ("500 1000 2000", "20 40 80")], "host and port; a 25th of the requests",
            requests=(20, 40, 80), check="rates", note=STUB),
    Command("1.14: examples", "trace", """evalscope perf \\
  --dataset workload_trace \\
  --dataset-path trace.jsonl \\
  --url http://127.0.0.1:8000/v1/chat/completions \\
  --open-loop""",
            [("http://127.0.0.1:8000", "$SERVER")],
            requests=(600,), check="replayed"),
    Command("1.14: examples", "trace, faster, with other models and the recorded lengths", """evalscope perf \\
  --dataset workload_trace \\
  --dataset-path trace.jsonl \\
  --url http://127.0.0.1:8000/v1/chat/completions \\
  --open-loop \\
  --dataset-args '{"speed": 2.0, "model_mapping": {"gpt-4": "qwen-max"}, "match_output_length": true}'""",
            [("http://127.0.0.1:8000", "$SERVER")],
            requests=(600,), check="replayed_faster"),
    Command("1.14: examples", "beginning of a trace", """evalscope perf \\
  --dataset workload_trace \\
  --dataset-path trace.jsonl \\
  --url http://127.0.0.1:8000/v1/chat/completions \\
  --open-loop \\
  --number 500""",
            [("http://127.0.0.1:8000", "$SERVER")],
            requests=(500,), check="replayed"),
    Command("1.14: examples", "embeddings", """evalscope perf \\
  --parallel 2 \\
  --number 10 \\
  --model 'text-embedding-v4' \\
  --url 'https://dashscope.aliyuncs.com/compatible-mode/v1/embeddings' \\
  --api-key ${DASHSCOPE_API_KEY} \\
  --api openai_embedding \\
  --dataset random_embedding \\
  --min-prompt-length 256 \\
  --max-prompt-length 256 \\
  --tokenizer-path 'Qwen/Qwen3-Embedding-0.6B'""",
            [("https://dashscope.aliyuncs.com", "$SERVER")], "host",
            requests=(10,), check="embedded", note=QWEN),
    Command("1.14: examples", "reranking", """evalscope perf \\
  --parallel 2 \\
  --number 10 \\
  --model 'qwen3-rerank' \\
  --url 'https://dashscope.aliyuncs.com/compatible-api/v1/reranks' \\
  --api-key ${DASHSCOPE_API_KEY} \\
  --api openai_rerank \\
  --dataset random_rerank \\
  --min-prompt-length 256 \\
  --max-prompt-length 256 \\
  --tokenizer-path 'Qwen/Qwen3-Embedding-0.6B' \\
  --extra-args '{"num_documents": 5, "document_length_ratio": 3}'""",
            [("https://dashscope.aliyuncs.com/compatible-api/v1/reranks", "$SERVER/v1/rerank")], "host and path",
            requests=(10,), check="ranked", note=QWEN),
    Command("1.14: multi-turn", "random conversations", """evalscope perf \\
  --model YOUR_MODEL \\
  --tokenizer-path YOUR_MODEL \\
  --url OPENAI_API_COMPAT_URL \\
  --api openai \\
  --dataset random_multi_turn \\
  --min-prompt-length 256 \\
  --max-prompt-length 512 \\
  --max-tokens 256 \\
  --multi-turn \\
  --min-turns 2 \\
  --max-turns 5 \\
  --number 20 \\
  --parallel 10""",
            [("OPENAI_API_COMPAT_URL", "$SERVER/v1/chat/completions"), ("YOUR_MODEL", "Qwen/Qwen2.5-0.5B-Instruct")], "model and URL",
            conversations=(20,), check="random_talks", note=QWEN),
    Command("1.14: multi-turn", "ShareGPT", """evalscope perf \\
  --model YOUR_MODEL \\
  --url OPENAI_API_COMPAT_URL \\
  --api openai \\
  --dataset share_gpt_zh_multi_turn \\
  --max-tokens 512 \\
  --multi-turn \\
  --max-turns 3 \\
  --number 300 \\
  --parallel 10""",
            [("OPENAI_API_COMPAT_URL", "$SERVER/v1/chat/completions")], "URL",
            conversations=(300,), check="talks", note=STUB),
    Command("1.14: multi-turn", "ShareGPT from a file", """evalscope perf \\
  --model YOUR_MODEL \\
  --url OPENAI_API_COMPAT_URL \\
  --api openai \\
  --dataset share_gpt_zh_multi_turn \\
  --dataset-path /path/to/common_zh_70k.jsonl \\
  --max-tokens 512 \\
  --multi-turn \\
  --max-turns 3 \\
  --number 300 \\
  --parallel 10""",
            [("OPENAI_API_COMPAT_URL", "$SERVER/v1/chat/completions"), ("/path/to/", "$DATA/")], "URL and path",
            conversations=(300,), check="talks"),
    Command("1.14: multi-turn", "conversations of a file", """evalscope perf \\
  --model YOUR_MODEL \\
  --url OPENAI_API_COMPAT_URL \\
  --api openai \\
  --dataset custom_multi_turn \\
  --dataset-path /path/to/my_conversations.jsonl \\
  --max-tokens 512 \\
  --multi-turn \\
  --max-turns 3 \\
  --number 100 \\
  --parallel 10""",
            [("OPENAI_API_COMPAT_URL", "$SERVER/v1/chat/completions"), ("/path/to/", "$DATA/")], "URL and path",
            conversations=(100,), check="talks"),
    Command("1.14: multi-turn", "SWE-smith, prebuilt", """evalscope perf \\
  --model YOUR_MODEL \\
  --url OPENAI_API_COMPAT_URL \\
  --api openai \\
  --dataset swe_smith \\
  --dataset-path /path/to/agentic_dataset.json \\
  --max-tokens 512 \\
  --multi-turn \\
  --dataset-offset 100 \\
  --number 200 \\
  --parallel 20""",
            [("OPENAI_API_COMPAT_URL", "$SERVER/v1/chat/completions"), ("/path/to/", "$DATA/")], "URL and path",
            conversations=(200,), check="prebuilt"),
    Command("1.14: multi-turn", "SWE-smith, made of trajectories", """evalscope perf \\
  --model YOUR_MODEL \\
  --url OPENAI_API_COMPAT_URL \\
  --api openai \\
  --dataset swe_smith \\
  --tokenizer-path YOUR_MODEL \\
  --max-tokens 512 1024 \\
  --min-tokens 512 \\
  --multi-turn \\
  --dataset-args '{
      "first_turn_length": [4096, 8192],
      "subsequent_turn_length": [512, 1024]
  }' \\
  --min-turns 3 \\
  --max-turns 8 \\
  --seed 42 \\
  --number 10 20 \\
  --parallel 5 10 \\
  --extra-args '{"ignore_eos": true}'""",
            [("OPENAI_API_COMPAT_URL", "$SERVER/v1/chat/completions"), ("YOUR_MODEL", "Qwen/Qwen2.5-0.5B-Instruct")], "model and URL",
            conversations=(10, 20), check="trajectories", note=f"{STUB}; {QWEN}"),
    Command("1.14: multi-turn", "recorded agents", """evalscope perf \\
  --model qwen-plus \\
  --url https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions \\
  --api-key $DASHSCOPE_API_KEY \\
  --api openai \\
  --dataset trie_office_work \\
  --multi-turn \\
  --parallel 4 \\
  --number 10 \\
  --duration 600 \\
  --tokenizer-path Qwen/Qwen2.5-7B-Instruct \\
  --extra-args '{"ignore_eos": true}' \\
  --stream""",
            [("https://dashscope.aliyuncs.com", "$SERVER")], "host",
            conversations=(10,), check="agents", note=f"{STUB}; {QWEN}"),
    Command("1.14: parameters", "prompts cut to a length", """evalscope perf \\
  --model qwen2.5 --url http://127.0.0.1:8000/v1/completions \\
  --dataset share_gpt_zh --tokenizer-path /path/to/tokenizer \\
  --dataset-args '{"target_input_len": 2048}'""",
            [("http://127.0.0.1:8000", "$SERVER"), ("/path/to/", "$DATA/")], "host, port, path",
            requests=(1000,), check="cut", note=STUB),
    Command("1.14: parameters", "prompts filled up to a length", """evalscope perf \\
  --model qwen2.5 --url http://127.0.0.1:8000/v1/chat/completions \\
  --dataset openqa --tokenizer-path /path/to/tokenizer \\
  --dataset-args '{"target_input_len": 131072, "prefix_file": "/path/to/long_text.txt", "prefix_role": "system"}'""",
            [("http://127.0.0.1:8000", "$SERVER"), ("/path/to/", "$DATA/"), ("--model qwen2.5", "--number 4 --model qwen2.5")], "host, port, paths; 4 requests",
            requests=(4,), check="filled_system", note=STUB),
    Command("1.14: quick start", "sweep", """evalscope perf \\
  --parallel 1 10 50 100 200 \\
  --number 10 20 100 200 400 \\
  --model Qwen2.5-0.5B-Instruct \\
  --url http://127.0.0.1:8801/v1/chat/completions \\
  --api openai \\
  --dataset random \\
  --max-tokens 1024 \\
  --min-tokens 1024 \\
  --prefix-length 0 \\
  --min-prompt-length 1024 \\
  --max-prompt-length 1024 \\
  --tokenizer-path Qwen/Qwen2.5-0.5B-Instruct \\
  --extra-args '{"ignore_eos": true}'""",
            [("http://127.0.0.1:8801", "$SERVER")],
            requests=(10, 20, 100, 200, 400), check="exact", note=QWEN),
    Command("1.14: SLA auto-tune", "largest concurrency", """evalscope perf \\
 --model Qwen2.5-0.5B-Instruct \\
 --tokenizer-path Qwen/Qwen2.5-0.5B-Instruct \\
 --url http://127.0.0.1:8801/v1/chat/completions \\
 --api openai \\
 --dataset random \\
 --max-tokens 1024 \\
 --prefix-length 0 \\
 --min-prompt-length 1024 \\
 --max-prompt-length 1024 \\
 --sla-auto-tune \\
 --sla-variable parallel \\
 --sla-params '[{"p99_latency": "<=2"}]' \\
 --parallel 2 \\
 --sla-upper-bound 64""",
            [("http://127.0.0.1:8801", "$SLOTS"),
             ("--sla-auto-tune", "--sla-probe-time 2..4 --sleep-interval 0 --sla-auto-tune")],
            "host and port; probes of seconds, no pauses",
            searched=64, note=f"a server of 8 slots; {QWEN}"),
    Command("1.14: SLA auto-tune", "most tokens per second", """evalscope perf \\
 --model Qwen2.5-0.5B-Instruct \\
 --tokenizer-path Qwen/Qwen2.5-0.5B-Instruct \\
 --url http://127.0.0.1:8801/v1/chat/completions \\
 --api openai \\
 --dataset random \\
 --max-tokens 1024 \\
 --prefix-length 0 \\
 --min-prompt-length 1024 \\
 --max-prompt-length 1024 \\
 --sla-auto-tune \\
 --sla-variable parallel \\
 --sla-params '[{"tps": "max"}]' \\
 --parallel 4""",
            [("http://127.0.0.1:8801", "$SLOTS"), ("--sla-auto-tune", "--sleep-interval 0 --sla-auto-tune")], "host and port; no pauses",
            searched=8, note=f"a server of 8 slots; {QWEN}"),
    Command("1.14: SLA auto-tune", "largest rates", """evalscope perf \\
 --model Qwen2.5-0.5B-Instruct \\
 --tokenizer-path Qwen/Qwen2.5-0.5B-Instruct \\
 --url http://127.0.0.1:8801/v1/chat/completions \\
 --api openai \\
 --dataset random \\
 --max-tokens 512 \\
 --prefix-length 0 \\
 --min-prompt-length 512 \\
 --max-prompt-length 512 \\
 --sla-auto-tune \\
 --sla-variable rate \\
 --sla-params '[{"p99_ttft": "<0.05"}, {"p99_ttft": "<0.01"}]' \\
 --rate 2 \\
 --sla-num-runs 1 \\
 --sla-fixed-parallel 40 \\
 --sla-lower-bound 10 \\
 --sla-upper-bound 40""",
            [("http://127.0.0.1:8801", "$SERVER")],
            searched=None, note=f"in 1.14 a bare number is in ms: no server is as fast; {QWEN}"),
    Command("1.14: speed benchmark", "a server", """evalscope perf \\
 --parallel 1 \\
 --url http://127.0.0.1:8000/v1/completions \\
 --model qwen2.5 \\
 --number 8 \\
 --log-every-n-query 5 \\
 --connect-timeout 6000 \\
 --read-timeout 6000 \\
 --max-tokens 2048 \\
 --min-tokens 2048 \\
 --api openai \\
 --dataset speed_benchmark \\
 --debug""",
            [("http://127.0.0.1:8000", "$SERVER")],
            requests=(8,), check="speeds"),
    Command("1.14: speed benchmark", "transformers", """CUDA_VISIBLE_DEVICES=0 evalscope perf \\
 --parallel 1 \\
 --model Qwen/Qwen2.5-0.5B-Instruct \\
 --number 8 \\
 --attn-implementation flash_attention_2 \\
 --log-every-n-query 5 \\
 --connect-timeout 6000 \\
 --read-timeout 6000 \\
 --max-tokens 2048 \\
 --min-tokens 2048 \\
 --api local \\
 --dataset speed_benchmark \\
 --debug""",
            [], "",
            ends=(2, "pip install"), note="needs `transformers`: ends with what to install"),
    Command("1.14: speed benchmark", "vLLM", """CUDA_VISIBLE_DEVICES=0 evalscope perf \\
 --parallel 1 \\
 --number 8 \\
 --model Qwen/Qwen2.5-0.5B-Instruct \\
 --log-every-n-query 5 \\
 --connect-timeout 6000 \\
 --read-timeout 6000 \\
 --max-tokens 2048 \\
 --min-tokens 2048 \\
 --api local_vllm \\
 --dataset speed_benchmark """,
            [], "",
            ends=(2, "pip install vllm"), note="needs vLLM and a GPU: ends with what to install"),
    Command("1.14: vs vLLM bench", "comparison", """evalscope perf \\
  --parallel 50 \\
  --number 1000 \\
  --log-every-n-query 1000 \\
  --model Qwen2.5-0.5B-Instruct \\
  --url http://127.0.0.1:8801/v1/chat/completions \\
  --api openai \\
  --dataset random \\
  --max-tokens 100 \\
  --prefix-length 0 \\
  --min-prompt-length 100 \\
  --max-prompt-length 100 \\
  --tokenizer-path Qwen/Qwen2.5-0.5B-Instruct \\
  --extra-args '{"ignore_eos": true}'""",
            [("http://127.0.0.1:8801", "$SERVER")],
            requests=(1000,), check="exact", note=QWEN),
    Command("1.14: vs vLLM bench", "one request", """evalscope perf \\
  --parallel 1 \\
  --number 1 \\
  --log-every-n-query 500 \\
  --model Qwen2.5-0.5B-Instruct \\
  --url http://127.0.0.1:8801/v1/chat/completions \\
  --api openai \\
  --dataset random \\
  --max-tokens 100 \\
  --prefix-length 0 \\
  --min-prompt-length 100 \\
  --max-prompt-length 100 \\
  --tokenizer-path Qwen/Qwen2.5-0.5B-Instruct \\
  --extra-args '{"ignore_eos": true}'""",
            [("http://127.0.0.1:8801", "$SERVER")],
            requests=(1,), check="exact", note=QWEN),
    Command("1.14: vs vLLM bench", "EvalScope's side", """evalscope perf \\
  --parallel 50 \\
  --number 1000 \\
  --log-every-n-query 1000 \\
  --model Qwen2.5-0.5B-Instruct \\
  --url http://127.0.0.1:8801/v1/chat/completions \\
  --api openai \\
  --dataset random \\
  --max-tokens 100 \\
  --prefix-length 0 \\
  --min-prompt-length 100 \\
  --max-prompt-length 100 \\
  --tokenizer-path Qwen/Qwen2.5-0.5B-Instruct \\
  --extra-args '{"ignore_eos": true}'""",
            [("http://127.0.0.1:8801", "$SERVER")],
            requests=(1000,), check="exact", note=QWEN),
    Command("1.14: DeepSeek-R1", "inference service", """evalscope perf \\
 --parallel 10 \\
 --url http://127.0.0.1:8801/v1/chat/completions \\
 --model DeepSeek-R1-Distill-Qwen-1.5B \\
 --log-every-n-query 5 \\
 --connect-timeout 6000 \\
 --read-timeout 6000 \\
 --api openai \\
 --prompt 'Write a science fiction novel, no less than 2000 words, please start your performance' \\
 -n 100""",
            [("http://127.0.0.1:8801", "$SERVER")],
            requests=(100,), check="novel"),
    Command("1.14: gpt-oss", "inference speed", """evalscope perf \\
  --parallel 1 10 50 100 \\
  --number 5 20 100 200 \\
  --model gpt-oss-20b \\
  --url http://127.0.0.1:8801/v1/completions \\
  --api openai \\
  --dataset random \\
  --max-tokens 1024 \\
  --min-tokens 1024 \\
  --prefix-length 0 \\
  --min-prompt-length 1024 \\
  --max-prompt-length 1024 \\
  --log-every-n-query 20 \\
  --tokenizer-path openai-mirror/gpt-oss-20b \\
  --extra-args '{"ignore_eos": true}'""",
            [("http://127.0.0.1:8801", "$SERVER")],
            requests=(5, 20, 100, 200), check="plain_exact", note=QWEN),
    Command("1.14: qwen3", "ModelScope's service", """evalscope perf \\
    --model Qwen/Qwen3-32B \\
    --url "https://api-inference.modelscope.cn/v1/chat/completions" \\
    --api-key "YOUR_MODELSCOPE_SDK_TOKEN" \\
    --parallel 5 \\
    --number 20 \\
    --api openai \\
    --dataset openqa \\
    --stream \\
    --wandb-api-key "YOUR_WANDB_API_KEY"  # Optional""",
            [("\"https://api-inference.modelscope.cn/", "\"$SERVER/")], "host",
            ends=(2, "pip install wandb"), note="needs the client library of wandb: ends with what to install"),
    Command("1.14: qwen3", "a local service", """evalscope perf \\
    --url "http://127.0.0.1:8801/v1/chat/completions" \\
    --parallel 5 \\
    --model Qwen3-32B \\
    --number 20 \\
    --api openai \\
    --dataset openqa \\
    --stream """,
            [("http://127.0.0.1:8801", "$SERVER")],
            requests=(20,), note=STUB),
    Command("1.14: qwen3-next", "stress test", """evalscope perf \\
    --url "http://127.0.0.1:8801/v1/chat/completions" \\
    --parallel 1 2 4 8 16 32 \\
    --number 5 10 20 40 80 160 \\
    --model Qwen3-Next-80B-A3B-Instruct \\
    --api openai \\
    --dataset random \\
    --min-prompt-length 1024 \\
    --max-prompt-length 1024 \\
    --min-tokens 256 \\
    --max-tokens 256 \\
    --tokenizer-path Qwen/Qwen3-Next-80B-A3B-Instruct \\
    --extra-args '{"ignore_eos": true}'""",
            [("http://127.0.0.1:8801", "$SERVER")],
            requests=(5, 10, 20, 40, 80, 160), check="exact", note=QWEN),
    Command("1.14: qwen3-omni", "stress test", """evalscope perf \\
    --model Qwen3-Omni-30B-A3B-Instruct \\
    --url http://localhost:8801/v1/chat/completions \\
    --api-key "API_KEY" \\
    --parallel 1 5 10 50 100 \\
    --number 2 10 20 100 200 \\
    --api openai \\
    --dataset random_vl \\
    --min-tokens 1024 \\
    --max-tokens 1024 \\
    --prefix-length 0 \\
    --min-prompt-length 1024 \\
    --max-prompt-length 1024 \\
    --image-width 512 \\
    --image-height 512 \\
    --image-format RGB \\
    --image-num 1 \\
    --tokenizer-path Qwen/Qwen3-30B-A3B-Instruct-2507""",
            [("http://localhost:8801", "$SERVER")],
            requests=(2, 10, 20, 100, 200), check="pictures", note=QWEN),
    Command("1.14: qwen3-vl", "stress test", """evalscope perf \\
    --model qwen-vl-plus-latest \\
    --url https://dashscope.aliyuncs.com/compatible-mode/v1/chat/completions \\
    --api-key "API_KEY" \\
    --parallel 1 2 5 \\
    --number 4 8 20 \\
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
    --tokenizer-path Qwen/Qwen3-VL-235B-A22B-Instruct""",
            [("https://dashscope.aliyuncs.com", "$SERVER")], "host",
            requests=(4, 8, 20), check="pictures", note=QWEN),
    Command("1.14: QwQ", "transformers", """CUDA_VISIBLE_DEVICES=0 evalscope perf \\
 --parallel 1 \\
 --model Qwen/QwQ-32B-Preview \\
 --attn-implementation flash_attention_2 \\
 --log-every-n-query 1 \\
 --connect-timeout 60000 \\
 --read-timeout 60000\\
 --max-tokens 2048 \\
 --min-tokens 2048 \\
 --api local \\
 --dataset speed_benchmark""",
            [], "",
            ends=(2, "pip install"), note="needs `transformers` and a GPU: ends with what to install"),
    Command("1.14: QwQ", "vLLM", """CUDA_VISIBLE_DEVICES=0,1 evalscope perf \\
 --parallel 1 \\
 --model Qwen/QwQ-32B-Preview \\
 --log-every-n-query 1 \\
 --connect-timeout 60000 \\
 --read-timeout 60000\\
 --max-tokens 2048 \\
 --min-tokens 2048 \\
 --api local_vllm \\
 --dataset speed_benchmark""",
            [], "",
            ends=(2, "pip install vllm"), note="needs vLLM and a GPU: ends with what to install"),
]


AGENTX = (2, "aiperf profile --scenario inferencex-agentx-mvp")
WRAPS = "EvalScope starts AIPerf: ends with AIPerf's own command"

AGENTS = [
    Command("1.14: AgentX", "the shorthand", """evalscope perf \\
  --scenario agentx \\
  --model YOUR_MODEL \\
  --tokenizer-path YOUR_HF_TOKENIZER \\
  --url http://localhost:8000/v1/chat/completions \\
  --parallel 8 16""", [], "", ends=AGENTX, note=WRAPS),
    Command("1.14: AgentX", "from Hugging Face", """evalscope perf --scenario agentx --data-source huggingface \\
  --model YOUR_MODEL --tokenizer-path YOUR_HF_TOKENIZER \\
  --url http://localhost:8000/v1/chat/completions --parallel 8""", [], "", ends=AGENTX, note=WRAPS),
    Command("1.14: AgentX", "as JSON", """evalscope perf \\
  --scenario '{"name":"agentx","variant":"full","max_context_length":1000000,"num_gpus":8,"engine":"vllm"}' \\
  --model YOUR_MODEL --tokenizer-path YOUR_HF_TOKENIZER \\
  --url http://localhost:8000/v1/chat/completions --parallel 8""", [], "", ends=AGENTX, note=WRAPS),
    Command("1.14: AgentX", "a short run", """evalscope perf \\
  --scenario '{"name":"agentx","mode":"smoke"}' \\
  --model YOUR_MODEL --tokenizer-path YOUR_HF_TOKENIZER \\
  --url http://localhost:8000/v1/chat/completions --parallel 1""", [], "", ends=AGENTX, note=WRAPS),
]

IMAGES = [
    Command("1.14: several images", "MMMU", """evalscope perf \\
  --model your-vl-model \\
  --url http://localhost:8000/v1/chat/completions \\
  --dataset mmmu_multi_image \\
  --dataset-args '{"subset":"Music","min_images":2}' \\
  --parallel 4 \\
  --number 100""", [("http://localhost:8000", "$SERVER")],
            requests=(100,), check="music", note=STUB),
    Command("1.14: several images", "images of a file", """evalscope perf \\
  --model your-vl-model \\
  --url http://localhost:8000/v1/chat/completions \\
  --dataset line_by_line \\
  --dataset-path multi_image.jsonl \\
  --parallel 4 \\
  --number 100""", [("http://localhost:8000", "$SERVER")],
            requests=(100,), check="two_images"),
]

PAGE = "the report is a page that needs no service: ends with how to make it"

ELSEWHERE = [
    Command("1.14: visualization", "web service", "evalscope service", [], "",
            ends=(2, "evalscope report FOLDER"), note=PAGE),
    Command("1.14: visualization", "web service of a folder", "evalscope service --outputs examples/viz", [], "",
            ends=(2, "evalscope report FOLDER"), note=PAGE),
]

COMMANDS_1_14 = [*PAGES, *AGENTS, *IMAGES, *ELSEWHERE]
