"""Link each term of the glossary at its first use in a chapter, with its definition as the link's title.

A chapter that sets a link by hand, with the role ``term``, is left to it: there the first use may mean something else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx

GLOSSARY = "book/glossary"
#: Where no link is put: headings, what is one already, and what is no prose.
CLOSED = (
    nodes.title,
    nodes.rubric,
    nodes.caption,
    nodes.reference,
    nodes.literal,
    nodes.literal_block,
    nodes.math,
    nodes.math_block,
    nodes.raw,
    nodes.comment,
    addnodes.pending_xref,
)


def definitions(app: Sphinx) -> dict[str, tuple[str, str]]:
    """Term → its anchor on the page of the glossary, and what it means in one line."""
    found = {}
    for item in app.env.get_doctree(GLOSSARY).findall(nodes.definition_list_item):
        term, meaning = item.next_node(nodes.term), item.next_node(nodes.definition)
        found[term.astext()] = term["ids"][0], " ".join(meaning.astext().split())
    return found


def pattern(term: str) -> re.Pattern[str]:
    """A term as it stands in prose, the plural included."""
    return re.compile(rf"(?<![\w-]){re.escape(term)}s?(?![\w-])", re.IGNORECASE)


def _prose(doctree: nodes.document) -> Iterator[nodes.Text]:
    """The texts of a page that may hold a link, in their order; outputs of cells are not its prose."""

    def open_to_links(node: nodes.Node) -> bool:
        return not isinstance(node, CLOSED) and "cell_output" not in getattr(node, "get", lambda *_: "")("classes", "")

    def walk(node: nodes.Node) -> Iterator[nodes.Text]:
        if isinstance(node, nodes.Text):
            yield node
        elif open_to_links(node):
            for child in node.children:
                yield from walk(child)

    yield from walk(doctree)


def link_terms(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Put the links into a chapter once every reference in it is resolved."""
    if not docname.startswith("chapters/") or GLOSSARY not in app.env.found_docs:
        return
    address = app.builder.get_relative_uri(docname, GLOSSARY)
    known = definitions(app)
    by_hand = {node["refuri"].partition("#")[2] for node in doctree.findall(nodes.reference) if "refuri" in node}
    # Longer terms first: the diffusion information exponent is no exponent of information.
    for term in sorted(known, key=len, reverse=True):
        anchor, meaning = known[term]
        if anchor in by_hand:
            continue
        for text in _prose(doctree):
            if match := pattern(term).search(text.astext()):
                link = nodes.reference("", match[0], internal=True, refuri=f"{address}#{anchor}", reftitle=meaning)
                link["classes"].append("dm-term")
                before, after = text.astext()[: match.start()], text.astext()[match.end() :]
                parts = [nodes.Text(before), link, nodes.Text(after)]
                text.parent.replace(text, [part for part in parts if part.astext()])
                break


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-resolved", link_terms, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
