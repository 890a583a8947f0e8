"""Tickets' texts as Jira keeps them: wiki text and documents."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from integrations.changes.prose import document, texts, wiki
from integrations.changes.query import named

TERMS: dict[str, str | None] = {"host": "web-17", "ring": "prod-2"}


def test_names_in_wiki_text_are_found_whatever_marks_them_up() -> None:
    for written in (
        "_web-17_", "*web-17*", "{{web-17}}", "-web-17-", "[web-17|https://cmdb.example/web-17]", "+web-17+,",
        "{code:bash}ssh web-17{code}", "{color:red}web-17{color}", "web\\-17", "(web-17)",
    ):  # fmt: skip
        assert named(TERMS, wiki(written)) == ("host",), written
    assert wiki("nvme_core and I-7, 6.1.0-31 of web-17.") == "nvme_core and I-7, 6.1.0-31 of web-17."


def test_a_document_says_what_its_nodes_say() -> None:
    told = {
        "type": "doc",
        "version": 1,
        "content": [
            {"type": "heading", "content": [{"type": "text", "text": "Roll"}]},
            {"type": "bulletList", "content": [
                {"type": "listItem", "content": [{"type": "paragraph", "content": [
                    {"type": "text", "text": "web"}, {"type": "text", "text": "-17", "marks": [{"type": "strong"}]},
                    {"type": "mention", "attrs": {"id": "x", "text": "@on-call"}}, {"type": "hardBreak"},
                    {"type": "inlineCard", "attrs": {"url": "https://cmdb.example/prod-2"}}]}]}]},
            {"type": "codeBlock", "content": [{"type": "text", "text": "reboot"}]},
        ],
    }  # fmt: skip
    assert document(told) == "Roll\nweb-17 @on-call\nhttps://cmdb.example/prod-2\nreboot"
    assert texts([told, "_prod-2_", {"value": "x"}, {"name": "y"}, None, 3, ["z"]])[1:] == [
        " prod-2 ",
        "x",
        "y",
        "z",
    ]
    assert named(TERMS, "\n".join(texts([told]))) == ("host", "ring")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["type", "content", "text", "attrs", "value", "url"]), inner, max_size=4
        )
        | st.builds(lambda c: {"type": "doc", "content": c}, inner)
    ),
    max_leaves=20,
)


@given(JSON)
def test_whatever_a_field_holds_gives_texts(value: Any) -> None:
    assert all(isinstance(text, str) for text in texts(value))


def test_a_document_nested_without_end_is_read_to_a_depth() -> None:
    node: Any = {"type": "text", "text": "deep"}
    for _ in range(5000):
        node = {"type": "panel", "content": [node]}
    assert (
        document(
            {
                "type": "doc",
                "content": [{"type": "paragraph", "content": [{"type": "text", "text": "a"}]}, node],
            }
        )
        == "a"
    )
