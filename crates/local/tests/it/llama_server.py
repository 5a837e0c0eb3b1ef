#!/usr/bin/env python3
"""Stands in for llama.cpp's llama-server: the flags MAOS passes, /health and /v1/models behind the key."""
import http.server
import os
import sys

here = os.path.dirname(os.path.abspath(__file__))
if os.path.exists(os.path.join(here, "mode")):
    print("boom: no such tensor", file=sys.stderr)
    sys.exit(3)

args = sys.argv[1:]
value = {flag: args[args.index(flag) + 1] for flag in
         ("--model", "--alias", "--host", "--port", "--ctx-size", "--parallel", "--threads", "--chat-template-file")}
assert value["--host"] == "127.0.0.1" and os.path.exists(value["--model"]) and "--jinja" in args, args
assert "tool" in open(value["--chat-template-file"]).read()
print("slots", value["--parallel"], "context", value["--ctx-size"], "threads", value["--threads"], flush=True)
key = os.environ["LLAMA_API_KEY"]
assert key not in " ".join(args), "the key must not be on the command line"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        allowed = self.path == "/health" or self.headers.get("Authorization") == f"Bearer {key}"
        body = b'{"data":[{"id":"%s"}]}' % value["--alias"].encode()
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


http.server.ThreadingHTTPServer(("127.0.0.1", int(value["--port"])), Handler).serve_forever()
