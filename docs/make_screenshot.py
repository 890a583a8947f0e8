"""Takes docs/thread.png, the picture of the README, from a running demo.

Start the demo with new data, then run this from the repository:

    .venv/bin/panicroom demo --data picture --port 9400
    .venv/bin/python docs/make_screenshot.py --url http://127.0.0.1:9400

It panics two more hosts, collects the evidence of the first incident, links a change, runs the triage, and takes the
channel with that thread. It needs Chromium on the PATH and Playwright, which the tests of the page need as well. With
Pillow installed the picture is reduced to a palette of 256 colours, a third of the size.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from playwright.sync_api import Locator, Page, expect, sync_playwright

FIRST = "web-17 panicked"
OTHERS = ("db-3", "queue-1")
CHANGE = "OPS-1182"
SIZE = {"width": 1440, "height": 1000}
PATIENCE_MS = 90_000


def panic(page: Page, host: str) -> None:
    """Panic `host` from the drawer, and wait for its incident."""
    page.get_by_role("button", name="Hosts", exact=True).click()
    page.get_by_role("button", name=f"Panic {host}", exact=True).click()
    page.get_by_role("button", name="Close", exact=True).click()
    expect(page.locator(".main .message", has_text=f"{host} panicked")).to_be_visible()


def link_change(page: Page, parent: Locator, key: str) -> None:
    """Link the ticket `key` to the incident's panic."""
    parent.get_by_role("button", name="Link change").click()
    form = page.get_by_role("dialog", name="Link a change")
    form.get_by_label(re.compile("^Ticket")).fill(key)
    form.get_by_role("button", name="Link", exact=True).click()
    expect(form).to_have_count(0)


def stage(page: Page, url: str) -> None:
    """The incident channel as it looks a few minutes into the demo, with the first incident's thread open."""
    page.goto(url)
    parent = page.locator(".main .message", has_text=FIRST)
    expect(parent.locator(".thread-bar")).to_be_visible()
    for host in OTHERS:
        panic(page, host)
    parent.locator(".thread-bar").click()
    thread = page.get_by_role("complementary", name="Thread", exact=True)
    parent.get_by_role("button", name="Collect evidence").click()
    bundle = thread.locator(".file", has_text="evidence.tar.gz")
    expect(bundle).to_be_visible()
    link_change(page, parent, CHANGE)
    expect(thread.locator(".message", has_text=re.compile(rf"Change {CHANGE}"))).to_be_visible()
    parent.get_by_role("button", name="Run triage").click()
    expect(thread.get_by_role("button", name="Run again")).to_be_visible()
    expect(parent).to_contain_text("after the incident opened")
    while page.get_by_role("button", name="Dismiss message").count():
        page.get_by_role("button", name="Dismiss message").first.click()
    expect(page.locator(".toast")).to_have_count(0)
    page.get_by_role("button", name=re.compile("^Threads, . with")).click()
    page.get_by_role("menuitem", name="Mark all as read").click()
    for node in (parent, bundle):
        node.evaluate(
            "node => { node.style.scrollMarginTop = '8px'; node.scrollIntoView({ block: 'start' }); }"
        )
    page.mouse.move(2, SIZE["height"] // 2)
    page.evaluate("document.activeElement.blur()")


def take(url: str, out: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        sys.exit("Chromium is not here. Install it with: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport=SIZE, color_scheme="light", locale="en-GB", timezone_id="UTC")  # type: ignore[arg-type]
        page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        stage(page, url)
        page.screenshot(path=out)
        browser.close()


def reduce(out: Path) -> None:
    """A palette instead of true colours, when Pillow is there to do it."""
    if find_spec("PIL") is None:
        return
    from PIL import Image

    with Image.open(out) as picture:
        picture.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE).save(out, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="http://127.0.0.1:8420", help="where the demo is")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("thread.png"))
    options = parser.parse_args()
    take(options.url, options.out)
    reduce(options.out)
    print(f"{options.out}: {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
