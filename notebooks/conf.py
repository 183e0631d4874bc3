"""The site, built by `sphinx-build -W --keep-going notebooks build/site`; most of it `pages.py` makes."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

import pages

import genjax_models

project = "genjax_models"
version = release = genjax_models.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_nb"]
exclude_patterns = ["generated/parts/*", "**.ipynb_checkpoints"]
suppress_warnings: list[str] = []
default_role = "py:obj"  # a name in a docstring is a link where there is one of that name, otherwise code

html_theme = "furo"
html_title = "genjax_models"
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_domain_indices = False

nb_execution_mode = "off"  # as they were saved; tests/test_documents.py runs them
myst_heading_anchors = 3
autodoc_inherit_docstrings = False
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"
napoleon_google_docstring = True
napoleon_numpy_docstring = False


def document(app, what, name, value, options, lines):
    """Make a docstring what napoleon reads, and add the fields of records."""
    lines[:] = pages.as_restructured(lines)
    if what == "class":
        lines += pages.fields_of(value)


def setup(app):
    pages.write(HERE / "generated")
    app.connect("autodoc-process-docstring", document, priority=400)  # before napoleon, at 500
