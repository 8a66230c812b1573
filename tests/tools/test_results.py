"""The index of results and claims.json, from notebooks with records made by hand."""

import json

import nbformat
import pytest

from tools.results import METADATA_KEY, arcs, claims_json, entries_of, headlines, mutants_line, results_page


def record(id, badge="data", kind="agreement", rests_on=(), function="", **more):
    return {
        "id": id,
        "kind": kind,
        "badge": badge,
        "text": f"the sentence of ${id}$",
        "tex": "",
        "sympy": "",
        "whose": "own derivation",
        "domain": {},
        "function": function,
        "prediction": "1.0",
        "measurement": "1.01(2)",
        "error": "0.5 resolutions off",
        "resolution": 0.03,
        "points": "40 replicas",
        "variants": {"doubled": "30 resolutions off"},
        "mutants": None,
        "tier": "stored" if badge == "stored" else "live",
        "rests_on": list(rests_on),
        "verdict": "holds",
        "seconds": 1.5,
        **more,
    }


def notebook(*records):
    cells = [nbformat.v4.new_markdown_cell("# A title", id="title")]
    for number, made in enumerate(records):
        line = f"✓ *{made['badge']}* {made['text']}: measured 1.01(2)"
        data = {"text/plain": line, "text/markdown": line}
        output = nbformat.v4.new_output("display_data", data, metadata={METADATA_KEY: made})
        cells.append(nbformat.v4.new_code_cell("", id=f"cell-{number}", outputs=[output]))
    return nbformat.v4.new_notebook(cells=cells)


@pytest.fixture
def book():
    """A chapter that holds a function by a stored claim, and one that uses it through two others."""
    first = notebook(record("held", "stored"), record("computed", "library", "implements", ["held"], "kde.f"))
    second = notebook(record("used", rests_on=["kde.f"]), record("after", rests_on=["used", "linear.g"]))
    return {"first_one": first, "second": second}


def test_a_use_of_a_function_is_an_edge_to_the_claim_that_holds_it(book):
    used, after = entries_of(book)["second"]
    assert used.rests_on == ["first_one/computed"]
    assert after.rests_on == ["linear.g", "second/used"]


def test_the_file_has_no_times_and_says_what_a_claim_comes_from_in_the_end(book):
    def origins():
        return {claim["id"]: claim["origins"] for claim in json.loads(claims_json(book))["claims"]}

    text = claims_json(book)
    assert origins() == {key: ["stored"] for key in ("held", "computed", "used", "after")}
    assert "seconds" not in text
    for cell in book["second"].cells[1:]:
        cell.outputs[0].metadata[METADATA_KEY]["seconds"] = 99.0
    assert claims_json(book) == text
    book["first_one"].cells[1].outputs[0].metadata[METADATA_KEY]["tier"] = "live"
    assert origins() == {key: [] for key in ("held", "computed", "used", "after")}
    book["first_one"].cells[2].outputs[0].metadata[METADATA_KEY]["quoted"] = True
    book["second"].cells[1].outputs[0].metadata[METADATA_KEY]["asymptotic"] = True
    assert origins() == {
        "held": [],
        "computed": ["quoted"],
        "used": ["asymptotic", "quoted"],
        "after": ["asymptotic", "quoted"],
    }


def test_figures_are_what_follows_the_sentence(book):
    assert entries_of(book)["second"][0].line == "measured 1.01(2)"


def test_headlines_name_claims_that_exist(book):
    every = {entry.key: entry for entries in entries_of(book).values() for entry in entries}
    line = headlines([{"claim": "second/used", "sentence": "It holds."}], every)
    assert "It holds. *measured 1.01(2).*" in line
    assert "(#result-second-used)" in line
    with pytest.raises(ValueError, match="headline 1 names no claim of the book: 'second/gone'"):
        headlines([{"claim": "second/gone", "sentence": "It is gone."}], every)
    assert headlines([], every) == ""


def test_arcs_lead_to_every_claim_that_is_used(book):
    found = entries_of(book)
    every = {entry.key: entry for entries in found.values() for entry in entries}
    drawn = arcs(found["second"], every)
    assert drawn.count("<path") == 2
    assert [drawn.count(f">{name}<") for name in ("first_one/computed", "used", "after", "linear.g")] == [1, 1, 1, 0]
    assert arcs(found["first_one"][:1], every) == ""


@pytest.mark.parametrize(
    ("counts", "line"),
    [
        ((12, 12, 11, 1, 0), "11 of 11 refused, 1 equal to the truth"),
        ((90, 20, 17, 1, 2), "17 of 17 refused, 1 equal to the truth, 2 could not be evaluated, drawn from 90"),
    ],
)
def test_mutants_in_words(counts, line):
    assert mutants_line(dict(zip(("made", "tried", "refused", "equal", "unevaluated"), counts, strict=True))) == line


def test_the_page_counts_and_lists(book):
    executed = {name: (chapter, 10.0) for name, chapter in book.items()}
    counts = {"first_one": {"printed": 3}, "second": {"printed": 4}}
    page = results_page(
        executed,
        counts=counts,
        exempt={"second": [("x = 1", "a theorem")]},
        simulated={"kde.g": ["second/used"]},
        not_simulated={"kde.f": "only a bound"},
    )
    assert "- [](../chapters/second.ipynb), a theorem:\n\n  $$\n  x = 1\n  $$\n" in page
    assert "| `kde.g` | [second/used](#result-second-used) |" in page
    assert "| chapter | algebra | library | data | stored | printed | seconds |" in page
    assert "| all | 0 | 1 | 2 | 1 | 7 | 20 |" in page
    assert "- `kde.f`: only a bound" in page
    assert page.count("::::{dropdown}") == 4
    assert ":name: result-first-one-held" in page
