"""The settings of the documentation's site, which `make docs` builds with Sphinx.

The pages stand where a reader of the repository finds them, in `docs/`, `derivations/`, `notebooks/` and `examples/`;
only what a site alone needs is here. The root of the repository is Sphinx's source folder, so a relative link leads to
the same place in both. Notebooks are shown as they are committed: `tests/test_notebooks.py` runs them.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from lambda_star import __version__  # noqa: E402

project = "lambda_star"
author = "The lambda_star developers"
copyright = author  # noqa: A001
version = release = __version__
language = "en"
smartquotes = False  # texts mean their quotes and their `--` as they are typed

root_doc = "site/index"
include_patterns = [
    "site/**.md",
    "README.md",
    "docs/*.md",
    "derivations/*.md",
    "notebooks/*.ipynb",
    "examples/LICENSES.md",
    "examples/*/README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
]
exclude_patterns = [".*", "**/.*", "out", "build", "dist"]
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_click",
    "sphinx_copybutton",
    "_mathematics",
    "_pages",
]
nitpicky = False

myst_enable_extensions = ["attrs_block", "dollarmath"]
myst_disable_syntax = ["myst_line_comment"]  # a line may begin with a per cent sign
myst_fence_as_directive = ["math"]
myst_heading_anchors = 4
nb_execution_mode = "off"
nb_render_markdown_format = "myst"
nb_merge_streams = True

autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_type_aliases = {"ArrayLike": "ArrayLike"}
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
suppress_warnings = ["ref.python"]  # a short name in a signature may stand for things of two modules
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
default_role = "code"
pygments_style = "default"
copybutton_exclude = ".linenos, .gp, .go"
copybutton_prompt_text = ">>> "

html_theme = "furo"
html_title = "lambda_star"
html_static_path = ["_static"]
templates_path = ["_templates"]
html_css_files = ["site.css"]
html_additional_pages = {"index": "front.html"}
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_math_renderer = "mathml"
html_theme_options = {
    "sidebar_hide_name": False,
    "navigation_with_keys": True,
}
