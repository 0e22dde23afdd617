"""How the site is built; nothing here needs the network, neither building nor reading.

python -m sphinx -W --keep-going -b html docs build/docs
"""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS / '_extensions')]

import memba_vision

project = 'memba_vision'
author = 'The memba_vision contributors'
copyright = f'2026, {author}. Apache-2.0'
release = version = memba_vision.__version__

extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx.ext.viewcode',
    'sphinx_copybutton',
    'sphinx_design',
    'api_pages',
    'shared_navigation',
]
exclude_patterns = ['_extensions']

myst_heading_anchors = 3
myst_enable_extensions = ['colon_fence', 'attrs_block']

autodoc_inherit_docstrings = False
autodoc_member_order = 'bysource'
autodoc_preserve_defaults = True
autodoc_typehints = 'description'
autodoc_typehints_description_target = 'documented'
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = 'furo'
html_title = 'memba_vision'
html_static_path = ['_static']
html_css_files = ['site.css']
html_show_sphinx = False
html_copy_source = False
html_theme_options = {
    'light_css_variables': {
        'color-brand-primary': '#5b3cc4',
        'color-brand-content': '#5b3cc4',
        'color-brand-visited': '#5b3cc4',
    },
    'dark_css_variables': {
        'color-brand-primary': '#b7a2ff',
        'color-brand-content': '#b7a2ff',
        'color-brand-visited': '#b7a2ff',
    },
}
pygments_style = 'friendly'
pygments_dark_style = 'github-dark'

copybutton_exclude = '.linenos, .gp, .go'
