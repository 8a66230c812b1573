"""Longer runs, made beforehand: their data, which lie beside the chapters, and the code that they are of.

An experiment is a module ``stored/NAME.py`` beside the chapters: a function ``row``, a ``GRID`` of its arguments, and
``AT``, where each quantity is measured. ``make stored`` runs the rows and writes ``stored/NAME.json``, which a chapter
reads with :func:`stored`.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["StoredRun", "code_of", "definitions_used", "digest_of", "mean", "share", "stored"]

Coordinate = str | bool | int | float

FORMAT = "diffmem-stored-1"
LIBRARY = Path(__file__).parents[1]
AGAIN = "make stored makes it again"


@dataclass(frozen=True, eq=False)
class StoredRun:
    """What a longer run has measured.

    ``grid`` has the values of each coordinate, ``at`` those at which a row measures each quantity (such as times).
    ``values`` and ``errors`` map each quantity to a float64 array with an axis for each coordinate, in the order of
    ``grid``, and a last one that is that of ``at``; the errors are standard errors within one row. ``about`` says what
    was measured and in which units, ``command`` makes it again from ``root_seed``; ``scale`` is ``book`` or ``full``.
    """

    name: str
    about: str
    command: str
    root_seed: int
    scale: str
    grid: dict[str, tuple[Coordinate, ...]]
    at: dict[str, NDArray[np.float64]]
    values: dict[str, NDArray[np.float64]]
    errors: dict[str, NDArray[np.float64]]


def stored(name: str, folder: str | os.PathLike[str] = "stored") -> StoredRun:
    """Read the data of a longer run.

    Parameters
    ----------
    name : str
        That of the experiment.
    folder : path, optional
        Where its module and its data lie; by default beside the chapter, which runs in its own folder.

    Raises
    ------
    ValueError
        If there is no such experiment, its data are missing or damaged, or code that made them is no longer what it
        was.
    """
    import numpy as np  # not above: a derivation runs where there is only SymPy

    from .. import _checks

    if not isinstance(name, str) or not name.isidentifier():
        raise ValueError(f"name must be that of an experiment, got {_checks.shown(name)}")
    try:
        module, file = Path(folder) / f"{name}.py", Path(folder) / f"{name}.json"
    except TypeError:
        raise ValueError(f"folder must be a path, got {_checks.shown(folder)}") from None
    for path in (module, file):
        if not path.is_file():
            known = ", ".join(sorted(found.stem for found in Path(folder).glob("*.json"))) or "none"
            raise ValueError(f"name must be that of a stored run, got {name!r}: no file {path}; there are: {known}")
    kept = _read(file, name)
    code = code_of(module)
    changed = [part for part in sorted({*code, *kept["code"]}) if code.get(part) != kept["code"].get(part)]
    if changed:
        raise ValueError(f"{file} is stale: what it uses of {', '.join(changed)} has changed since; {AGAIN}")
    grid = {axis: tuple(values) for axis, values in kept["grid"].items()}
    shape = [*map(len, grid.values()), -1]

    def arrays(part: str) -> dict[str, NDArray[np.float64]]:
        names = kept["rows"][0][part]
        return {key: np.array([row[part][key] for row in kept["rows"]], np.float64).reshape(shape) for key in names}

    said = {key: kept[key] for key in ("about", "command", "root_seed", "scale")}
    at = {key: np.array(places, np.float64) for key, places in kept["at"].items()}
    return StoredRun(name=name, grid=grid, at=at, values=arrays("value"), errors=arrays("error"), **said)


def _read(file: Path, name: str) -> dict[str, Any]:
    """A file's content, which is whole and that of this experiment."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        whole = kept["format"] == FORMAT and kept["experiment"] == name and kept["digest"] == digest_of(kept)
        whole = whole and len(kept["rows"]) == math.prod(map(len, kept["grid"].values()))
    except (ValueError, TypeError, KeyError, AttributeError):
        whole = False
    if not whole:
        raise ValueError(f"{file} is damaged, or not the data of {name!r}: its digest is another; {AGAIN}")
    return kept


def digest_of(kept: Mapping[str, Any]) -> str:
    """What tells whether a file is as it was written: a name for all that it says beside this."""
    rest = {key: value for key, value in kept.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()[:16]


# The code that a run is of


class _Code(ast.NodeTransformer):
    """Leaves out of a module what does not run: texts that stand alone, and types of arguments and results."""

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) else node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        return self.generic_visit(node)

    def visit_arg(self, node: ast.arg) -> ast.arg:
        node.annotation = None
        return node


def _what_runs(source: str) -> ast.Module:
    """A module without what no run sees: comments, docstrings, annotations and layout."""
    tree: ast.Module = _Code().visit(ast.parse(source))
    return tree


def _dumped(node: Any) -> str:
    """A tree as text, the same in all versions of Python, where ``ast.dump`` writes other empty fields in some."""
    if isinstance(node, list):
        return f"[{', '.join(map(_dumped, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [f"{name}={_dumped(value)}" for name, value in ast.iter_fields(node) if value is not None and value != []]
    return f"{type(node).__name__}({', '.join(fields)})"


def mean(values: Any) -> tuple[float, float]:
    """Mean of at least two numbers, of any shape, and its standard error: what a row returns of them.

    Raises
    ------
    ValueError
        If there are fewer, or one is not finite.
    """
    from .. import _checks

    values = _checks.within(values, "values", low=-math.inf, high=math.inf)
    if values.size < 2:
        raise ValueError(f"values must be two or more, got {values.size}")
    return float(values.mean()), float(values.std(ddof=1)) / math.sqrt(values.size)


def share(hits: Any) -> tuple[float, float]:
    """Share of True among truth values (n,), and its standard error, which is not 0 where all are the same.

    The error is that of two more of each kind (Agresti and Coull 1998): so of none at all it is a quarter, and the
    share 0.

    Raises
    ------
    ValueError
        If ``hits`` are not one-dimensional truth values.
    """
    import numpy as np

    from .. import _checks

    hits = np.asarray(hits)
    if hits.dtype != bool or hits.ndim != 1:
        raise ValueError(f"hits must be truth values (n,), got {_checks.shown(hits)}")
    middle = (hits.sum() + 2) / (len(hits) + 4)
    return float(hits.sum() / max(len(hits), 1)), math.sqrt(middle * (1 - middle) / (len(hits) + 4))


def code_of(module: str | os.PathLike[str]) -> dict[str, str]:
    """What identifies the code that an experiment runs: module → digest of those of its definitions that are used.

    From ``row`` on, each definition of the experiment's module and of the library that is named in one that is used.
    What else a module holds may change, and so may docstrings and comments. Other packages are not looked into.

    Raises
    ------
    ValueError
        If the module cannot be read or defines no ``row``.
    """
    path = Path(module)
    if not isinstance(_Modules()[path].definitions.get("row"), ast.FunctionDef):
        raise ValueError(f"{path} must define a function row")
    found = definitions_used([(path, "row")])
    return {
        _module_name(where): hashlib.sha256(repr(sorted(found[where].items())).encode()).hexdigest()[:16]
        for where in sorted(found, key=_module_name)
    }


def definitions_used(wanted: Iterable[tuple[Path, str]]) -> dict[Path, dict[str, str]]:
    """The code of definitions, each a file and a name there, and of what they use of the library: file → name → code.

    Raises
    ------
    ValueError
        If a module cannot be read.
    """
    modules, found = _Modules(), dict[Path, dict[str, str]]()
    todo = list(wanted)
    while todo:
        where, name = todo.pop()
        node = modules[where].definitions.get(name)
        if node is not None and name not in found.setdefault(where, {}):
            found[where][name] = _dumped(node)
            todo += modules.uses(where, node)
    return found


class _Modules(dict[Path, "_Module"]):
    """Modules of Python by their files, read when they are asked for."""

    def __missing__(self, path: Path) -> _Module:
        try:
            self[path] = _Module(path)
        except (OSError, SyntaxError) as error:
            raise ValueError(f"module must be one of Python, got {path}: {error}") from None
        return self[path]

    def uses(self, where: Path, node: ast.AST) -> Iterator[tuple[Path, str]]:
        """The definitions, as file and name, that a definition names: ``f``, ``module.f`` or ``package.module.f``."""
        for part in ast.walk(node):
            if isinstance(part, ast.Name | ast.Attribute):
                place, name = self.place(where, part)
                if name:
                    yield place, name

    def place(self, where: Path, node: ast.expr) -> tuple[Path, str]:
        """Where what an expression names is defined: file and name, the name empty if it is a module."""
        if isinstance(node, ast.Name):
            return self.origin(where, node.id)
        if not isinstance(node, ast.Attribute):
            return where, "()"  # what an expression gives is no definition
        place, name = self.place(where, node.value)
        return (place, name) if name else self.origin(place, node.attr)

    def origin(self, where: Path, name: str) -> tuple[Path, str]:
        """Where what a module offers is defined: a package hands on what its modules define, and has modules."""
        place = self[where].imports.get(name)
        if place is not None:
            return self.origin(*place) if place[1] else place
        package = where.name == "__init__.py" and name not in self[where].definitions
        module = _file(where.parent / name) if package else None
        return (where, name) if module is None else (module, "")


class _Module:
    """What a module defines by name, without what does not run, and what it imports of the library."""

    def __init__(self, path: Path) -> None:
        self.definitions: dict[str, ast.AST] = {}
        self.imports: dict[str, tuple[Path, str]] = {}
        tree = _what_runs(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                self.definitions[node.name] = node
            elif isinstance(node, ast.Assign | ast.AnnAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [part.id for one in targets for part in ast.walk(one) if isinstance(part, ast.Name)]
                self.definitions |= dict.fromkeys(names, node)
        for statement in ast.walk(tree):
            if isinstance(statement, ast.ImportFrom):
                self.read_import(path, statement)
            whole = statement.names if isinstance(statement, ast.Import) else []
            if any(one.name.split(".")[0] == LIBRARY.name for one in whole):
                raise ValueError(f"{path} must import of the library by 'from', so that it is seen what it uses")

    def read_import(self, path: Path, statement: ast.ImportFrom) -> None:
        base = _base(path, statement)
        if base is None:
            return
        for alias in statement.names:
            inner, package = _file(base / alias.name), _file(base)
            if inner is not None:
                self.imports[alias.asname or alias.name] = inner, ""
            elif package is not None:
                self.imports[alias.asname or alias.name] = package, alias.name


def _base(path: Path, node: ast.ImportFrom) -> Path | None:
    """The file or folder, without suffix, from which a statement imports; None outside of the library."""
    parts = (node.module or "").split(".") if node.module else []
    if node.level:
        return path.parents[node.level - 1].joinpath(*parts)
    return LIBRARY.joinpath(*parts[1:]) if parts[:1] == [LIBRARY.name] else None


def _file(base: Path) -> Path | None:
    """The file of a module, or of a package, given without suffix."""
    choices = base.with_suffix(".py"), base / "__init__.py"
    return next((choice for choice in choices if choice.is_file()), None)


def _module_name(path: Path) -> str:
    """How a module is named in a file, the same on every machine."""
    if not path.is_relative_to(LIBRARY):
        return f"stored.{path.stem}"
    return ".".join([LIBRARY.name, *path.relative_to(LIBRARY).with_suffix("").parts])
