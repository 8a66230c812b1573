"""Plant an error in every formula of `theory`, one at a time, and see the chapter that derives it refuse.

    python -m tools.mutants [module ...] [--list]
    python -m tools.mutants --derivations [chapter ...] [--every K] [--list]

A mutant exchanges + and −, × and ÷, drops a sign or a power, or doubles a constant. Lines that check arguments or raise
are left alone, and so are lines that end in `# numerics`: they say how a number is found, not which.
Each chapter is run once, and its exact claims are judged against every mutant as they are made (``tools.planted``);
for a mutant that they all accept, the chapters are run as a whole until one refuses.
With ``--derivations`` the same is done to the lines of a chapter's derivations, the cells tagged sympy, run alone: a
mutant that all their claims survive means that nothing checks the line.
"""

from __future__ import annotations

import argparse
import ast
import copy
import json
import math
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nbformat

from tools.derivations import cells_of, run_alone, variants_that_end
from tools.execute import CHAPTERS, ROOT, ChapterFailed, all_chapters, chapter_path, execute

THEORY = ROOT / "diffmem_lib" / "theory"
#: Mutants that are no errors: module, line and change → why.
EQUAL = {
    (
        "coverage",
        "zeta = z * math.sqrt(share) + math.sqrt(1 - share) * nodes",
        "z * math.sqrt(share) + math.sqrt(1 - share) * nodes → z * math.sqrt(share) - math.sqrt(1 - share) * nodes",
    ): "the nodes of the quadrature lie symmetrically about 0",
    (
        "flow",
        "gone = -np.expm1(-clock * noised)",
        "-np.expm1(-clock * noised) → np.expm1(-clock * noised)",
    ): "it is squared",
    ("flow", "while slope(late) < 0:", "0 → 1"): "where the bracket of a root ends",
    (
        "flow",
        "turned = 2 * np.arctan2(closer * np.sin(angle), np.cos(angle))",
        "2 → 4",
    ): "the path runs around twice, each step with the weight for once: the same integral",
    (
        "hermite",
        "swap = low > 0  # differences of the smaller tails: those of the larger would cancel",
        "0 → 1",
    ): "where the tails are exchanged changes the rounding only",
    (
        "hermite",
        "at_zero = hermite_coefficients(lambda y: np.square(activation(y)), 0)",
        "0 → 1",
    ): "one coefficient more than is used",
    (
        "hermite",
        "return float((hermite_coefficients(over_gaussian, 0) - at_zero)[0])",
        "0 → 1",
    ): "one coefficient more than is used",
    (
        "sgd_dynamics",
        "return np.array([hermite_coefficients(product, 0)[0] for product in products])",
        "0 → 1",
    ): "one coefficient more than is used",
}
OPERATORS = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult}


@dataclass(frozen=True)
class Mutant:
    """One module with one error in it."""

    path: Path
    line: int
    change: str
    source: str

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}: {self.change}"


@dataclass(frozen=True)
class DerivationMutant:
    """A cell of a chapter's derivations with one error in it."""

    path: Path
    cell: str
    line: int
    change: str
    source: str

    def __str__(self) -> str:
        return f"{self.path.stem}, {self.cell}, line {self.line}: {self.change}"


def _mutation(node: ast.AST) -> ast.expr | None:
    """A wrong variant of an expression, or None if there is nothing to change at this node."""
    if isinstance(node, ast.BinOp) and type(node.op) in OPERATORS:
        return ast.BinOp(node.left, OPERATORS[type(node.op)](), node.right)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return node.operand
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return ast.Constant(2 * node.value if node.value else 1)
    return None


class _Formulas(ast.NodeVisitor):
    """Collects the nodes of formulas inside functions, skipping what only checks, indexes or annotates."""

    def __init__(self, skipped_lines: set[int]) -> None:
        self.nodes: list[ast.AST] = []
        self.skipped = skipped_lines
        self.inside = False

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        outer, self.inside = self.inside, True
        for statement in node.body:
            self.visit(statement)
        self.inside = outer

    def visit_Raise(self, node: ast.Raise) -> None:
        """What an error says is not a formula."""

    def visit_If(self, node: ast.If) -> None:
        if not all(isinstance(statement, ast.Raise) for statement in node.body):
            self.visit(node.test)
        for statement in [*node.body, *node.orelse]:
            self.visit(statement)

    def visit_Call(self, node: ast.Call) -> None:
        if isinstance(node.func, ast.Attribute) and ast.unparse(node.func).startswith("_checks."):
            return
        self.visit(node.func)
        for argument in node.args:
            self.visit(argument)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.visit(node.value)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value:
            self.visit(node.value)

    def generic_visit(self, node: ast.AST) -> None:
        if self.inside and _mutation(node) is not None and node.lineno not in self.skipped:
            self.nodes.append(node)
        super().generic_visit(node)


class _Derivation(_Formulas):
    """Collects the nodes of a derivation: of a claim only what was derived, nothing of what declares or displays."""

    CLAIMS = frozenset(("agreement", "equal", "exceeds", "exponent", "implements", "values"))
    DECLARE = frozenset(("Function", "Symbol", "by", "display", "range", "show", "symbols"))

    def __init__(self, skipped_lines: set[int]) -> None:
        super().__init__(skipped_lines)
        self.inside = True

    def visit_Call(self, node: ast.Call) -> None:
        name = ast.unparse(node.func).rpartition(".")[2]
        if name == "equal":
            self.visit(node.args[1])
        elif name not in self.CLAIMS | self.DECLARE:
            super().visit_Call(node)


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Every mutant of a module, in the order of its lines, without those that are no errors."""
    text = path.read_text()
    lines = text.splitlines()
    for line, change, source in _mutations(text, _Formulas):
        if (path.stem, lines[line - 1].strip(), change) not in EQUAL:
            yield Mutant(path, line, change, source)


def derivation_mutants(chapter: Path) -> Iterator[DerivationMutant]:
    """Every mutant of a chapter's derivations, in the order of the cells."""
    for cell, text in cells_of(chapter).items():
        for line, change, source in _mutations(text, _Derivation):
            yield DerivationMutant(chapter, cell, line, change, source)


def _mutations(text: str, visitor: type[_Formulas]) -> Iterator[tuple[int, str, str]]:
    """Line, change and source of each mutant of a piece of code."""
    tree = ast.parse(text)
    skipped = {number for number, line in enumerate(text.splitlines(), 1) if line.rstrip().endswith("# numerics")}
    formulas = visitor(skipped)
    formulas.visit(tree)
    order = {id(node): position for position, node in enumerate(ast.walk(tree))}
    for node in sorted(formulas.nodes, key=lambda n: (n.lineno, n.col_offset)):
        mutated = copy.deepcopy(tree)
        target = list(ast.walk(mutated))[order[id(node)]]
        wrong = _mutation(target)

        class Replace(ast.NodeTransformer):
            def visit(self, n: ast.AST, target: ast.AST = target, wrong: ast.expr = wrong) -> ast.AST:
                return wrong if n is target else self.generic_visit(n)

        source = ast.unparse(ast.fix_missing_locations(Replace().visit(mutated)))
        yield node.lineno, f"{ast.unparse(node)} → {ast.unparse(wrong)}", source


def _imported(code: str) -> set[str]:
    """Names of theory modules that a piece of code mentions."""
    listed = re.findall(r"from diffmem_lib\.theory import (?:\(([^)]+)\)|([\w, ]+))", code)
    names = {name.strip() for pair in listed for names in pair for name in names.split(",")} - {""}
    return names | set(re.findall(r"theory\.(\w+)", code))


def chapters_of(path: Path) -> list[Path]:
    """The chapters that use a theory module, directly or through another one."""
    users, names = {path.stem}, set()
    while names != users:
        names = set(users)
        users |= {p.stem for p in THEORY.glob("*.py") if p.stem != "__init__" and names & _imported(p.read_text())}
    found = []
    for chapter in sorted(CHAPTERS.glob("*.ipynb")):
        code = "\n".join(c.source for c in nbformat.read(chapter, as_version=4).cells if c.cell_type == "code")
        if names & _imported(code):
            found.append(chapter)
    # Those that name the module itself come first: they are the likeliest to refuse.
    return sorted(found, key=lambda c: path.stem not in _imported(c.read_text()))


def refusal(path: Path, source: str, chapter: Path) -> str | None:
    """Run a chapter on a copy of the library in which the module at ``path`` reads ``source``: its error, or None."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "diffmem_lib", Path(folder) / "diffmem_lib")
        (Path(folder) / path.relative_to(ROOT)).write_text(source)
        try:
            execute(chapter, environment={"PYTHONPATH": folder, "OMP_NUM_THREADS": "1"}, timeout=300)
        except ChapterFailed as error:
            return str(error)
    return None


def refused_by_exact_claims(chapter: Path, wanted: dict[str, list[int]]) -> dict[str, dict[str, str]]:
    """Module → number of a mutant in its list → the claim of a chapter that refuses it, in one run of the chapter."""
    notebook = execute(
        chapter,
        environment={"OMP_NUM_THREADS": "1"},
        before=f"from tools import planted\nplanted.watch({wanted!r})\ndel planted",
        after="from tools import planted\nprint(planted.report())",
        timeout=7200,  # of a cell: its claims are judged once for each mutant
    )
    return json.loads(notebook.cells[-1].outputs[0].text)


def caught(mutant: Mutant) -> str | None:
    """The first refusal of a mutant by one of its chapters, or None if it survives them all."""
    for chapter in chapters_of(mutant.path):
        said = refusal(mutant.path, mutant.source, chapter)
        if said is not None:
            return f"{chapter.stem}: {said}"
    return None


def refused_alone(chapter: Path, every: int = 1) -> Iterator[tuple[DerivationMutant, bool]]:
    """Each mutant of a chapter's derivations, or one of ``every``, and whether they do not come to their end with it.

    Many a wrong integral is never done: what takes three times as long as the derivations as they are does not end.
    """
    start = time.perf_counter()
    alone = run_alone(list(cells_of(chapter).values()))
    if alone.returncode:  # it would refuse every mutant too
        raise ChapterFailed(f"the derivations of {chapter.stem} do not run alone:\n{alone.stderr}")
    patience = 10 + 3 * math.ceil(time.perf_counter() - start)
    cells = list(cells_of(chapter))
    mutants = list(derivation_mutants(chapter))[::every]
    by_cell = {k: [mutant for mutant in mutants if mutant.cell == name] for k, name in enumerate(cells)}
    variants = {k: [mutant.source for mutant in found] for k, found in by_cell.items()}
    for cell, variant, ended in variants_that_end(list(cells_of(chapter).values()), variants, patience):
        yield by_cell[cell][variant], not ended


def try_formulas(modules: Sequence[str]) -> int:
    """Report the mutants of modules of theory that survive all chapters; 1 if there are any."""
    left = {name: dict(enumerate(mutants_of(THEORY / f"{name}.py"))) for name in modules}
    total = sum(map(len, left.values()))
    users = {name: chapters_of(THEORY / f"{name}.py") for name in modules}
    chapters = sorted(set().union(*users.values()))

    def judged(chapter: Path) -> dict[str, dict[str, str]] | str:
        wanted = {name: sorted(left[name]) for name in modules if chapter in users[name]}
        try:
            return refused_by_exact_claims(chapter, wanted)
        except ChapterFailed as error:
            return str(error)

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for chapter, found in zip(chapters, pool.map(judged, chapters), strict=True):
            if isinstance(found, str):  # it would refuse every mutant too
                print(f"{chapter.stem} refuses the formulas as they are: {found}", file=sys.stderr)
                return 1
            new = [left[name].pop(int(k)) for name in found for k in found[name] if int(k) in left[name]]
            print(f"{chapter.stem}: its exact claims refuse {len(new)} more", flush=True)
        rest = [mutant for mutants in left.values() for mutant in mutants.values()]
        print(f"{total - len(rest)} of {total} are refused by exact claims; the others need whole runs", flush=True)
        survivors = 0
        for number, (mutant, said) in enumerate(zip(rest, pool.map(caught, rest), strict=True), 1):
            survivors += said is None
            print(f"[{number}/{len(rest)}] {'SURVIVES' if said is None else 'refused '} {mutant}", flush=True)
    print(f"{total - survivors} of {total} mutants were refused")
    return 1 if survivors else 0


def try_derivations(chapters: list[Path], every: int, only_list: bool) -> int:
    """Report the mutants of derivations that survive all claims; 1 if there are any."""
    mutants = [mutant for chapter in chapters for mutant in list(derivation_mutants(chapter))[::every]]
    if only_list:
        print("\n".join(map(str, mutants)))
        return 0
    survivors = number = 0
    for chapter in chapters:
        try:
            for mutant, refused in refused_alone(chapter, every):
                number += 1
                survivors += not refused
                print(f"[{number}/{len(mutants)}] {'refused ' if refused else 'SURVIVES'} {mutant}", flush=True)
        except ChapterFailed as error:
            print(error, file=sys.stderr)
            return 1
    print(f"{len(mutants) - survivors} of {len(mutants)} mutants of derivations were refused")
    return 1 if survivors else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.mutants", description="Plant an error in every formula and see its chapter refuse it."
    )
    known = sorted(p.stem for p in THEORY.glob("*.py") if p.stem != "__init__")
    parser.add_argument("modules", nargs="*", help=f"of {', '.join(known)} (default: all with a chapter)")
    parser.add_argument("--list", action="store_true", help="only list the mutants")
    parser.add_argument("--derivations", action="store_true", help="of chapters: in their cells tagged sympy")
    parser.add_argument("--every", type=int, default=1, metavar="K", help="of derivations only each K-th")
    arguments = parser.parse_args()
    if arguments.every < 1:
        parser.error(f"argument --every: must be 1 or more, got {arguments.every}")
    if arguments.derivations:
        paths = [chapter_path(name) for name in arguments.modules] or all_chapters()
        return try_derivations(paths, arguments.every, arguments.list)
    unknown = set(arguments.modules) - set(known)
    if unknown:
        parser.error(f"no module {', '.join(sorted(unknown))} in theory; there are: {', '.join(known)}")
    names = arguments.modules or known
    if arguments.list:
        print("\n".join(str(m) for name in names for m in mutants_of(THEORY / f"{name}.py")))
        return 0
    return try_formulas(names)


if __name__ == "__main__":
    sys.exit(main())
