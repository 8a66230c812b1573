"""Records: what a claim rests on is recorded from what was used, and a sentence can quote an earlier formula."""

import pytest
import sympy as sp

from diffmem_lib import claims
from diffmem_lib.claims import record
from diffmem_lib.theory import divergences

x, r = sp.symbols("x r", positive=True)
own = claims.by(claims.OWN, domain={r: (0.1, 0.9)})


@pytest.fixture(autouse=True)
def _nothing_used():
    record._uses.clear()


def test_a_formula_that_was_used_is_an_edge():
    first = own.equal("first", x + x, 2 * x)
    second = own.equal("second", first.formula**2, 4 * x**2)
    third = own.equal("third", x * x, x**2)
    assert first.record["rests_on"] == []
    assert second.record["rests_on"] == ["first"]
    assert third.record["rests_on"] == []


def test_a_function_rests_on_the_claim_that_it_implements():
    formula = (1 + (1 - r) / r * sp.log(1 - r)) / 2
    limit = own.implements("limit", formula, divergences.limit_kl, [r])
    assert limit.record["rests_on"] == []
    record.note("divergences.limit_kl")
    assert own.equal("next", x + x, 2 * x).record["rests_on"] == [], "algebra rests on no value of the library"
    verdict = record.Verdict(True, "", "", "", "", "", 0.1, "", {"w": record.Variant(False, "")})
    measured = [record.register(kind="agreement", id=id, whose="w", verdict=verdict, text="s") for id in ("one", "two")]
    assert [claim.record["rests_on"] for claim in measured] == [["limit"], []]


def test_a_sentence_quotes_a_formula():
    own.equal("quoted", x + x, "2*x", name="f")
    claim = own.equal("quotes", x * x, "x**2", text="as [[quoted]] says")
    assert claim.record["text"] == "as $f = 2 x$ says"
    assert claim.record["rests_on"] == ["quoted"]
    with pytest.raises(ValueError, match="names no earlier claim"):
        own.equal("quotes", x * x, "x**2", text="as [[nowhere]] says")


@pytest.mark.parametrize("id", ["", "Upper", "under_score", "-x", "a--b"])
def test_ids(id):
    with pytest.raises(ValueError, match="id must be"):
        own.equal(id, x + x, 2 * x)


def test_without_a_wrong_variant_nothing_is_claimed():
    verdict = record.Verdict(True, "", "", "", "", "", 0.1, "", variants={})
    with pytest.raises(ValueError, match="at least one wrong variant"):
        record.register(kind="agreement", id="bare", whose="w", verdict=verdict, text="s")


def test_a_survivor_refuses_the_claim():
    verdict = record.Verdict(True, "", "", "", "", "", 0.1, "", {"w": record.Variant(False, "")}, None, ("x + 1",))
    with pytest.raises(claims.ClaimRefused, match=r"mutant x \+ 1"):
        record.register(kind="equal", id="survivor", whose="w", verdict=verdict, text="s")


def test_the_line_has_no_time_and_is_said_once(capsys):
    claim = own.equal("double", x + x, "2*x", name="f(x)", text="twice")
    claim._ipython_display_()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("✓ algebra  twice: f(x) = 2*x: zero at 12 points in 50 digits, ")
    assert {"seconds", "rests_on", "domain", "mutants", "whose"} <= claim.record.keys()


def test_a_notebook_s_output_carries_record_and_both_texts(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.get_ipython", lambda: object())
    monkeypatch.setattr("IPython.display.display", lambda data, raw, metadata: shown.append((data, metadata)))
    claim = own.equal("double", x + x, "2*x", name="f(x)")
    ((data, metadata),) = shown
    assert metadata == {claims.METADATA_KEY: dict(claim.record)}
    assert data["text/plain"].startswith("✓ algebra  f(x) = 2*x: ")
    assert data["text/markdown"].startswith(
        '<span class="diffmem-claim" data-claim="double"></span>✓ *algebra* $f(x) = 2 x$: '
    )
