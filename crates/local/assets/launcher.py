"""Starts llama.cpp's HTTP server from the xllamacpp wheel and ends with its parent.

Reads one line of JSON from stdin, then keeps reading: when the pipe closes, the parent is gone and so are we.
"""
import json
import os
import sys
import threading


def end_with_parent():
    while sys.stdin.buffer.read1(4096):
        pass
    os._exit(0)


def main():
    options = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=end_with_parent, daemon=True).start()
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = options["file"]
    alias = options["alias"]
    params.model_alias = {alias} if isinstance(params.model_alias, set) else alias
    params.hostnames = ["127.0.0.1"] if isinstance(params.hostnames, list) else "127.0.0.1"
    params.port = options["port"]
    params.api_keys = [options["key"]]
    params.n_ctx = options["context_tokens"] * options["slots"]
    params.n_parallel = options["slots"]
    params.cont_batching = True
    params.use_jinja = True
    params.chat_template = options["template"]
    params.cpuparams.n_threads = options["threads"]
    params.cpuparams_batch.n_threads = options["threads"]
    params.sampling.temp = options["temperature"]
    params.sampling.penalty_repeat = options["repeat_penalty"]
    params.endpoint_metrics = True
    server = xllamacpp.Server(params)
    print("serving", alias, "on", server.listening_address, flush=True)
    threading.Event().wait()


main()
