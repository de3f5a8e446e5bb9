"""Sphinx settings: Markdown pages, pictures drawn from imports, an API reference, and the gallery's reports."""

import sys
from pathlib import Path

from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))

from gallery import render_gallery

import offramp

project = "offramp"
author = "The offramp developers"
version = release = offramp.__version__
extensions = ["myst_parser", "sphinx.ext.napoleon", "autoapi.extension", "import_pictures"]
exclude_patterns = ["gallery"]
html_theme = "furo"
html_title = f"offramp {version}"
html_show_sphinx = False
# Single backquotes in docstrings mark code.
default_role = "code"
myst_heading_anchors = 3

autoapi_dirs = ["../src/offramp"]
autoapi_root = "reference"
autoapi_options = ["members", "undoc-members", "show-module-summary"]
autoapi_member_order = "bysource"
autoapi_add_toctree_entry = False
autoapi_keep_files = False
# Type aliases of several modules bear the same name; pages of this site link to modules, not to names.
suppress_warnings = ["autoapi", "ref.python"]


def setup(app: Sphinx) -> None:
    app.connect("build-finished", lambda app, failure: None if failure else render_gallery(Path(app.outdir)))
