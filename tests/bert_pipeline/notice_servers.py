"""Local servers that take notices: a webhook over HTTP, and a mailbox over SMTP."""

from __future__ import annotations

import contextlib
import http.server
import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def served(server: socketserver.TCPServer) -> Iterator[int]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def hook(*statuses: int) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """An address that answers each POST with the next status, and what it got."""
    got: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(statuses[min(len(got), len(statuses)) - 1])
            self.send_header("Location", "/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with served(http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as port:
        yield f"http://127.0.0.1:{port}/services/T0/s3cret", got


@contextlib.contextmanager
def mailbox(*, rcpt: Callable[[str], str] = lambda _: "250 ok") -> Iterator[tuple[int, list[str]]]:
    """A port that speaks as much SMTP as it takes to get a message, and all lines that came."""
    lines: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

        def handle(self) -> None:
            self.say("220 here")
            in_data = False
            for raw in self.rfile:
                line = raw.decode().rstrip("\r\n")
                lines.append(line)
                verb = line[:4].upper()
                if in_data:
                    if line == ".":
                        in_data = False
                        self.say("250 taken")
                elif verb == "DATA":
                    in_data = True
                    self.say("354 go on")
                elif verb == "EHLO":
                    self.say("250-here\r\n250 AUTH PLAIN")
                elif verb == "AUTH":
                    self.say("235 welcome")
                elif verb == "QUIT":
                    self.say("221 bye")
                    return
                else:
                    self.say(rcpt(line) if verb == "RCPT" else "250 ok")

    with served(socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)) as port:
        yield port, lines
