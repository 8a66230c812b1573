"""The built book in a real browser, from disk, with the network shut."""

import functools
import http.server
import threading

import pytest
from visiting import CHAPTERS, PAGES, Visit

pytestmark = pytest.mark.browser
PHONE = {"width": 390, "height": 844}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_from_disk(browser, site, name):
    """Every formula rendered, no error on the console, no request leaves."""
    with Visit(browser, f"file://{site / name}") as visit:
        formulas = visit.page.locator(".math").count()
        assert visit.page.locator(".math mjx-container").count() >= formulas
        assert visit.page.locator("mjx-merror, [data-mjx-error]").count() == 0
        # An unknown macro is no error to MathJax: it shows the macro's name in red.
        assert visit.page.locator("mjx-container [fill='red'], mjx-container [mathcolor='red']").count() == 0
        assert "\\(" not in visit.page.locator("main").inner_text().replace("\\(\\)", "")
        assert visit.errors == []
        assert visit.left_the_site() == []


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("mode", ["light", "dark"])
def test_a_page_on_a_phone(browser, site, name, mode):
    """Nothing scrolls sideways; text stands out from its background in both modes."""
    with Visit(browser, f"file://{site / name}", viewport=PHONE, color_scheme=mode) as visit:
        assert visit.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
        assert visit.page.evaluate("document.documentElement.dataset.theme") == mode
        contrast = visit.page.evaluate(
            """() => {
                const level = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(Number).map(u => u / 255)
                    .map(u => u <= .03928 ? u / 12.92 : ((u + .055) / 1.055) ** 2.4);
                    return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
                const text = level(getComputedStyle(document.querySelector('article p, article h1')).color);
                const back = level(getComputedStyle(document.body).backgroundColor);
                return (Math.max(text, back) + .05) / (Math.min(text, back) + .05); }"""
        )
        assert contrast > 7
        narrowed = visit.page.locator("div.math:has(> .eqno)").evaluate_all(
            "boxes => boxes.filter(b => b.querySelector('mjx-container').offsetWidth < b.clientWidth).map(b => b.id)"
        )
        assert narrowed == []  # by the number of the equation


@pytest.mark.parametrize("name", CHAPTERS)
def test_buttons_can_be_seen(browser, site, name):
    with Visit(browser, f"file://{site}/chapters/{name}.html", viewport={"width": 1200, "height": 900}) as visit:
        for label in ("Launch interactive content", "Source repositories", "Download this page", "Fullscreen mode"):
            assert visit.page.locator(f"[aria-label='{label}'], [title='{label}']").first.is_visible(), label


def test_search_from_disk(browser, site):
    with Visit(browser, f"file://{site}/search.html?q=participation") as visit:
        visit.page.wait_for_selector("#search-results li a", timeout=20_000)
        links = visit.page.locator("#search-results li a").evaluate_all("links => links.map(link => link.href)")
        assert any("perfect_denoiser" in link for link in links), links
        assert visit.left_the_site() == []


def test_search_served(browser, site):
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        context = browser.new_context()
        page = context.new_page()
        page.goto(f"{address}/search.html?q=participation")
        page.wait_for_selector("#search-results li a", timeout=20_000)
        page.locator("#search-results li a").first.click()
        page.wait_for_load_state()
        assert page.locator("article h1").count() == 1
        context.close()
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        """No line for each request."""


def test_the_first_page_leads_to_the_book(browser, site):
    context = browser.new_context(offline=True)
    page = context.new_page()
    page.goto(f"file://{site / 'index.html'}", wait_until="commit")
    page.wait_for_url("**/book/intro.html")
    assert "memorize" in page.locator("article h1").inner_text()
    context.close()


#: Link and position of each heading in the contents of the page, and the links that are marked.
CONTENTS = """() => {
    const links = [...document.querySelectorAll(".bd-toc-nav a.nav-link")];
    const top = link => document.getElementById(decodeURIComponent(link.hash.slice(1))).getBoundingClientRect().top;
    const marked = links.filter(link => link.matches(".active"));
    return {tops: links.map(link => [link.hash, top(link)]), marked: marked.map(link => link.hash),
            current: links.filter(link => link.ariaCurrent).map(link => link.hash)}; }"""


@pytest.mark.parametrize("depth", ["read", "run"])
@pytest.mark.parametrize("name", CHAPTERS)
def test_the_contents_mark_the_heading_that_one_is_under(browser, site, name, depth):
    with Visit(browser, f"file://{site}/chapters/{name}.html", viewport={"width": 1400, "height": 900}) as visit:
        visit.page.check(f".dm-depth [value={depth}]")
        height = visit.page.evaluate("document.documentElement.scrollHeight")
        for k in range(12):
            visit.page.evaluate(f"scrollTo(0, {k * (height - 1800) // 11})")
            visit.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            found = visit.page.evaluate(CONTENTS)
            above = [link for link, top in found["tops"] if top <= 0.3 * 900]
            assert found["current"] == above[-1:]
            assert found["marked"][-1:] == above[-1:]
        visit.page.evaluate(f"scrollTo(0, {height})")
        visit.page.wait_for_function("document.querySelector('.bd-toc-nav li:last-child > a[aria-current]')")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_on_paper(browser, site, name):
    """A4 with its margins: nothing is cut at the right edge, and a fold is its one line, open or not."""
    with Visit(browser, f"file://{site / name}", viewport={"width": 658, "height": 1000}) as visit:
        visit.page.evaluate("document.querySelectorAll('article details').forEach(fold => (fold.open = true))")
        visit.page.emulate_media(media="print")
        cut = visit.page.evaluate(
            """() => [...document.querySelectorAll("article :is(pre, table, figure, img, svg, p, li, dt, dd)")]
                .filter(box => box.checkVisibility() && !box.closest("mjx-assistive-mml"))
                .filter(box => box.getBoundingClientRect().right > 659 || box.scrollWidth > box.clientWidth + 1
                    && box.clientWidth && /auto|scroll|hidden/.test(getComputedStyle(box).overflowX))
                .map(box => box.tagName + " " + box.textContent.trim().slice(0, 60))"""
        )
        assert cut == []
        shown = visit.page.locator("article details > :not(summary)").evaluate_all(
            "parts => parts.filter(part => part.checkVisibility()).map(part => part.textContent.slice(0, 60))"
        )
        assert shown == []
