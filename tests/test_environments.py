"""The tools in a user's environment: locales, masks of permissions, homes and proxies."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import DEMO, ENVIRONMENT, TOOLS, as_arguments, tiny_options

NOWHERE = 'http://127.0.0.1:1'  # a proxy that answers nobody
PROXIES = [f'{kind}_proxy' for kind in ('http', 'https', 'all')]
SCRIPTS = dict(PYTHONUTF8='0', PYTHONCOERCECLOCALE='0')  # as in Python before 3.7

#: Runs the tools as their own processes would, which import the same four times.
ONE_AFTER_THE_OTHER = f"""
import runpy, sys
from helpers import forget_runs
given = sys.argv[1:]
while given:
    end = given.index('THEN')
    tool, *arguments = given[:end]
    given = given[end + 1 :]
    sys.argv = [f'{TOOLS}/{{tool}}.py', *arguments]
    try:
        runpy.run_path(sys.argv[0], run_name='__main__')
    except SystemExit as end:
        if end.code:
            raise
    forget_runs()
"""


def latin_1(folder: Path) -> dict[str, str]:
    """Return the variables of a locale in Latin-1, made for this test."""
    if shutil.which('localedef') is None or not Path('/usr/share/i18n/locales/de_DE').exists():
        pytest.skip('needs localedef and the sources of locales')
    name = 'de_DE.ISO-8859-1'
    command = ['localedef', '-i', 'de_DE', '-f', 'ISO-8859-1', str(folder / name)]
    subprocess.run(command, check=True, capture_output=True)
    return dict(LOCPATH=str(folder), LC_ALL=name)


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['ASCII, closed to others, no home', 'Latin-1, read by the group'])
def test_the_tools_do_what_they_do_elsewhere(base, data_root, tmp_path, kind):
    """One after the other, as each goes on with what the one before has left."""
    given, mask = (dict(LC_ALL='C'), 0o077) if 'ASCII' in kind else (latin_1(tmp_path), 0o027)
    place = tmp_path / 'Übung …'
    place.mkdir()
    data = Path(shutil.copytree(data_root, place / 'data'))
    environment = {**ENVIRONMENT, **SCRIPTS, **given, **dict.fromkeys(PROXIES, NOWHERE)}
    environment |= {name.upper(): NOWHERE for name in PROXIES}
    for name in ('no_proxy', 'NO_PROXY', 'HOME', 'PYTHONIOENCODING'):
        environment.pop(name, None)
    if 'no home' not in kind:
        environment['HOME'] = '/sys'  # in which root makes no folder either
    options = as_arguments(tiny_options(base, data))

    def calls(*commands: list[object]) -> None:
        parts = [str(part) for command in commands for part in (*command, 'THEN')]
        command = [sys.executable, '-c', ONE_AFTER_THE_OTHER, *parts]
        done = subprocess.run(command, env=environment, capture_output=True, umask=mask)
        said = (done.stdout + done.stderr).decode(errors='replace')
        assert done.returncode == 0, said
        assert 'Traceback' not in said, said

    trained, sweep = place / 'trained', place / 'sweep'
    calls(
        ['train', DEMO, '--work-dir', trained, *options],
        ['test', DEMO, trained / 'epoch_2.pth', '--work-dir', place / 'tested', *options],
        ['sweep', DEMO, '--work-dir', sweep, *options],
        ['report', sweep, '--out', place / 'report'],
    )
    found = json.loads((trained / 'result.json').read_text('utf-8'))
    (run,) = sweep.glob('digits_memba_*/result.json')
    assert json.loads(run.read_text('utf-8'))['value'] == found['value']
    page = next((place / 'report').glob('*.html')).read_text('utf-8')
    assert 'Übung' in page or f'{found["value"]:.1f}' in page
    modes = {path: path.stat().st_mode for path in [*sweep.rglob('*'), *trained.rglob('*')]}
    assert not [str(path) for path, mode in modes.items() if mode & mask], 'open to others'
    assert all(mode & 0o400 for mode in modes.values())
