"""What runs the blocks: it fails where a block does, and blocks share what they make."""

from pathlib import Path

import pytest
from blocks import Block

pytestmark = pytest.mark.slow
PAGE = Path('page.md')


def bash(text, **settings):
    return Block(PAGE, 1, 'bash', text, **settings)


def python(text):
    return Block(PAGE, 1, 'python', text)


def test_blocks_share_files_and_names(scratch):
    scratch.run(python('# notes/seven.py\nSEVEN = 7\n'))
    scratch.run(bash('cat notes/seven.py > copy.py\nrm -r notes\n'))
    scratch.run(python('import copy as _\nfrom pathlib import Path\ntext = Path("copy.py")\n'))
    scratch.run(python('assert "SEVEN = 7" in text.read_text()\n'))
    with pytest.raises(AssertionError, match='ZeroDivisionError'):
        scratch.run(python('1 / 0\n'))


@pytest.mark.parametrize(
    'text',
    [
        'false\ntrue\n',
        'false | cat\n',
        'python -c "raise SystemExit(3)"\n',
        'python tools/train.py no_such_config.py\n',
        'python no_such_file.py\n',
        'pip install no-such-package\n',
    ],
    ids=str.strip,
)
def test_a_command_that_fails_fails_the_block(text, scratch):
    with pytest.raises(AssertionError, match=r'page\.md:1'):
        scratch.run(bash(text))


def test_commands_run_the_code_of_the_copy(scratch):
    (scratch.folder / 'memba_vision' / 'new.py').write_text('print(__file__)\n')
    scratch.run(bash('python -c "import memba_vision.new" > where\ngrep "$PWD" where\n'))
    scratch.run(bash('python -m memba_vision.new > where\ngrep "$PWD" where\n'))


def test_tools_get_the_arguments_of_the_marker(scratch):
    with pytest.raises(AssertionError, match='unrecognized arguments: --colour red'):
        scratch.run(bash('.venv/bin/python tools/report.py x\n', arguments='--colour red'))
