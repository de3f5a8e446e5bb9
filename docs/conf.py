"""Sphinx settings: Markdown pages, pictures drawn from imports, an API reference, and the gallery's reports."""

import sys
from pathlib import Path
from typing import Any

from astroid.exceptions import AstroidImportError
from astroid.manager import AstroidManager
from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent))

from gallery import render_gallery

import offramp
from offramp.settings.by_name import SECTIONS
from offramp.settings.config import Config

project = "offramp"
author = "The offramp developers"
version = release = offramp.__version__
extensions = ["myst_parser", "sphinx.ext.napoleon", "autoapi.extension", "import_pictures"]
exclude_patterns = ["gallery", "_templates"]
html_theme = "furo"
html_title = f"offramp {version}"
html_show_sphinx = False
# Single backquotes in docstrings mark code.
default_role = "code"
myst_heading_anchors = 3

# Fields of a class are listed by autoapi; as objects of their own they would be described twice.
napoleon_use_ivar = True

autoapi_dirs = ["../src/offramp"]
autoapi_root = "reference"
autoapi_template_dir = "_templates/autoapi"
autoapi_options = ["members", "undoc-members", "show-module-summary"]
autoapi_member_order = "bysource"
autoapi_add_toctree_entry = False
autoapi_keep_files = False
# Sources of every page beside the site would double its size, and no theme of ours links to them.
html_copy_source = False
html_show_sourcelink = False
# Type aliases of several modules bear the same name; pages of this site link to modules, not to names.
suppress_warnings = ["autoapi", "ref.python"]


_read_module = AstroidManager.ast_from_module_name
_READ = {"offramp", *sys.stdlib_module_names}


def _without_requirements(manager: AstroidManager, modname: str | None, *others: Any, **options: Any) -> Any:
    """Leave out the sources of torch and other requirements: reading them takes most of a build and adds nothing."""
    if modname is not None and modname.partition(".")[0] not in _READ:
        raise AstroidImportError(f"{modname} is not read for the documentation.", modname=modname)
    return _read_module(manager, modname, *others, **options)


AstroidManager.ast_from_module_name = _without_requirements

SETTINGS = {kind.__name__: kind.__doc__ or "" for kind in (Config, *SECTIONS.values())}


def describe_settings(app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]) -> None:
    """Give a section of the settings the descriptions of its fields, which its docstring has at run time only."""
    if what == "class" and name in SETTINGS:
        lines[:] = SETTINGS[name].splitlines()


def setup(app: Sphinx) -> None:
    # Before napoleon reads the docstrings.
    app.connect("autodoc-process-docstring", describe_settings, priority=400)
    app.connect("build-finished", lambda app, failure: None if failure else render_gallery(Path(app.outdir)))
