"""A reverse proxy in a thread, on a free port, in front of a server on this machine."""

import contextlib
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HTML_ERROR = b"<!doctype html><title>502</title><h1>Bad Gateway</h1>"


class Proxy(ThreadingHTTPServer):
    """Passes on requests below `prefix`, and answers every other one with an HTML page.

    Args:
        port: of the server behind it; 0 for none, so that every answer is HTML.
        prefix: such as `/lab/proxy/8000`.
        keep: whether the server gets the prefix too.
        status: of the HTML page.
    """

    daemon_threads = True

    def __init__(self, port: int, prefix: str = "", *, keep: bool = False, status: int = 502):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target, self.prefix, self.keep, self.status = port, prefix, keep, status

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}{self.prefix}"


class _Handler(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers["Content-Length"])))

    def _answer(self, body: bytes) -> None:
        proxy = self.server
        if not proxy.target or not self.path.startswith(f"{proxy.prefix}/"):
            self.send_response(proxy.status)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(HTML_ERROR)
            return
        path = self.path if proxy.keep else self.path.removeprefix(proxy.prefix)
        connection = http.client.HTTPConnection("127.0.0.1", proxy.target, timeout=30)
        with contextlib.closing(connection):
            connection.request(self.command, path, body or None, dict(self.headers))
            response = connection.getresponse()
            content = response.read()
            self.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in ("transfer-encoding", "connection", "date", "server"):
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


@contextlib.contextmanager
def proxying(
    port: int, prefix: str = "", *, keep: bool = False, status: int = 502
) -> Iterator[Proxy]:
    """Run a `Proxy`."""
    with Proxy(port, prefix, keep=keep, status=status) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
