"""Serves the two models with Infinity, and writes down what each request took.

    serve.py MODELS PORT REQUESTS.jsonl

The models of make_models.py are served as `embedder` at /v1/embeddings and as `ranker` at /v1/rerank. For
each request a line is written: the path, the body, the status, the `id` and the `usage` of the response, the
number of results, and in nanoseconds how long it took from the call of the application to the last piece of
the response, before that was given to the socket. A client cannot have been faster.
"""

import json
import pathlib
import sys
import time

import uvicorn
from infinity_emb import EngineArgs, create_server

KEPT = ("id", "usage")


class Timed:
    """An application, with a line for each request to it."""

    def __init__(self, app, lines):
        self.app = app
        self.lines = lines

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self.app(scope, receive, send)
        begun = time.perf_counter_ns()
        asked, said, seen = bytearray(), bytearray(), {"path": scope["path"]}

        async def noted_receive():
            message = await receive()
            asked.extend(message.get("body", b""))
            return message

        async def noted_send(message):
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
            else:
                said.extend(message.get("body", b""))
                if not message.get("more_body"):
                    seen["took_ns"] = time.perf_counter_ns() - begun
            await send(message)

        await self.app(scope, noted_receive, noted_send)
        response = json.loads(said)
        seen |= {"body": json.loads(asked)} | {key: response.get(key) for key in KEPT}
        seen["results"] = len(response.get("data") or response.get("results") or [])
        self.lines.write(json.dumps(seen) + "\n")
        self.lines.flush()


def main():
    folder, port, lines = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

    def engine(name):
        return EngineArgs(
            model_name_or_path=str(folder / name),
            served_model_name=name,
            engine="torch",
            device="cpu",
            dtype="float32",
            bettertransformer=False,
            model_warmup=False,
            # usage is then in tokens, without [CLS] and [SEP]; otherwise in characters
            lengths_via_tokenize=True,
        )

    app = create_server(
        engine_args_list=[engine("embedder"), engine("ranker")], url_prefix="/v1"
    )
    with open(lines, "a", encoding="utf-8") as file:
        uvicorn.run(Timed(app, file), host="127.0.0.1", port=port, access_log=False)


if __name__ == "__main__":
    main()
