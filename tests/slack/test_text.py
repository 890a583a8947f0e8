"""Text of strangers does nothing in Slack but be read."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from integrations.slack.text import clean, code, code_block, date, escape, shorten, user

HOSTILE = st.one_of(
    st.text(),
    st.text(alphabet="<>&*_~`!@#|\\^: \n\tabcU0chanel:/.\u202e\u200b\u2060\x1b[31m"),
    st.lists(
        st.sampled_from(
            [
                "<!channel>", "<!here>", "<@U0ONCALL>", "<#C0KERNEL>", "<https://evil.example|click>", "*bold*",
                "_it_", "~gone~", "`code`", "```", "&amp;lt;", "<!date^0^{date}|x>", "<!subteam^S0SREONCALL>",
                "\x1b[31mred\x1b[0m", "\x9b31m", "\u202eevil\u202c", "> quote", ":boom:", "\r\n", "\ud800",
            ]
        )
    ).map("".join),
)  # fmt: skip
ENTITY = re.compile(r"&(?:amp|lt|gt);")
INVISIBLE = re.compile("\u2060")


def unescaped(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")


def is_inert(text: str) -> bool:
    """No control sequence of Slack's can begin, and each ampersand is part of an entity."""
    return "<" not in text and ">" not in text and "&" not in ENTITY.sub("", text)


@given(HOSTILE)
@example("<!channel> *bold* <https://evil.example|x> `c` \u202e\x1b[1m")
def test_escaped_text_holds_no_control_sequence_and_reads_as_it_was(text: str) -> None:
    made = escape(text)
    assert is_inert(made)
    assert INVISIBLE.sub("", unescaped(made)) == clean(text)
    made.encode()


@given(HOSTILE)
def test_marks_are_kept_from_formatting(text: str) -> None:
    made = escape(text)
    for mark in re.finditer(r"[*~`]", made):
        assert made[mark.start() - 1] == made[mark.end()] == "\u2060"
    assert re.search(r":[a-z0-9_+-]+:", made) is None
    assert re.search(r"(?m)^[ \t]*&gt;", made) is None


@given(HOSTILE)
def test_inline_code_is_one_closed_line(text: str) -> None:
    made = code(text)
    assert is_inert(made)
    assert made[0] == made[-1] == "`"
    assert "`" not in made[1:-1]
    assert len(made) > 2
    assert "\n" not in made


@given(HOSTILE, st.integers(20, 3000))
def test_a_code_block_is_closed_bounded_and_keeps_the_end(text: str, limit: int) -> None:
    made = code_block(text, limit=limit)
    assert made.startswith("```\n")
    assert made.endswith("\n```")
    assert "```" not in made[3:-3]
    assert is_inert(made[3:-3])
    assert len(made) <= limit + 10
    whole = clean(text).replace("```", "ˋˋˋ")
    shown = unescaped(made[4:-4]).removeprefix("…\n")
    assert whole.endswith(shown)


@given(HOSTILE)
def test_clean_leaves_nothing_that_steers_a_terminal_or_a_reader(text: str) -> None:
    made = clean(text)
    assert (
        re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]", made) is None
    )
    assert clean(made) == made


@given(st.text(), st.integers(1, 100))
def test_shorten_keeps_to_its_limit(text: str, limit: int) -> None:
    made = shorten(text, limit)
    assert len(made) <= limit
    assert made == text or made.endswith("…")


@given(HOSTILE)
def test_only_what_looks_like_a_user_id_becomes_a_mention(text: str) -> None:
    made = user(text)
    assert re.fullmatch(r"<@[UW][A-Z0-9]{2,20}>", made) or is_inert(made)
    assert user("U0ONCALL") == "<@U0ONCALL>"


def test_a_function_name_can_be_copied() -> None:
    assert escape("nvme_irq+0x1a/0x80") == "nvme_irq+0x1a/0x80"


def test_a_time_is_shown_in_each_readers_zone() -> None:
    moment = datetime(2026, 11, 23, 9, 14, 7, tzinfo=UTC)
    assert date(moment, "{time}") == "<!date^1795425247^{time}|2026-11-23 09:14:07 UTC>"
