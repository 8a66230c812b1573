"""Printed formulas: written from the claims, refused where they differ, missed where a mark is missing."""

import re

import nbformat
import pytest
from conftest import drawn

from tools import build, formulas
from tools.execute import all_chapters

RECORDS = {
    "rate": r"I(r) = \frac{r - 1 - \log{\left(r \right)}}{2}",
    "tail": r"\frac{1}{r}",
    "bound": r"\sum_{k=1}^{n} a_{k} \leq n",
    "matrix": r"A = \left[\begin{matrix}1 & 2\\3 & 4\end{matrix}\right]",
}
RATE = RECORDS["rate"]


def notebook(*texts):
    outputs = [
        nbformat.v4.new_output(
            "display_data",
            data={"text/plain": "✓"},
            metadata={"diffmem_claim": {"id": name, "tex": tex, "badge": "algebra"}},
        )
        for name, tex in RECORDS.items()
    ]
    prose = [nbformat.v4.new_markdown_cell(text, id=f"text-{n}") for n, text in enumerate(texts)]
    return nbformat.v4.new_notebook(cells=[*prose, nbformat.v4.new_code_cell("…", id="claims", outputs=outputs)])


def written(text):
    book = notebook(text)
    formulas.write(book)
    return book.cells[0].source


WRITTEN = {
    "replaced up to a full stop": ("$$\n% from rate\nI = 0.\n$$ (eq-rate)", f"$$\n% from rate\n{RATE}.\n$$ (eq-rate)"),
    "put in where nothing stands": ("$$\n% from rate\n$$ (eq-rate)", f"$$\n% from rate\n{RATE}\n$$ (eq-rate)"),
    "inline": ("So $% from rate\nI = 0$, and $x$.", f"So $% from rate\n{RATE}$, and $x$."),
    "inline where nothing stands": ("So $% from tail\n$ here.", "So $% from tail\n\\frac{1}{r}$ here."),
    "aligned": (
        "$$\n\\begin{aligned}\n% from bound aligned\nx \\\\\n% from tail aligned\n\\end{aligned}\n$$",
        "$$\n\\begin{aligned}\n% from bound aligned\n\\sum_{k=1}^{n} a_{k} &\\leq n \\\\\n"
        "% from tail aligned\n&= \\frac{1}{r}\n\\end{aligned}\n$$",
    ),
    "a matrix's rows are no line break": ("$$\n% from matrix\nA;\n$$", f"$$\n% from matrix\n{RECORDS['matrix']};\n$$"),
    "in a list": ("- so\n\n  $$\n  % from tail\n  0\n  $$", "- so\n\n  $$\n  % from tail\n  \\frac{1}{r}\n  $$"),
    "an unknown claim": ("$$\n% from nothing\nx\n$$", "$$\n% from nothing\nx\n$$"),
}


@pytest.mark.parametrize("case", WRITTEN)
def test_the_formula_is_written_after_its_mark(case):
    before, after = WRITTEN[case]
    assert written(before) == after
    assert written(after) == after


def test_what_was_written_does_not_differ():
    book = notebook(*(after for before, after in WRITTEN.values() if "nothing\nx" not in before))
    assert formulas.differences(book, book) == []
    assert len(formulas.expected(book, list(map(dict, ({"id": k, "tex": t} for k, t in RECORDS.items()))))) == 8


def test_a_difference_names_the_cell_what_stands_and_what_was_checked():
    book = notebook(f"$$\n% from rate\n{RATE.replace('- 1', '+ 1')}.\n$$")
    (line,) = formulas.differences(book, book)
    assert line == f"text-0: {RATE.replace('- 1', '+ 1')!r} stands there, claim 'rate' checked {RATE!r}"


def test_a_mark_of_a_claim_that_does_not_exist_is_a_difference():
    book = notebook("$$\n% from nothing\nx = 1\n$$")
    assert formulas.differences(book, book) == ["text-0: no claim 'nothing' has a formula, 'x = 1' stands there"]


STATEMENT = "```{prf:proposition} A bound\n:label: prop-bound\n\n%s\n```"
NEED = {
    "displayed": ("$$\nx = 1\n$$", 1),
    "displayed without a relation": ("$$\nx\n$$", 1),
    "displayed and marked": ("$$\n% defines\nx = 1\n$$", 0),
    "displayed on one line": ("so $$x = 1$$ holds", 1),
    "an environment": ("\\begin{align}\nx &= 1\n\\end{align}", 1),
    "a second line": (f"$$\n\\begin{{aligned}}\n% from rate aligned\n{RATE} \\\\\nx &= 2\n\\end{{aligned}}\n$$", 1),
    "a condition under a definition": (f"$$\n% from rate\n{RATE}\n% defines\n\\qquad r > 0\n$$", 0),
    "inline in the text": ("where $x = 1$", 0),
    "inline in a statement": (STATEMENT % "Then $x \\le 1$.", 1),
    "a symbol in a statement": (STATEMENT % "Let $x$ and $\\sum_{k=1}^n x_k$ be given.", 0),
    "marked in a statement": (STATEMENT % f"Then $% from rate\n{RATE}$.", 0),
    "marked within a paragraph": ("so\n$$\n% defines\nx = 1\n$$", 1),
    "marked after a paragraph": ("so\n\n$$\n% defines\nx = 1\n$$", 0),
    "marked at the head of a directive": ("```{prf:theorem} T\n:label: t\n$$\n% defines\nx = 1\n$$\n```", 0),
    "marked, a list to Markdown": ("so $% defines\n- x$ it is", 1),
    "in an exercise": ("````{exercise} E\n:label: ex-e\n\n$$\nx = 1\n$$\n````\n\n$y = 1$", 0),
    "after an exercise": ("````{exercise} E\n:label: ex-e\n\n$$\nx = 1\n$$\n````\n\n$$\ny = 1\n$$", 1),
    "in a gated solution": ("```{solution-start} ex-e\n```\n\n$$\nx = 1\n$$", 0),
    "in a proof": ("```{prf:proof}\nThen $x = 1$.\n```", 0),
    "in code": ("```python\nprice = '$$x = 1$$'\n```\nand `$$x = 1$$`", 0),
    "after dollars that are none": ("costs \\$5 and\n\n$$\nx = 1\n$$", 1),
    "no claim": ("$$\n% no claim: a limit of measures\nx = 1\n$$", 0),
    "no claim without a reason": ("$$\n% no claim:\nx = 1\n$$", 1),
    "a misspelt mark": ("$$\n% form rate\nx = 1\n$$", 2),
    "a mark outside of a formula": ("% from rate\nx = 1", 1),
}


@pytest.mark.parametrize("case", NEED)
def test_formulas_that_need_a_mark_are_found(case):
    text, faults = NEED[case]
    assert len(formulas.unmarked(notebook(text))) == faults, formulas.unmarked(notebook(text))


def test_a_gate_stays_open_until_it_is_closed():
    opened, inside = "```{solution-start} ex-e\n```", "$$\nx = 1\n$$"
    book = notebook(opened, inside, "```{solution-end}\n```", inside)
    assert [line.split(":")[0] for line in formulas.unmarked(book)] == ["text-3"]


def test_at_most_five_formulas_stand_without_a_claim():
    without = "$$\n% no claim: it is a limit\nx = 1\n$$\n\n"
    assert formulas.unmarked(notebook(5 * without)) == []
    assert formulas.unmarked(notebook(6 * without)) == ["6 formulas stand under 'no claim', 5 may"]


def test_counts():
    text = (
        f"$$\n% from rate\n{RATE}\n$$\n$% from tail\n\\frac{{1}}{{r}}$ $$\n% defines\nx\n$$ $$\n% no claim: why\ny\n$$"
    )
    assert formulas.counts(notebook(text)) == {"printed": 2, "exempt": 1, "defines": 1}


def test_formulas_without_a_claim_are_listed_with_the_reason():
    text = "$$\n% no claim: why\ny\n= 1\n$$ $$\n% defines\nx\n$$\n$$\n% no claim: a sum\n\\sum\n% from rate\nz\n$$"
    assert formulas.exempt(notebook(text)) == [("y = 1", "why"), (r"\sum z", "a sum")]


def planted(tex, rng):
    """A formula with another sign, or another factor."""
    signs = list(re.finditer(r"(?<=[\w})]) [+-] (?=[\w\\({])", tex))
    relation = re.search(r"(=|\\leq|\\geq|<|>|\\approx|\\sim) ", tex)
    at = relation.end() if relation else 0
    choices = [tex[:at] + "2 " + tex[at:], tex[:at] + "- " + tex[at:]]
    choices += [tex[: m.start()] + (" - " if "+" in m[0] else " + ") + tex[m.end() :] for m in signs]
    return rng.choice(choices)


@pytest.mark.parametrize("number", range(2))
def test_planted_signs_and_factors_stop_the_build(number):
    """Five formulas of the text of each of two chapters, drawn by the commit."""
    rng = drawn("planted")
    path = rng.sample(all_chapters(), 2)[number]
    book = nbformat.read(path, as_version=4)
    build.check_formulas({path: (book, book)})
    marks = formulas.expected(book, formulas.claims_of(book))
    assert marks
    for mark in rng.sample(marks, 5):
        wrong = planted(mark.checked, rng)
        text = nbformat.from_dict(book)
        cell = next(cell for cell in text.cells if cell.id == mark.cell)
        assert mark.checked in cell.source
        cell.source = cell.source.replace(mark.checked, wrong)
        with pytest.raises(build.ChaptersFailed) as refused:
            build.check_formulas({path: (text, book)})
        assert str(refused.value).startswith(f"{path.stem}, {mark.cell}: {wrong!r} stands there")
        assert f"claim {mark.claim!r} checked {mark.checked!r}" in str(refused.value)
        cell.source = cell.source.replace(wrong, mark.checked)
