"""What people type becomes what Slack sends: entities, mentions, links."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.demo.workspace import demo_directory
from bot.demo.workspace.typed import command_text, message_text

DIRECTORY = demo_directory()


@pytest.mark.parametrize(
    ("typed", "text"),
    [
        ("plain", "plain"),
        ("a < b && c > d", "a &lt; b &amp;&amp; c &gt; d"),
        ("@panicroom triage", "<@U0PANICROOM> triage"),
        ("<@U0PANICROOM> triage", "<@U0PANICROOM> triage"),
        ("ask @sre-oncall", "ask <!subteam^S0SREONCALL>"),
        ("@nobody", "@nobody"),
        ("mail@panicroom", "mail@panicroom"),
        ("see #kernel-crashes", "see <#C0KERNEL|>"),
        ("see https://example.com/a?b=1&c=2", "see <https://example.com/a?b=1&amp;c=2>"),
        ("list host:db-1.example.com", "list host:<http://db-1.example.com|db-1.example.com>"),
        ("kernel:6.1.0-31-amd64", "kernel:6.1.0-31-amd64"),
        ("@here", "<!here>"),
        ("<!channel> <script>", "<!channel> &lt;script&gt;"),
    ],
)
def test_messages(typed: str, text: str) -> None:
    assert message_text(typed, DIRECTORY) == text


@pytest.mark.parametrize(
    ("typed", "escaped", "plain"),
    [
        (
            "assign P-1 @kernel-engineer",
            "assign P-1 <@U0KERNEL|kernel-engineer>",
            "assign P-1 @kernel-engineer",
        ),
        ("note P-1 a<b", "note P-1 a&lt;b", "note P-1 a&lt;b"),
        ("list #incidents", "list <#C0INCIDENTS|incidents>", "list #incidents"),
    ],
)
def test_commands(typed: str, escaped: str, plain: str) -> None:
    assert command_text(typed, DIRECTORY, should_escape=True) == escaped
    assert command_text(typed, DIRECTORY, should_escape=False) == plain


@given(st.text())
def test_nothing_typed_becomes_a_broken_entity(typed: str) -> None:
    text = message_text(typed, DIRECTORY)
    assert text.count("<") == text.count(">")
