"""Runs llama.cpp's own HTTP server on a GGUF and an ephemeral loopback port, until it is told to stop.

The server is the one inside the `xllamacpp` package. It runs in a process of its own so that a test can end it like any other
server, and so that its threads never live in the test runner. When it is ready, one JSON line with its base URL goes to standard
output; what the server itself logs goes to standard error.
"""

import argparse
import json
import os
import signal
import sys
import threading

import xllamacpp


def parameters(model):
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {"tiny-random"}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = 8192
    # What a request without a bound gets: unlimited would mean the whole context window.
    params.n_predict = 256
    params.n_parallel = 1
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.sampling.seed = 1
    params.warmup = False
    params.use_jinja = True
    params.endpoint_slots = True
    params.endpoint_metrics = True
    params.ui = False
    return params


def main():
    parser = argparse.ArgumentParser(description="Serve a GGUF over HTTP on an ephemeral loopback port.")
    parser.add_argument("model", help="the GGUF to serve")
    model = parser.parse_args().model

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())

    # The library logs to standard output, which carries the ready line alone.
    ready_line = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    # The name keeps the server alive.
    server = xllamacpp.Server(parameters(model))
    print(json.dumps({"url": server.listening_address}), file=ready_line, flush=True)
    stop.wait()
    # Not by returning: the library's destructor waits for the generation that is still running.
    os._exit(0)


if __name__ == "__main__":
    main()
