"""Owns what must have been sent and measured, by the names that commands give: one function for each.

It must not know how commands are run.
"""

import base64
import json
import pathlib
import pickle
import sqlite3


class Run:
    """One run of a command: its folder, and what its database has."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.database = self.folder / "benchmark_data.db"

    def rows(self, columns, where="1"):
        return sqlite3.connect(self.database).execute(
            f"SELECT {columns} FROM result WHERE {where} ORDER BY idx").fetchall()

    def bodies(self, where="1"):
        return [pickle.loads(base64.b64decode(request)) for (request,) in self.rows("request", where)]

    def turns(self):
        """How many turns each conversation had."""
        sql = "SELECT COUNT(*) FROM result GROUP BY conversation"
        return [count for (count,) in sqlite3.connect(self.database).execute(sql)]


def content(body):
    return body["messages"][0]["content"]


def words(text):
    return len(text.split())


def lengths(run, least, most):
    """Prompts as long as they were asked for, as the server counts them: all but one in a hundred."""
    rows = run.rows("asked_prompt_tokens, prompt_tokens")
    assert all(least <= asked <= most for asked, _ in rows), rows[:3]
    wrong = sum(asked != seen for asked, seen in rows)
    assert wrong <= len(rows) / 100 and all(abs(a - s) <= 1 for a, s in rows), (wrong, rows[:3])


def only_prompt(text):
    def check(run):
        bodies = run.bodies()
        assert {content(body) for body in bodies} == {text}
        first = bodies[0]
        assert (first["temperature"], first["max_tokens"], first["stream"]) == (0.9, 1024, True)
    return check


def sampling(run):
    bodies = run.bodies()
    first = bodies[0]
    assert (first["temperature"], first["max_tokens"], first["stop"]) == (0.7, 1024, ["<|im_end|>"])
    assert all(len(content(body)) >= 128 for body in bodies)


def template(run):
    bodies = run.bodies()
    first = bodies[0]
    assert (first["model"], first["stop"], first["skip_special_tokens"]) == ("qwen2.5", ["<|im_end|>"], False)
    assert (first["temperature"], first["max_tokens"]) == (0.7, 1024)
    assert all("问题" in content(body) and "%p" not in content(body) for body in bodies)


def template_default(run):
    first = run.bodies()[0]
    assert (first["model"], first["stop"], first["skip_special_tokens"]) == ("qwen", ["<|im_end|>"], False)


def template_choices(run):
    first = run.bodies()[0]
    assert (first["n"], first["stop_token_ids"]) == (3, [128001, 128009]) and "问题" in content(first)


def random(run):
    lengths(run, 64 + 1024, 64 + 2048)
    assert len({" ".join(content(body).split()[:64]) for body in run.bodies()}) == 1


def exact(run):
    """Random prompts of one length, all of them different, and outputs of the length that was asked for."""
    bodies = run.bodies()
    asked = {asked for (asked,) in run.rows("asked_prompt_tokens")}
    assert len(asked) == 1, asked
    lengths(run, min(asked), max(asked))
    assert len({content(body) for body in bodies}) == len(bodies)
    outputs = {tokens for (tokens,) in run.rows("completion_tokens")}
    if bodies[0].get("ignore_eos"):
        assert outputs == {bodies[0]["max_tokens"]}, outputs


def plain_exact(run):
    """The same with plain prompts."""
    lengths(run, 1024, 1024)
    assert all(isinstance(body["prompt"], str) for body in run.bodies())


def pictures(run):
    for body in run.bodies():
        text, image = content(body)
        png = base64.b64decode(image["image_url"]["url"].removeprefix("data:image/png;base64,"))
        assert png[:8] == b"\x89PNG\r\n\x1a\n" and text["text"]
        assert (int.from_bytes(png[16:20]), int.from_bytes(png[20:24])) == (512, 512)


def filled(run, roles):
    """As long as was asked for, as the server counts it."""
    target = dataset_args(run)["target_input_len"]
    assert {tokens for (tokens,) in run.rows("prompt_tokens")} == {target}
    for body in run.bodies():
        assert [message["role"] for message in body["messages"]] == roles
        assert "问题" in body["messages"][-1]["content"][-2000:]


def filled_system(run):
    filled(run, ["system", "user"])


def filled_user(run):
    filled(run, ["user"])


def cut(run):
    # the tokenizer has a token for each word, and a question of one language has few
    assert all(isinstance(body["prompt"], str) and words(body["prompt"]) <= 2048 for body in run.bodies())


def dataset_args(run):
    options = json.loads((run.folder / "benchmark_args.json").read_text())["dataset_args"]
    return json.loads(options) if isinstance(options, str) else options


def warmed(run):
    (count,) = sqlite3.connect(run.database).execute("SELECT COUNT(*) FROM warmup").fetchone()
    assert count == 10, count


def rates(run):
    """Sent at moments that no response moves: about as many a second as were asked for."""
    rate = float(run.folder.name.split("_")[1])
    moments = [start for (start,) in run.rows("start_time")]
    seen = (len(moments) - 1) / (max(moments) - min(moments))
    assert rate / 2 < seen < rate * 2, (run.folder.name, seen)


def recorded(run, models, speed):
    """Bodies word for word, at the recorded moments."""
    bodies = run.bodies()
    assert {body["model"] for body in bodies} == models
    assert [content(body) for body in bodies] == [f"request {at}" for at in range(len(bodies))]
    moments = [start for (start,) in run.rows("start_time")]
    span = (moments[-1] - moments[0]) * speed
    assert abs(span - (len(bodies) - 1) * TRACE_GAP_S) < 1, span
    return bodies


TRACE_GAP_S = 0.005


def trace_lines():
    """A trace of 600 requests in three seconds."""
    for at in range(600):
        body = {"model": "gpt-4" if at % 2 else "qwen-plus",
                "messages": [{"role": "user", "content": f"request {at}"}], "stream": True}
        yield json.dumps({"timestamp": 1700000000 + at * TRACE_GAP_S, "body": body, "completion_tokens": 2 + at % 5})


def replayed(run):
    bodies = recorded(run, {"gpt-4", "qwen-plus"}, 1)
    # nothing is added but what makes usage known
    assert all(set(body) == {"model", "messages", "stream", "stream_options"} for body in bodies), bodies[0]


def replayed_faster(run):
    bodies = recorded(run, {"qwen-max", "qwen-plus"}, 2)
    assert [body["max_tokens"] for body in bodies] == [2 + at % 5 for at in range(len(bodies))]
    assert all(body["ignore_eos"] is True for body in bodies)


def embedded(run):
    assert all(isinstance(body["input"], str) and words(body["input"]) == 256 for body in run.bodies())


def ranked(run):
    for body in run.bodies():
        query = words(body["query"])
        assert query == 256 and [words(text) for text in body["documents"]] == [3 * query] * 5


def random_talks(run):
    assert all(2 <= turns <= 5 for turns in run.turns()), run.turns()
    for (asked,) in run.rows("asked_prompt_tokens", "turn = 0"):
        assert 256 <= asked <= 512


def talks(run):
    assert all(1 <= turns <= 3 for turns in run.turns())
    # what the user says; the response before it is the server's
    later = run.bodies("turn > 0")
    assert later and all([m["role"] for m in body["messages"]] == ["assistant", "user"] for body in later)


def prebuilt(run):
    first = run.bodies("turn = 0")
    # beginning behind the offset
    assert content(first[0]) == "issue 100", content(first[0])
    assert first[0]["rid"] == "rid-100_t1" and set(run.turns()) == {2}


def trajectories(run):
    assert all(3 <= turns <= 8 for turns in run.turns())
    for body in run.bodies("turn = 0"):
        tokens = sum(words(message["content"]) for message in body["messages"])
        assert 4096 <= tokens <= 8192 and 512 <= body["max_tokens"] <= 1024, tokens


def agents(run):
    """Lengths, limits and outputs as they were recorded."""
    rows = run.rows("conversation, turn, asked_output_tokens, completion_tokens")
    assert all(asked == seen for *_, asked, seen in rows), rows[:4]
    assert set(run.turns()) == {4}


def speeds(run):
    """Two prompts of each length, in characters, as they are."""
    assert sorted(len(body["prompt"]) for body in run.bodies()) == [1, 1, 6144, 6144, 14336, 14336, 30720, 30720]
    assert json.loads((run.folder / "speed_benchmark.json").read_text())[0]["Speed(tokens/s)"] > 0


def novel(run):
    assert {content(body)[:30] for body in run.bodies()} == {"Write a science fiction novel,"}


def jpeg(part):
    data = base64.b64decode(part["image_url"]["url"].removeprefix("data:image/jpeg;base64,"))
    return data[:3] == b"\xff\xd8\xff"


def music(run):
    compared, described = [content(body) for body in run.bodies()[:2]]
    assert [part["type"] for part in compared] == ["text", "image_url", "text", "image_url", "text"]
    assert [part["text"] for part in compared[::2]] == [
        "Compare ", " with ", ".\nOptions:\nA. same\nB. they don't match"]
    assert [part["type"] for part in described] == ["text", "image_url", "image_url", "image_url"]
    assert all(map(jpeg, [*compared[1::2], *described[1:]]))


def two_images(run):
    for body in run.bodies():
        assert [part["type"] for part in content(body)] == ["text", "image_url", "image_url"]


CHECKS = {
    "prompt": only_prompt("写一个科幻小说，请开始你的表演"),
    "story": only_prompt("Write a science fiction story, please begin your performance"),
    "prompt_file": only_prompt("the prompt of a file\n"),
    **{check.__name__: check for check in (
        sampling, template, template_default, template_choices, random, exact, plain_exact, pictures, filled_system,
        filled_user, cut, warmed, rates, replayed, replayed_faster, embedded, ranked, random_talks, talks, prebuilt,
        trajectories, agents, speeds, novel, music, two_images)},
}
