"""Checks what `evalscope perf --api local` left behind.

    check.py OUTPUTS_DIR/NAME PORT

Every request succeeded with the tokens that were asked for; the server's log has as many requests as
the database, and the test request; nobody listens on the port any more.
"""

import json
import pathlib
import socket
import sqlite3
import sys

folder, port = pathlib.Path(sys.argv[1]), int(sys.argv[2])
(run,) = json.loads((folder / "result.json").read_text())["runs"]
counts = run["counts"]
assert run["state"] == "finished", run["state"]
assert counts["failed"] == 0, counts

(database,) = folder.glob("parallel_*/benchmark_data.db")
connection = sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)
rows = connection.execute(
    "SELECT completion_tokens, token_source, prompt_tokens, finish_reason FROM result"
).fetchall()
connection.close()
assert len(rows) == counts["total"], rows
assert {row[1] for row in rows} == {"server_usage"}, rows
assert {row[0] for row in rows} == {8}, rows
assert {row[3] for row in rows} == {"length"}, rows

log = (folder / "server.log").read_text()
answered = sum('"POST /v1/chat/completions HTTP/1.1" 200' in line for line in log.splitlines())
assert answered == len(rows) + 1, (answered, len(rows))

with socket.socket() as probe:
    assert probe.connect_ex(("127.0.0.1", port)) != 0, "the server still listens"
print(f"ok: {len(rows)} requests of {rows[0][2]} tokens in and {rows[0][0]} out")
