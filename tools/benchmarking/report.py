"""Run the parts that were asked for, and write the report."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path

from benchmarking import machine
from benchmarking.parts import PARTS, peers
from benchmarking.setting import Setting
from benchmarking.table import Section
from memba_vision.errors import UserError


def check_request(parts: Sequence[str], out: str | None, only: Sequence[str]) -> None:
    """Raise a UserError for an unknown part or word, or where the report cannot be written."""
    for name in parts:
        if name not in PARTS:
            raise UserError(f'unknown part {name!r}; known are {", ".join(PARTS)}')
    _check_words(parts, only)
    if out and Path(out).suffix not in ('.md', '.json'):
        raise UserError(f'--out {out}: the name must end in .md or .json')
    if out and not Path(out).parent.is_dir():
        raise UserError(f'--out {out}: there is no folder {Path(out).parent}; make it first')


def _check_words(parts: Sequence[str], only: Sequence[str]) -> None:
    if only and list(parts) != ['peers']:
        raise UserError('--only selects within part peers: add --parts peers')
    known = [word for group in peers.GROUPS for word in group]
    for word in only:
        if word not in known:
            raise UserError(f'--only: unknown word {word!r}; known are {", ".join(known)}')


def run_parts(parts: Sequence[str], setting: Setting) -> Iterator[Section]:
    """Measure, and yield each table as soon as it is there; always in the same order."""
    for name in PARTS:
        if name in parts:
            yield from import_module(f'benchmarking.parts.{name}').sections(setting)


def report(path: str, facts: dict[str, str], command: str, sections: Sequence[Section]) -> bytes:
    """The report in the form that the ending of ``path`` says: Markdown or JSON."""
    if Path(path).suffix == '.json':
        content = dict(command=command, machine=facts, sections=[asdict(s) for s in sections])
        text = json.dumps(content, indent=2, ensure_ascii=False) + '\n'
    else:
        parts = [machine.as_markdown(facts, command), *(s.as_markdown() for s in sections)]
        text = '\n'.join(parts)
    return text.encode()
