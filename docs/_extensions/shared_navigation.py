"""Navigation of the pages of source code, made once for all of them.

Sphinx copies the table of contents of the whole site for each page. Most pages are of source code;
none of these is in that table, so what they show differs by the depth of its links alone.
"""

from collections.abc import Callable
from typing import Any

from sphinx.application import Sphinx

SOURCE_PAGES = '_modules/'
BEFORE_THE_THEME = 400  # Sphinx's usual priority is 500


def share_navigation() -> Callable:
    """Return a handler of ``html-page-context`` that remembers the navigation of each depth."""
    made: dict[tuple, str] = {}

    def share(app: Sphinx, page: str, template: str, context: dict[str, Any], _: object) -> None:
        make = context.get('toctree')
        if make is None or not page.startswith(SOURCE_PAGES):
            return

        def shared(**options: Any) -> str:
            key = page.count('/'), *sorted(options.items())
            if key not in made:
                made[key] = make(**options)
            return made[key]

        context['toctree'] = shared

    return share


def setup(app: Sphinx) -> dict:
    """Enter the handler into Sphinx."""
    app.connect('html-page-context', share_navigation(), priority=BEFORE_THE_THEME)
    return {'parallel_read_safe': True}
