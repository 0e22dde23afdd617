"""A web server over a folder that knows ranges, notes requests, and can break answers off."""

import contextlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server, wanted = self.server, self.headers.get('Range')
        server.requests.append((self.path, wanted))
        path = server.folder / self.path.split('?')[0].lstrip('/')
        if not path.is_file():
            self.send_error(404)
            return
        content = path.read_bytes()
        start = self._start(wanted)
        if start >= len(content) > 0:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header('Content-Range', f'bytes {start}-{len(content) - 1}/{len(content)}')
        self.send_header('Content-Length', str(len(content) - start))
        if server.version:
            self.send_header('ETag', server.version)
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):
            self.wfile.write(content[start:][: server.bytes_per_answer])

    def _start(self, wanted: str | None) -> int:
        same = self.headers.get('If-Range') == self.server.version
        if not (wanted and same and self.server.ranges):
            return 0
        return int(wanted.removeprefix('bytes=').removesuffix('-'))

    def log_message(self, *args):
        """Stay quiet."""


class FileServer(http.server.ThreadingHTTPServer):
    def __init__(self, folder: Path) -> None:
        super().__init__(('127.0.0.1', 0), Handler)
        self.folder = folder
        self.url = f'http://127.0.0.1:{self.server_port}'
        self.requests: list[tuple[str, str | None]] = []
        self.version = '"1"'
        self.ranges = True
        self.bytes_per_answer: int | None = None


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[FileServer]:
    folder.mkdir()
    with FileServer(folder) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.01))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
