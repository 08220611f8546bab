"""The child process of `local`: llama.cpp's HTTP server on a free port of the loopback.

    python -m synth.teachers.llama_server WEIGHTS MODEL SLOTS CONTEXT THREADS

Prints `READY http://127.0.0.1:PORT` and serves until its standard input closes, which also happens
when the parent is killed.
"""

import sys


def main(weights: str, model: str, slots: str, context: str, threads: str) -> None:
    """Serve one model."""
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = weights
    settings.model_alias = {model}
    settings.hostnames = ["127.0.0.1"]
    settings.port = 0
    settings.n_parallel = int(slots)
    settings.n_ctx = int(context)
    settings.use_jinja = True
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = int(threads)
    server = xllamacpp.Server(settings)
    print(f"READY {server.listening_address}", flush=True)  # noqa: T201 - the parent reads it
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
