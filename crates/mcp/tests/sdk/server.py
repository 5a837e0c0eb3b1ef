"""A server made with the official SDK, for MAOS as its client: over stdio, or over streamable HTTP on the port given."""

import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("official")


@server.tool()
def add(a: int, b: int) -> int:
    """Adds two numbers."""
    return a + b


@server.tool()
def greet(name: str) -> str:
    """Greets."""
    return f"Hello, {name}!"


@server.tool()
def fail() -> str:
    """Fails."""
    raise ValueError("this went wrong")


if len(sys.argv) > 1:
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
else:
    server.run()
