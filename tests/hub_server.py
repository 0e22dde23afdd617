"""The few addresses of the Hugging Face Hub by which files are pushed and fetched, in memory."""

import base64
import contextlib
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        server, (_, *parts) = self.server, self.path.partition('?')[0].split('/')
        if server.refuses:
            self._answer({'error': 'Invalid username or password.'}, 401)
        elif parts[-1] == 'create':
            asked = json.loads(body)
            server.created.append(asked)
            name = f'{asked["organization"]}/{asked["name"]}'
            known = name in server.files
            server.private.setdefault(name, asked.get('visibility') == 'private')
            server.files.setdefault(name, {})
            self._answer({'url': f'{server.url}/{name}', 'name': name}, 409 if known else 200)
        elif parts[-1] == 'validate-yaml':
            server.cards.append(json.loads(body)['content'])
            self._answer({'errors': [], 'warnings': []})
        elif parts[-2] == 'preupload':
            names = [file['path'] for file in json.loads(body)['files']]
            modes = dict(uploadMode='regular', shouldIgnore=False)
            self._answer({'files': [dict(path=name, **modes) for name in names]})
        elif parts[-2] == 'commit':
            name = '/'.join(parts[2:4])
            files = server.files[name]
            for line in map(json.loads, body.splitlines()):
                if line['key'] == 'file':
                    files[line['value']['path']] = base64.b64decode(line['value']['content'])
            address = f'{server.url}/{name}/commit/{server.commit}'
            self._answer({'commitUrl': address, 'commitOid': server.commit, 'success': True})
        else:
            self._answer({}, 404)

    def do_HEAD(self):
        self._file(with_content=False)

    def do_GET(self):
        self._file(with_content=True)

    def _file(self, with_content: bool) -> None:
        """Answer /OWNER/NAME/resolve/REVISION/FILE, and nothing else."""
        if '/resolve/' not in self.path:
            name = self.path.removeprefix('/api/models/')
            found = name in self.server.private and not self.server.refuses
            facts = dict(id=name, sha=self.server.commit, private=self.server.private.get(name))
            self._answer(*((facts,) if found else ({'error': 'no such thing'}, 404)))
            return
        owner, name, _, revision, file = self.path.strip('/').split('/', 4)
        content = self.server.files.get(f'{owner}/{name}', {}).get(file)
        if content is None or revision not in ('main', self.server.commit):
            self.send_response(404)
            self.send_header('X-Error-Code', 'RepoNotFound' if content is None else '')
            self.send_header('Content-Length', '0')
            self.end_headers()
            return
        self.send_response(200)
        self.send_header('X-Repo-Commit', self.server.commit)
        self.send_header('ETag', f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        if with_content:
            self.wfile.write(content)

    def _answer(self, value: dict, status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args):
        """Stay quiet."""


class HubServer(http.server.ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.server_port}'
        self.commit = 40 * 'a'
        self.files: dict[str, dict[str, bytes]] = {}
        self.created: list[dict] = []
        self.private: dict[str, bool] = {}
        self.cards: list[str] = []
        self.refuses = False


@contextlib.contextmanager
def serving_hub() -> Iterator[HubServer]:
    with HubServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs=dict(poll_interval=0.01))
        thread.start()
        yield server
        server.shutdown()
        thread.join()
