"""The mrkdwn reader against generated text: no text makes it fail, and escaped text always comes out as it went in."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from playwright.sync_api import Page, Route, sync_playwright

from bot.demo.page import STATIC
from tests.page.browser import ARGUMENTS, chromium

TYPES = {".js": "text/javascript", ".html": "text/html", ".css": "text/css", ".svg": "image/svg+xml"}
ALLOWED = {
    "STRONG",
    "EM",
    "S",
    "CODE",
    "PRE",
    "BLOCKQUOTE",
    "BR",
    "A",
    "SPAN",
    "TIME",
    "BUTTON",
    "svg",
    "use",
    "title",
}
MARKS = st.text(alphabet="*_~`<>&:|!@#^- \n\tabhtps/.\u200b\u202e🔴é0", max_size=80)
TOKENS = st.lists(
    st.sampled_from(
        [
            *(
                "<!channel>",
                "<@U0ONCALL>",
                "<#C1|x>",
                "<!date^1^{time}|f>",
                "<!date^x^{y^|",
                "<javascript:x|*y*>",
            ),
            *("<https://a.b|", "```", "&lt;", "> ", "*", "_", "`", "\n", "text", ":x:", " "),
        ]
    ),
    max_size=25,
).map("".join)

RENDER = """async (text) => {
  const { mrkdwn } = await import('/static/js/inline.js');
  const box = document.createElement('div');
  box.append(...mrkdwn(text));
  const elements = [...box.querySelectorAll('*')];
  const hrefs = elements.filter((node) => node.nodeName === 'A').map((node) => node.href);
  return { text: box.textContent, names: elements.map((node) => node.nodeName), hrefs };
}"""


@pytest.fixture(scope="module")
def rendering() -> Iterator[Page]:
    """A page that has the modules but no workspace behind it: files are answered from the package."""

    def serve(route: Route) -> None:
        path = STATIC / urlsplit(route.request.url).path.removeprefix("/static/")
        if path.suffix == ".js" and path.is_file():
            route.fulfill(body=path.read_bytes(), content_type=TYPES[path.suffix])
        else:
            route.fulfill(body="<!doctype html><title>modules</title>", content_type="text/html")

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=ARGUMENTS)
        page = browser.new_page()
        page.route("**/*", serve)
        page.goto("http://modules.invalid/")
        yield page
        browser.close()


PATIENT = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@PATIENT
@given(text=st.one_of(MARKS, TOKENS, st.text(max_size=120)))
def test_any_text_becomes_only_known_nodes(rendering: Page, text: str) -> None:
    shown = rendering.evaluate(RENDER, text)
    assert set(shown["names"]) <= ALLOWED
    assert all(href.startswith(("http:", "https:", "mailto:")) for href in shown["hrefs"])


@PATIENT
@given(text=st.text(alphabet="<>&|!@#^- \tabhtp/.0\u202eé;", max_size=120))
def test_escaped_text_comes_out_as_it_went_in(rendering: Page, text: str) -> None:
    plain = text.lstrip(">")  # at the head of a line it would begin a quote
    escaped = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    shown = rendering.evaluate(RENDER, escaped)
    assert shown["text"] == plain


@PATIENT
@given(text=st.text(alphabet="<>&|!@*_~:- \tab\n0\u202eé;", min_size=1, max_size=120))
def test_a_code_block_is_literal(rendering: Page, text: str) -> None:
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    shown = rendering.evaluate(RENDER, f"```\n{escaped}\n```")
    assert shown["text"] == text
    assert shown["names"] == ["PRE"]
