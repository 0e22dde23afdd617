"""Scripts by which a shell completes the command ``memba-vision``."""

import argparse
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path

from memba_vision.command_line import HAND_OVER, ParserMade, summary_of
from memba_vision.errors import UserError
from memba_vision.package_data import COMMAND, PRESETS

OPTION = '--print-completion'
SHELLS = ('bash', 'zsh', 'fish')  # shtab knows more
#: Names that options take beside files, by the options' names in Python.
PRESET_OPTIONS = ('method', 'methods', 'peft')
MODEL_OPTIONS = ('backbone', 'backbones')


def completion_script(tools: Mapping[str, Path], shell: str) -> str:
    """Return the script for a shell.

    Args:
        tools: their files, by name.
        shell: one of SHELLS.

    Raises:
        UserError: it is another one, or shtab is not installed.
    """
    if shell not in SHELLS:
        raise UserError(f'{OPTION}: expected {", ".join(SHELLS)}, found {shell or "nothing"}')
    try:
        import shtab
    except ImportError as error:
        raise UserError(f'{OPTION} needs shtab: pip install shtab') from error
    whole = argparse.ArgumentParser(COMMAND)
    whole.add_argument('--version', action='store_true')
    commands = whole.add_subparsers()
    for name, path in tools.items():
        parser = _parser_of(path)
        commands.add_parser(name, help=summary_of(path), parents=[parser], add_help=False)
        _add_completions(parser, shtab.FILE)
    return shtab.complete(whole, shell)


def _parser_of(path: Path) -> argparse.ArgumentParser:
    """Return the parser of a tool, which hands it over in the place of reading arguments."""
    before = sys.argv
    sys.argv = [str(path), HAND_OVER]
    try:
        runpy.run_path(str(path))['parse_arguments']()
    except ParserMade as made:
        return made.parser
    finally:
        sys.argv = before
    raise AssertionError(f'{path} reads its arguments with another parser')


def _add_completions(parser: argparse.ArgumentParser, file: object) -> None:
    """Add names of methods and models to the options that take them, and files to all others."""
    models = [name for name in _stems(PRESETS.parent / 'models') if '_' not in name]
    names = {name: models for name in MODEL_OPTIONS}
    names |= {name: _stems(PRESETS) for name in PRESET_OPTIONS}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _add_completions(inner, file)
        elif action.nargs == 0 or action.choices or action.type not in (None, Path):
            continue
        elif action.dest in names and action.option_strings:
            action.choices = names[action.dest]
        else:
            action.complete = file


def _stems(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob('*.py'))
