"""The ``python`` of a page's commands: hands the call to ``python_server.py``.

``DOCS_ARGUMENTS`` is what a tool of this project, or a script of its docs, gets behind the
arguments it is called with.
Making a virtual environment is left out: the commands have one.
"""

import json
import os
import shlex
import socket
import sys

address, arguments = sys.argv[1], sys.argv[2:]
if arguments[:2] == ['-m', 'venv']:
    sys.exit()
if arguments[0].startswith(('tools/', 'docs/')) or arguments[:2] == ['-m', 'memba_vision']:
    arguments += shlex.split(os.environ.get('DOCS_ARGUMENTS', ''))
call = dict(arguments=arguments, environment=dict(os.environ), folder=os.getcwd())
with socket.socket(socket.AF_UNIX) as server:
    server.connect(address)
    socket.send_fds(server, [json.dumps(call).encode()], [0, 1, 2])
    answer = server.recv(1)
sys.exit(answer[0] if answer else 1)
