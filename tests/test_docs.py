"""The documentation agrees with the code."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

import amortsk

ROOT = Path(__file__).resolve().parents[1]


def public_objects():
    """Full name and object of every public class and function."""
    found = {}
    submodules = ("models", "datasets", "plotting")
    for module_name in ("amortsk", *(f"amortsk.{name}" for name in submodules)):
        module = importlib.import_module(module_name)
        for name in module.__all__:
            found[f"{module_name}.{name}"] = getattr(module, name)
    return {
        name: obj
        for name, obj in found.items()
        if inspect.isclass(obj) or inspect.isroutine(obj)
    }


def sections(docstring):
    """The sections of a numpydoc docstring: title to lines."""
    lines = inspect.cleandoc(docstring or "").splitlines()
    found, current = {}, None
    for line, below in zip(lines, [*lines, ""][1:], strict=True):
        if line.strip() and re.fullmatch(r"-{3,}", below):
            current = found.setdefault(line.strip(), [])
        elif current is not None and not re.fullmatch(r"-{3,}", line):
            current.append(line)
    return found


def documented_parameters(docstring):
    """Names in the Parameters section, in order, without stars."""
    entries = [
        line.partition(" : ")[0]
        for line in sections(docstring).get("Parameters", [])
        if line and not line.startswith(" ")
    ]
    return [name.strip(" *") for entry in entries for name in entry.split(",")]


def signature_parameters(obj):
    return [name for name in inspect.signature(obj).parameters if name != "self"]


def own_methods(cls):
    """Public methods that the class itself defines and describes parameters of."""
    return [
        (name, method)
        for name, method in vars(cls).items()
        if not name.startswith("_")
        and inspect.isfunction(method)
        and "Parameters" in sections(method.__doc__)
    ]


def python_blocks(markdown):
    return re.findall(r"^```python\n(.*?)^```", markdown, re.DOTALL | re.MULTILINE)


OBJECTS = public_objects()
each_object = pytest.mark.parametrize("name", OBJECTS)


def test_objects_were_found():
    assert len(OBJECTS) >= 10


def test_the_parser_reads_numpydoc():
    docstring = """Summary.

    Parameters
    ----------
    a, b : int
        Text with a : colon.
    *args
        More.

    Returns
    -------
    c : int
    """
    assert list(sections(docstring)) == ["Parameters", "Returns"]
    assert documented_parameters(docstring) == ["a", "b", "args"]


@each_object
def test_docstring_lists_the_parameters_of_the_signature(name):
    obj = OBJECTS[name]
    assert documented_parameters(obj.__doc__) == signature_parameters(obj)


@each_object
def test_docstring_has_examples(name):
    assert ">>>" in "\n".join(sections(OBJECTS[name].__doc__).get("Examples", []))


@pytest.mark.parametrize("name", [n for n, o in OBJECTS.items() if inspect.isclass(o)])
def test_methods_list_the_parameters_of_their_signature(name):
    for method_name, method in own_methods(OBJECTS[name]):
        documented = documented_parameters(method.__doc__)
        assert documented == signature_parameters(method), method_name


def test_every_public_object_is_on_the_api_page():
    documented, module = set(), None
    for line in (ROOT / "doc" / "api.rst").read_text("utf-8").splitlines():
        if match := re.match(r"\.\. (?:current)?module:: (\S+)", line):
            module = match[1]
        elif match := re.match(r"\.\. auto(?:class|function):: (\S+)", line):
            documented.add(f"{module}.{match[1]}")
    assert documented >= set(OBJECTS)


def test_version_is_one_and_has_a_changelog_entry():
    pyproject = (ROOT / "pyproject.toml").read_text("utf-8")
    version = re.search(r'^version = "(.+)"$', pyproject, re.MULTILINE)[1]
    changelog = (ROOT / "doc" / "changelog.rst").read_text("utf-8")
    titles = re.findall(r"^(\S.*)\n=+$", changelog, re.MULTILINE)
    assert amortsk.__version__ == version
    assert version in titles
    assert "Unreleased" in titles


def test_readme_example_runs():
    blocks = python_blocks((ROOT / "README.md").read_text("utf-8"))
    assert blocks
    namespace = {"__name__": "readme"}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
