"""What classes of diffusers take, read from their source: importing a pipeline takes seconds, and nothing runs here."""

import ast
import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

REQUIRED, COMPUTED = object(), object()  # in place of a default: there is none; it is an expression


def is_known(name: str) -> bool:
    """Return whether the installed diffusers has a class of that name."""
    return f'"{name}"' in _read(_root() / "__init__.py")


@cache
def ancestry(name: str) -> tuple[str, ...]:
    """Return a class's name and those of its ancestors within diffusers; nothing for a class that is not there."""
    if _find(name) is None:
        return ()
    return (name, *(other for base in _bases(name) for other in ancestry(base)))


def inherits(name: str, mixin: str) -> bool:
    """Return whether a class, or an ancestor of it, has a class among its bases, wherever that is defined."""
    return any(mixin in _bases(one) for one in ancestry(name))


def defines(name: str, function: str) -> bool:
    """Return whether the module of a class has a function of that name."""
    found = _find(name)
    return found is not None and any(isinstance(one, ast.FunctionDef) and one.name == function for one in found[1].body)


def module_of(name: str) -> str:
    """Return the text of the module that a class is in, empty for a class that is not there."""
    found = _find(name)
    return ast.unparse(found[1]) if found else ""


@cache
def parameters_of(name: str, method: str) -> Mapping[str, Any] | None:
    """Return what a method of a class takes, its own or an ancestor's; None where that cannot be told.

    Of any further names (``**kwargs``) nothing is said: pipelines have these for names that they no longer take.

    Args:
        name: a class of diffusers, such as "FluxPipeline".
        method: such as "__call__".

    Returns:
        Argument -> its default value; ``REQUIRED`` or ``COMPUTED`` where there is no value to tell.
    """
    for one in ancestry(name):
        found = _find(one)
        assert found
        for node in found[0].body:
            if isinstance(node, ast.FunctionDef) and node.name == method:
                return _parameters(node.args, found[1])
    return None


def _parameters(arguments: ast.arguments, module: ast.Module) -> Mapping[str, Any]:
    constants = {
        target.id: node.value
        for node in module.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }

    def value(node: ast.expr | None) -> Any:
        if isinstance(node, ast.Name):
            node = constants.get(node.id, node)
        try:
            return REQUIRED if node is None else ast.literal_eval(node)
        except ValueError:
            return COMPUTED

    positional = [*arguments.posonlyargs, *arguments.args]
    without: list[ast.expr | None] = [None] * (len(positional) - len(arguments.defaults))
    pairs = [
        *zip(positional, [*without, *arguments.defaults], strict=True),
        *zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True),
    ]
    return {one.arg: value(node) for one, node in pairs[1:]}


def _bases(name: str) -> list[str]:
    found = _find(name)
    return [base.id for base in found[0].bases if isinstance(base, ast.Name)] if found else []


@cache
def _find(name: str) -> tuple[ast.ClassDef, ast.Module] | None:
    file = _files().get(name)
    if file is None:
        return None
    module = ast.parse(_read(file))
    return next(node for node in module.body if isinstance(node, ast.ClassDef) and node.name == name), module


@cache
def _files() -> Mapping[str, Path]:
    """Return where the classes that have ancestors are defined: the first place of a name counts."""
    found: dict[str, Path] = {}
    for folder in ("schedulers", "pipelines", "models"):
        for file in sorted((_root() / folder).rglob("*.py")):
            for name in re.findall(r"\nclass (\w+)\(", _read(file)):  # ten times as quick as with ^
                found.setdefault(name, file)
    return found


@cache
def _root() -> Path:
    spec = find_spec("diffusers")
    assert spec and spec.origin
    return Path(spec.origin).parent


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8")
