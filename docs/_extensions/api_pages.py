"""The directive ``api``: the public modules of packages, each with its docstrings.

A module that is added to a package appears by itself.
"""

import importlib
import pkgutil

from docutils.nodes import Node
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.parsing import nested_parse_to_nodes


class Api(SphinxDirective):
    """``.. api:: package`` documents a package and the modules in it.

    Its content, if it has any, names the modules to show in place of all.
    """

    required_arguments = 1
    has_content = True

    def run(self) -> list[Node]:
        """The sections, one per module."""
        package = self.arguments[0]
        names = list(self.content) or public_modules(package)
        text = '\n'.join(_section(name) for name in [package, *(f'{package}.{n}' for n in names)])
        return nested_parse_to_nodes(self.state, text, allow_section_headings=True)


def public_modules(package: str) -> list[str]:
    """The names of a package's own modules; packages in it are pages of their own."""
    path = importlib.import_module(package).__path__
    found = [module for module in pkgutil.iter_modules(path) if not module.ispkg]
    return sorted(module.name for module in found if not module.name.startswith('_'))


def _section(module: str) -> str:
    title = f'``{module}``'
    options = [':members:', ':ignore-module-all:']
    return '\n'.join(
        [
            title,
            '=' * len(title),
            '',
            f'.. automodule:: {module}',
            *(f'   {o}' for o in options),
            '',
        ]
    )


def setup(app: Sphinx) -> dict:
    """Enter the directive into Sphinx."""
    app.add_directive('api', Api)
    return {'parallel_read_safe': True}
