"""A Python that has imported the large libraries, and forks for each ``python …`` of a page.

``python_server.py SOCKET`` serves. A call sends its arguments, environment and folder over the
socket, with its standard streams, and gets the exit status back: see ``python_client.py``. This
package itself is not imported beforehand, so that pages can add files to it.
"""

import atexit
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import traceback
from pathlib import Path

TESTS = Path(__file__).parents[1]
LIBRARIES = (
    'torch',
    'numba',
    'safetensors.torch',
    'mmpretrain.models',
    'mmpretrain.datasets',
    'mmpretrain.engine',
    'mmpretrain.evaluation',
    'mmpretrain.visualization',
    'sklearn.datasets',
)


def serve(address: str) -> None:
    """Import, then answer calls until the process is killed."""
    for library in LIBRARIES:
        importlib.import_module(library)
    sys.path.append(str(TESTS))
    importlib.import_module('quick_mmengine').make_quick()
    sys.path.remove(str(TESTS))
    early = [name for name in sys.modules if name.split('.')[0] == 'memba_vision']
    assert not early, f'imported before any page could change it: {early}'
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no zombies
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f'{address}.starting')
        server.listen()
        os.rename(f'{address}.starting', address)
        while True:
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                _answer(connection)
            connection.close()


def _answer(connection: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    message, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    for number, name in (1, 'stdout'), (2, 'stderr'):
        # Those of the server may take it for granted that they can seek.
        earlier = getattr(sys, name)
        kept = dict(encoding=earlier.encoding, errors=earlier.errors, closefd=False)
        setattr(sys, name, open(number, 'w', buffering=1, **kept))  # noqa: SIM115
    status = 1
    try:
        status = _call(**json.loads(message))
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(bytes([status & 255]))
        os._exit(0)


def _call(arguments: list[str], environment: dict[str, str], folder: str) -> int:
    """Do as ``python ARGUMENTS`` would, and return the exit status."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    first, *rest = arguments
    search = [path for path in environment.get('PYTHONPATH', '').split(':') if path]
    try:
        if first == '-m':
            sys.argv, sys.path[:0] = rest, [folder, *search]
            runpy.run_module(rest[0], run_name='__main__', alter_sys=True)
        elif first == '-c':
            sys.argv, sys.path[:0] = ['-c', *rest[1:]], [folder, *search]
            exec(compile(rest[0], '<string>', 'exec'), {'__name__': '__main__'})
        else:
            sys.argv, sys.path[:0] = arguments, [os.path.dirname(os.path.abspath(first)), *search]
            runpy.run_path(first, run_name='__main__')
    except SystemExit as end:
        if isinstance(end.code, str):
            sys.stderr.write(f'{end.code}\n')
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


if __name__ == '__main__':
    serve(sys.argv[1])
