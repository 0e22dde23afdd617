"""How blocks and their markers are read."""

import subprocess
import sys

import pytest
from blocks import blocks_of
from helpers import REPOSITORY
from pip_check import unknown

SETUP = (REPOSITORY / 'setup.py').read_text(encoding='utf-8')
PAGE = """# A page

```bash
python tools/train.py CONFIG
```

<!-- not run: it takes
a day -->
```
sleep 86400
```
<!-- run with: --top 3 -->

```console
$ python tools/predict.py \\
    photo.jpg
rose
$ ls
```

<!-- a remark -->
1. In a list:

   ```python
   # configs/mine.py
   if True:
       a = 1
   ```

```text
not a command
```
````{toctree}
```
````
"""


@pytest.fixture
def blocks(tmp_path):
    page = tmp_path / 'page.md'
    page.write_text(PAGE)
    return blocks_of(page)


def test_every_block_is_found_with_its_language_and_line(blocks):
    languages = ['bash', '', 'console', 'python', 'text', '{toctree}']
    assert [block.language for block in blocks] == languages
    assert [block.line for block in blocks][:3] == [4, 10, 15]
    assert [block.runs for block in blocks] == [True, False, True, True, False, False]
    assert all(block.is_known for block in blocks)


def test_a_marker_counts_for_the_block_right_after_it(blocks):
    assert [block.reason for block in blocks] == [None, 'it takes a day', None, None, None, None]
    assert [block.arguments for block in blocks][1:4] == ['', '--top 3', '']


def test_of_a_console_the_typed_lines_are_commands(blocks):
    assert blocks[2].commands == 'python tools/predict.py \\\n    photo.jpg\nls\n'


def test_a_python_block_with_a_path_is_a_file(blocks):
    assert blocks[3].file == 'configs/mine.py'
    assert blocks[3].text == '# configs/mine.py\nif True:\n    a = 1\n'
    assert blocks[0].file is None


@pytest.mark.parametrize(
    ('arguments', 'wrong'),
    [
        (['.'], []),
        (['.[test]'], []),
        (['memba_vision[app,docs]'], []),
        (['gdown'], []),
        (['.[ap]'], ['ap']),
        (['gdwon'], ['gdwon']),
    ],
    ids=str,
)
def test_pip_knows_what_setup_knows(arguments, wrong):
    assert unknown(arguments, SETUP) == wrong


def test_pip_fails_for_an_unknown_extra():
    pip = REPOSITORY / 'tests' / 'docs' / 'pip_check.py'
    command = [sys.executable, pip, 'install', '-q', '-e', '.[tset]']
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 1
    assert 'tset' in done.stderr
