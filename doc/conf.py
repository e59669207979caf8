"""Sphinx configuration. Needs no network: nothing is fetched at build time."""

from importlib.metadata import version as installed_version

project = "amortsk"
author = "The amortsk developers"
copyright = author
release = version = installed_version("amortsk")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
exclude_patterns = ["_build"]
# Single backticks are code, as in scikit-learn.
default_role = "literal"

html_theme = "furo"
html_title = f"amortsk {release}"

# Classes document their own public methods; inherited scikit-learn methods
# are documented by scikit-learn.
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "none"
numpydoc_show_class_members = False

# Names that other projects document: without their inventories (a download)
# they cannot be resolved.
nitpick_ignore_regex = [
    (r"py:.*", r"(sklearn|numpy|scipy|autograd|joblib|matplotlib|pandas)\..*"),
]

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "auto_examples",
    # Pages without figures, in seconds. For the figures:
    # sphinx-build -D plot_gallery=1 -b html doc doc/_build/html
    "plot_gallery": False,
    "download_all_examples": False,
    "backreferences_dir": None,
    "show_memory": False,
}


def skip_generated(app, what, name, obj, skip, options):
    """Leave out the metadata-routing methods that scikit-learn adds to classes."""
    if name.startswith("set_") and name.endswith("_request"):
        return True
    return None


def setup(app):
    app.connect("autodoc-skip-member", skip_generated)
