"""What is typed behind `/panic known`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commands.errors import BadArguments
from commands.known.line import Said, split_line


@pytest.mark.parametrize(
    ("line", "named", "said"),
    [
        ("", None, Said()),
        ("P-41", "P-41", Said()),
        ("null_deref|nvme_irq|nvme", "null_deref|nvme_irq|nvme", Said()),
        ("`null_deref|nvme_irq`", "null_deref|nvme_irq", Said()),
        ('"panic|two words" ticket:ops-1', "panic|two words", Said(ticket="OPS-1")),
        (
            'P-41 cause:"queue freed twice" fixed:6.1.0-40 ticket:OPS-1182 keep the old kernel',
            "P-41",
            Said("queue freed twice", "OPS-1182", "6.1.0-40", "keep the old kernel"),
        ),
        (
            "P-41 cause: bad DIMM in slot A3 ticket: https://jira.example/browse/OPS-7",
            "P-41",
            Said(cause="bad DIMM in slot A3", ticket="OPS-7"),
        ),
        ("P-41 it's a driver's fault", "P-41", Said(note="it's a driver's fault")),
        ("P-41 before fixed:6.1.0-40 after", "P-41", Said(fixed_in="6.1.0-40", note="before after")),
        ("P-41 note: cause unknown, fixed by nobody", "P-41", Said(note="cause unknown, fixed by nobody")),
        ("P-41 cause:“see fixed:9 here” rest", "P-41", Said(cause="see fixed:9 here", note="rest")),
        ("ticket:OPS-1", None, Said(ticket="OPS-1")),
        ("P-41 fixed:none ticket:- cause:none", "P-41", Said("", "", "", None)),
        ("P-41 fixed in: 5.14.0-427.13.1.el9_4.x86_64", "P-41", Said(fixed_in="5.14.0-427.13.1.el9_4.x86_64")),
    ],
)  # fmt: skip
def test_reading_a_line(line: str, named: str | None, said: Said) -> None:
    assert split_line(line) == (named, said)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("P-41 ticket:nonsense", "no ticket key"),
        ("P-41 fixed:tomorrow", "no kernel release"),
        ("P-41 fixed:6.1;reboot", "no kernel release"),
        ('P-41 cause:"open', "not closed"),
        ("P-41 cause: a cause: b", "twice"),
        ("P-41 " + "x" * 1001, "1000 is the most"),
        ("P-41 cause:" + "x" * 2001, "2000 is the most"),
    ],
)
def test_what_cannot_be_read_says_why(line: str, problem: str) -> None:
    with pytest.raises(BadArguments, match=problem) as raised:
        split_line(line)
    assert raised.value.example


PIECES = st.lists(
    st.sampled_from(
        ["P-41", "cause:", "fixed:", "ticket:", "note:", '"', "“", "”", "'", "OPS-1", "6.1.0-40", " ", "&<>", "\x1b[0m"]
    )
    | st.text(max_size=6),
    max_size=14,
).map(" ".join)  # fmt: skip


@given(PIECES | st.text(max_size=200))
def test_any_text_is_read_or_refused(line: str) -> None:
    try:
        named, said = split_line(line)
    except BadArguments:
        return
    assert named is None or named == named.strip()
    assert "\x1b" not in f"{said.cause}{said.note}{said.ticket}{said.fixed_in}"
    for value, most in ((said.cause, 2000), (said.note, 1000), (said.ticket, 60), (said.fixed_in, 100)):
        assert value is None or len(value) <= most


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters='"“”'), max_size=60))
def test_what_stands_in_quotes_is_taken_as_it_is(cause: str) -> None:
    _named, said = split_line(f'P-41 ticket:OPS-1 cause:"{cause}" fixed:6.1.0-40')
    assert (said.ticket, said.fixed_in, said.note) == ("OPS-1", "6.1.0-40", None)
    assert said.cause is not None
    assert said.cause == "" or said.cause in cause or len(said.cause) < len(cause)
