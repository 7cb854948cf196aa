// Makes the pages to look at, in pages/, by real runs of the program that the first argument names.
import { spawn } from "node:child_process";
import { copyFileSync, mkdirSync } from "node:fs";
import { createServer } from "node:http";
import { setTimeout as after } from "node:timers/promises";

const program = process.argv[2];
mkdirSync("pages", { recursive: true });

const started = (args, stdio = "ignore") => spawn(program, args, { stdio, env: { ...process.env, EVALSCOPE_LANG: "en" } });
const ended = (child) => new Promise((resolve) => child.on("exit", resolve));
const run = (args) => ended(started(args));

const place = (name) => ["--outputs-dir", "runs", "--no-timestamp", "--name", name];
const keep = (name, as = name) => copyFileSync(`runs/${name}/perf_report.html`, `pages/${as}.html`);
const sim = ["perf", "--api", "local_sim", "--dataset", "sample", "--sleep-interval", "0"];

// a simulated server with faults of its own, as long as `during` takes
const withServer = async (flags, during) => {
  const server = started(["sim", "--port", "0", "--exit-with-parent", ...flags], ["pipe", "pipe", "ignore"]);
  const said = await new Promise((resolve) => server.stdout.once("data", (line) => resolve(String(line))));
  await during(said.trim().split(/\s+/).at(-1));
  server.stdin.end();
  await ended(server);
};

await run([...sim, "-n", "1", ...place("one")]);
keep("one");

// a knee, an objective, and a warm-up
await withServer(["--slots", "12", "--ttft-ms", "30", "--itl-ms", "4"], async (url) => {
  const loads = ["--parallel", "1", "4", "8", "16", "32", "--number", "10", "60", "120", "240", "400"];
  await run(["perf", "--url", url, "--model", "sim", "--dataset", "sample", "--sleep-interval", "0", ...loads, "--warmup-num", "4",
    "--max-tokens", "40", "--slo", "ttft<=80ms", ...place("sweep")]);
});
keep("sweep");
copyFileSync("runs/sweep/result.json", "sweep.json");
await run(["report", "runs/sweep", "--lang", "zh"]);
keep("sweep", "sweep-zh");

const many = Array.from({ length: 15 }, (_, nth) => String(nth + 1));
await run([...sim, "--parallel", ...many, "--number", ...many.map(() => "5"), "--max-tokens", "5", ...place("many")]);
keep("many");

// the server stops for a second, and sometimes fails
await withServer(["--batch-itl", "4,0.3", "--fault", "pause:1s@3s", "--fault", "http-503:every=30"], async (url) => {
  await run(["perf", "--url", url, "--model", "sim", "--dataset", "sample", "--open-loop", "--rate", "30", "--duration", "6s",
    "--warmup-num", "10", "--max-tokens", "20", ...place("stall")]);
});
keep("stall");

await run([...sim, "-n", "40", "--parallel", "4", "--no-stream", "--max-tokens", "10", ...place("not-streamed")]);
keep("not-streamed");

const stopped = started([...sim, "--duration", "60s", "--parallel", "4", "--max-tokens", "20", ...place("interrupted")]);
await after(3000);
stopped.kill("SIGINT");
await ended(stopped);
keep("interrupted");

const plain = ["--no-test-connection", "--prompt", "hello"];
await run(["perf", "http://127.0.0.1:9", "--model", "m", "-n", "3", ...plain, ...place("failed")]);
keep("failed");

// what a server says and what a person types is text
const evil = "</script><img src=x onerror=document.title='pwned'>{{7*7}}\u202eabc\u0007";
const server = createServer((request, response) => {
  request.resume();
  request.on("end", () => {
    response.writeHead(500, { "content-type": "text/html" });
    response.end(evil + "x".repeat(10_000_000));
  });
}).listen(0, "127.0.0.1");
await new Promise((resolve) => server.on("listening", resolve));
const url = `http://127.0.0.1:${server.address().port}`;
const hostile = ["--model", evil, "--alias", evil, "--metadata", `a=${evil}`, "--no-test-connection", "--prompt", evil];
await run(["perf", url, "-n", "3", "--give-up-after", "60s", ...hostile, ...place("hostile")]);
server.close();
keep("hostile");
