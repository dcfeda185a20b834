"""The pages as people use them, in Chromium driven by Playwright: at night, as it is large."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from engines import skip_or_fail
from preflight.model.report import (
    MemoryBreakdown,
    MemoryConstraint,
    Report,
    ResolvedFix,
    Result,
    ServiceMemory,
)
from preflight.render import RenderOptions, load_renderer
from report_readers import AXE, BREAKING_OUT, CACHE
from reports import hosts, render_hosts, report_with_hostile_text

sync_api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.nightly

GIB = 2**30
PLAIN, ALL, QUIET = RenderOptions(), RenderOptions(verbose=True), RenderOptions(quiet=True)


class Visit(NamedTuple):
    """A page, and what it did that it shouldn't."""

    page: Any
    console: list[str]
    requests: list[str]
    dialogs: list[str]

    def did_nothing_else(self) -> bool:
        assert (self.console, self.dialogs) == ([], [])
        assert self.requests == [self.page.url.partition("#")[0]]
        assert self.page.evaluate("typeof window.owned") == "undefined"
        return True

    def texts(self, selector: str) -> list[str]:
        found = self.page.locator(selector).all_inner_texts()
        return [" ".join(text.split()) for text in found]


def page_of(report: Report, options: RenderOptions = PLAIN) -> str:
    return load_renderer("html")(report, options)


def changed(report: Report, id_: str, **fields: Any) -> Report:
    results = [one._replace(**fields) if one.id == id_ else one for one in report.results]
    return report._replace(results=tuple(results))


def rules(report: Report, verdict: str, count: int) -> tuple[Result, ...]:
    (one,) = [one for one in report.results if one.id == "host-memory"]
    made_ = one._replace(verdict=verdict, fixes=one.fixes if verdict == "fail" else ())
    return tuple(
        made_._replace(title=f"Rule {n}", section=f"Section {n // 500}") for n in range(count)
    )


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    program = shutil.which("chromium")
    if program is None:
        skip_or_fail("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Iterator[Callable[..., Visit]]:
    """Open a report, or a page, as the file that `check -f html:FILE` writes."""
    contexts = []

    def open_(
        report: Report | str, options: RenderOptions = PLAIN, **context_options: Any
    ) -> Visit:
        file = tmp_path / "report.html"
        text = report if isinstance(report, str) else load_renderer("html")(report, options)
        file.write_text(text, encoding="ascii")
        context = browser.new_context(**context_options)
        contexts.append(context)
        page = context.new_page()
        told = Visit(page, [], [], [])
        page.on("console", lambda message: told.console.append(message.text))
        page.on("pageerror", lambda fault: told.console.append(str(fault)))
        page.on("request", lambda request: told.requests.append(request.url))
        page.on("dialog", lambda dialog: (told.dialogs.append(dialog.message), dialog.dismiss()))
        page.goto(file.as_uri())
        return told

    yield open_
    for context in contexts:
        context.close()


WIDTHS = (375, 768, 1280, 1920)


def test_it_opens_without_a_word_and_loads_nothing(
    visit: Callable[..., Visit], report: Report
) -> None:
    assert visit(report).did_nothing_else()


def test_hostile_text_does_nothing(visit: Callable[..., Visit], all_hostile: Report) -> None:
    opened = visit(all_hostile, RenderOptions(verbose=True))
    opened.page.locator("body").hover()
    assert opened.did_nothing_else()


@pytest.mark.parametrize("text", BREAKING_OUT.values(), ids=BREAKING_OUT)
def test_what_would_break_out_is_shown(visit: Callable[..., Visit], text: str) -> None:
    opened = visit(page_of(report_with_hostile_text(text), RenderOptions(verbose=True)))
    assert opened.did_nothing_else()
    assert opened.texts(".tasks li.fail h3 > span:last-child")[0] == " ".join(text.split())


def test_its_policy_holds_what_would_get_in_all_the_same(
    visit: Callable[..., Visit], report: Report
) -> None:
    inside = (
        "<script>window.owned = 1</script><img src='https://example.org/x.png' onerror='owned = 1'>"
        "<style>h1 { display: none }</style><form action='https://example.org/'></form></body>"
    )
    opened = visit(page_of(report).replace("</body>", inside))
    assert opened.page.evaluate("typeof window.owned") == "undefined"
    assert opened.page.locator("h1").is_visible()
    refused = " ".join(opened.console)
    assert all(kind in refused for kind in ("script", "image", "style"))


def test_only_web_addresses_are_links(visit: Callable[..., Visit], report: Report) -> None:
    good = {
        "https://example.org/a?b=c&d=%20#e": "https://example.org/a?b=c&d=%20#e",
        "HTTP://example.org/": "http://example.org/",
        "https://example.org/\u540d \"'<>": "https://example.org/%E5%90%8D%20%22'%3C%3E",
        "https://[::1]:8080/": "https://[::1]:8080/",
    }
    bad = [
        "javascript:owned=1",
        "file:///etc/passwd",
        "data:text/html,x",
        "//evil.example",
        " java",
    ]
    fixes = tuple(
        ResolvedFix("x", None, url) for url in (*good, *bad, f"https://e.org/{'x' * 1000}")
    )
    opened = visit(changed(report, "host-memory", fixes=fixes))
    links = opened.page.locator("a:not([href^='#'])")
    assert links.evaluate_all("all => all.map(one => one.href)") == list(good.values())
    assert set(links.evaluate_all("all => all.map(one => one.rel)")) == {"noopener noreferrer"}


COMMANDS = (
    "free -h",
    "docker compose down\ndocker compose up -d",
    "echo \"$HOME\" '<&>' `id` \\\n  | grep -v '</code>' && true",
    "\n# after an empty line",
)


def with_commands(report: Report) -> Report:
    fixes = tuple(ResolvedFix("Do this:", command) for command in COMMANDS)
    results = [one for one in report.results if one.id == "host-memory"]
    return changed(report._replace(results=tuple(results)), "host-memory", fixes=fixes)


def clipboard(opened: Visit) -> str:
    opened.page.context.grant_permissions(["clipboard-read"])
    text = opened.page.evaluate("navigator.clipboard.readText()")
    assert isinstance(text, str)
    return text


def test_the_button_copies_exactly_the_command(visit: Callable[..., Visit], report: Report) -> None:
    opened = visit(with_commands(report))
    buttons = opened.page.locator("button.copy")
    assert buttons.count() == len(COMMANDS)
    for number, command in enumerate(COMMANDS):
        buttons.nth(number).focus()
        opened.page.keyboard.press("Enter")
        sync_api.expect(buttons.nth(number)).to_contain_text("Copied")
        assert clipboard(opened) == command
    sync_api.expect(opened.page.get_by_role("status")).to_have_text("Copied")
    assert opened.did_nothing_else()


def test_it_copies_where_the_page_is_no_secure_context(
    visit: Callable[..., Visit], report: Report
) -> None:
    reader = visit(report)
    page = reader.page.context.new_page()
    body = page_of(with_commands(report))
    page.route("**", lambda route: route.fulfill(body=body, content_type="text/html"))
    page.goto("http://report.test/")
    assert page.evaluate("[isSecureContext, typeof navigator.clipboard]") == [False, "undefined"]
    for number, command in enumerate(COMMANDS):
        page.bring_to_front()
        page.locator("button.copy").nth(number).click()
        sync_api.expect(page.locator("button.copy").nth(number)).to_contain_text("Copied")
        reader.page.bring_to_front()
        assert clipboard(reader) == command


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("options", [PLAIN, RenderOptions(verbose=True)], ids=["plain", "verbose"])
@pytest.mark.parametrize("width", [375, 1280])
def test_axe_finds_nothing(
    visit: Callable[..., Visit], report: Report, scheme: str, options: RenderOptions, width: int
) -> None:
    check_with_axe(visit, report, scheme, options, width)


def check_with_axe(
    visit: Callable[..., Visit], report: Report, scheme: str, options: RenderOptions, width: int
) -> None:
    if not AXE.exists():
        skip_or_fail(f"{AXE}: npm install --prefix {CACHE} axe-core")
    size = {"width": width, "height": 900}
    page = visit(report, options, color_scheme=scheme, viewport=size).page
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")
    assert [(one["id"], one["impact"], one["nodes"]) for one in found["violations"]] == []
    assert {"color-contrast", "heading-order", "region"} <= {one["id"] for one in found["passes"]}


def test_the_themes_differ(visit: Callable[..., Visit], report: Report) -> None:
    def paper(**options: str) -> Any:
        page = visit(report, **options).page
        page.emulate_media(media=options.get("media", "screen"))
        return page.evaluate("getComputedStyle(document.body).backgroundColor")

    assert paper(color_scheme="light") == "rgb(255, 255, 255)"
    assert paper(color_scheme="dark") == "rgb(21, 23, 26)"


@pytest.mark.parametrize("width", WIDTHS)
def test_it_never_scrolls_sideways(
    visit: Callable[..., Visit], hostile_report: Report, width: int
) -> None:
    check_width(visit, hostile_report, width)


def check_width(visit: Callable[..., Visit], report: Report, width: int) -> None:
    size = {"width": width, "height": 900}
    page = visit(report, RenderOptions(verbose=True), viewport=size).page
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    beyond = "[...document.querySelectorAll('body *')].filter(one => !one.closest('.unseen') && "
    beyond += "one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML)"
    assert page.evaluate(beyond) == []


HIDDEN = """all => all.filter(one => !one.checkVisibility() || !one.getClientRects().length)
    .map(one => one.textContent)"""


TEXTS = "h1, h2, h3, p:not(.unseen), dt, dd, li, td, th, pre, summary"


READABLE = f"{TEXTS}, figure > svg > :is(rect, line, text)"


def test_paper_shows_all_of_it(visit: Callable[..., Visit], report: Report) -> None:
    page = visit(report, color_scheme="dark").page
    assert page.locator(READABLE).evaluate_all(HIDDEN) != []
    page.emulate_media(media="print", color_scheme="dark")
    assert page.locator(READABLE).evaluate_all(HIDDEN) == []
    assert [one.is_visible() for one in page.locator("button").all()] == [False, False]
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


def test_browsers_that_print_what_is_open_open_all_for_it(
    visit: Callable[..., Visit], report: Report
) -> None:
    page = visit(report).page
    closed = page.locator("details:not([open])").count
    before = closed()
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert (before > 0, closed()) == (True, 0)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert closed() == before


def test_without_script_all_of_it_is_read(visit: Callable[..., Visit], report: Report) -> None:
    opened = visit(report, java_script_enabled=False)
    closed = opened.page.locator("details:not([open]) > summary:visible")
    while closed.count():
        closed.first.click()
    assert [one.is_visible() for one in opened.page.locator("button").all()] == [False, False]
    shown = " ".join(opened.page.locator("body").inner_text().split())
    for one in report.results:
        assert one.id in shown
        for told in (one.why, one.actual_text, one.expected_text, one.fact, one.source, *one.tags):
            assert told in shown or not told.isprintable()
    assert "psutil.virtual_memory().total" in shown
    assert opened.requests == [opened.page.url]


def test_a_link_leads_to_the_evidence_and_opens_it(
    visit: Callable[..., Visit], report: Report
) -> None:
    page = visit(report).page
    evidence = page.get_by_text("psutil.virtual_memory().total", exact=True)
    assert not evidence.is_visible()
    page.locator("li.fail a[href^='#']").first.click()
    sync_api.expect(evidence).to_be_in_viewport()


def test_all_evidence_at_once_and_back(visit: Callable[..., Visit], report: Report) -> None:
    page = visit(report).page
    for shut in (0, 15, 0):  # three sections, the skipped ones, ten rules, the figures
        page.get_by_role("button", name="Show all evidence").click()
        assert page.locator("details:not([open])").count() == shut


def test_the_order_of_thought(visit: Callable[..., Visit], report: Report) -> None:
    opened = visit(report)
    assert opened.texts("h1") == ["✖\ufe0e FAIL"]
    assert opened.texts("h2") == ["To do", "Waived", "Rules", "Memory"]
    assert opened.texts(".counts li")[:3] == ["✖\ufe0e 3 failed", "? 1 unknown", "▲ 1 warning"]
    verdicts = [one.split()[0] for one in opened.texts(".tasks > li > h3")]
    assert verdicts == [*["✖\ufe0e"] * 3, "?", "▲", "⊘"]
    first = opened.texts(".tasks > li")[0]
    assert "1 check skipped until then · required" in first
    waived = opened.texts(".tasks > .waived")[0]
    assert "Reason old hardware Owner ops Until 2026-12-01, 8 days left ▲ ends soon" in waived


def test_quiet_is_what_needs_action(visit: Callable[..., Visit], report: Report) -> None:
    opened = visit(report, RenderOptions(quiet=True))
    assert opened.texts("h2") == ["To do", "Waived"]
    assert opened.page.locator("a[href^='#']").count() == 0
    assert opened.did_nothing_else()


def test_all_well_says_what_comes_next(visit: Callable[..., Visit], report: Report) -> None:
    passed = tuple(one for one in report.results if one.verdict == "pass")
    opened = visit(report._replace(results=passed, notes=("a note",)))
    assert opened.texts("h1") == ["✔\ufe0e PASS"]
    assert opened.texts("h2") == ["Next", "Rules", "Memory", "Notes"]
    assert opened.texts(".command code") == ["docker compose up -d"]


def test_no_rules_is_a_page_too(visit: Callable[..., Visit], report: Report) -> None:
    opened = visit(report._replace(results=(), memory=MemoryBreakdown(), next=""))
    assert opened.texts(".counts") == ["no rules"]
    assert opened.did_nothing_else()


def boxes(page: Any, selector: str) -> list[tuple[float, float]]:
    """Return where shapes begin and end, as shares of the picture's width."""
    code = """all => all.map(one => { const box = one.getBBox(); return [box.x, box.x + box.width,
        one.ownerSVGElement.getBoundingClientRect().width]; })"""
    found = page.locator(f"figure > svg > {selector}").evaluate_all(code)
    return [(start / width, end / width) for start, end, width in found]


def test_the_picture_is_true_to_scale(visit: Callable[..., Visit], report: Report) -> None:
    services = (ServiceMemory("model", 1, 6 * GIB, 8 * GIB), ServiceMemory("api", 2, GIB, 2 * GIB))
    link = MemoryConstraint("docker", 7 * GIB, 8 * GIB, "the reservations")
    drawn = MemoryBreakdown(16 * GIB, 2 * GIB, 7 * GIB, services, "m", 3 * GIB, 4 * GIB, link)
    opened = visit(report._replace(memory=drawn))
    page = opened.page

    def near(*pairs: tuple[float, float]) -> Any:
        return [pytest.approx((start / 16, end / 16), abs=0.001) for start, end in pairs]

    assert boxes(page, ".there") == near((0, 16), (0, 7))
    assert boxes(page, ".sure") == near((8, 10), (0, 6), (6, 7), (0, 3))
    assert boxes(page, ".over") == near((7, 8))
    assert boxes(page, ".may") == near((6, 8), (8, 10), (3, 4))
    assert opened.texts(".weakest") == [
        "✖\ufe0e Docker has 7.0 GiB: 1.0 GiB less than the reservations"
    ]
    page.get_by_text("Figures").click()
    rows = opened.texts("tbody tr")
    assert rows == [
        "host 16.0 GiB",
        "Docker 7.0 GiB",
        "system overhead 2.0 GiB",
        "model 6.0 GiB 8.0 GiB",
        "api × 2 1.0 GiB 2.0 GiB",
        "model m 3.0 GiB 4.0 GiB",
    ]
    picture = page.get_by_role("img", name="Where the memory goes")
    assert "api × 2: 1.0 … 2.0 GiB" in picture.locator("desc").text_content()


def test_five_thousand_rules_are_a_page_that_fits_a_screen(
    visit: Callable[..., Visit], report: Report
) -> None:
    many = report._replace(results=rules(report, "pass", 4990) + rules(report, "fail", 10))
    opened = visit(many)
    assert opened.page.evaluate("document.documentElement.scrollHeight") < 5000
    assert opened.texts(".part > summary .passed")[:2] == ["500 of 510 passed", "500 passed"]
    opened.page.locator(".part > summary").nth(3).click()
    sync_api.expect(opened.page.get_by_text("Rule 1700", exact=True)).to_be_visible()
    assert opened.did_nothing_else()


def test_five_hundred_failures_can_all_be_seen_and_copied(
    visit: Callable[..., Visit], report: Report
) -> None:
    opened = visit(report._replace(results=rules(report, "fail", 500)), RenderOptions(verbose=True))
    assert opened.page.locator(".tasks > li:visible").count() == 500
    opened.page.locator("button.copy").last.click()
    sync_api.expect(opened.page.get_by_role("status")).to_have_text("Copied")


@pytest.mark.parametrize("text", BREAKING_OUT.values(), ids=BREAKING_OUT)
def test_a_page_does_nothing_but_show(visit: Callable[..., Visit], text: str) -> None:
    opened = visit(render_hosts("html", hosts(text, text), ALL))
    assert opened.did_nothing_else()
    assert opened.texts("details.rule .name")[-3:-1].count(" ".join(text.split())) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
@pytest.mark.parametrize("options", [PLAIN, ALL, QUIET])
def test_a_page_is_for_everybody(
    visit: Callable[..., Visit],
    options: RenderOptions,
    width: int,
    scheme: str,
) -> None:
    if not AXE.exists():
        skip_or_fail(f"{AXE}: npm install --prefix {CACHE} axe-core")
    size = {"width": width, "height": 900}
    page = visit(render_hosts("html", hosts(), options), color_scheme=scheme, viewport=size).page
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run()")
    assert [(one["id"], one["nodes"]) for one in found["violations"]] == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_machine_of_the_table_leads_to_its_faults(
    visit: Callable[..., Visit],
) -> None:
    opened = visit(render_hosts("html", hosts(), PLAIN))
    assert opened.texts(".hosts tbody a") == ["gpu-03", "vm-1", "edge <7>", "edge-8"]
    assert opened.texts(".hosts + .aside") == ["✔︎ pass: 1 more"]
    opened.page.locator(".hosts a", has_text="vm-1").click()
    faults = opened.page.locator("details", has_text="vm-1").locator(".faults li")
    assert faults.first.is_visible()
    assert faults.count() == 5
    assert opened.did_nothing_else()
