from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from integrations.changes import BadKey, JiraConfig, TrackerDown, read_key
from integrations.changes.errors import ChangeError, TicketUnknown

GOOD: dict[str, Any] = {
    "url": "https://jira.example.com/base/",
    "email": "bot@example.com",
    "token": "t0ken",
    "projects": ["OPS"],
}


def test_the_defaults_are_those_of_cloud_and_the_token_is_not_shown() -> None:
    config = JiraConfig.model_validate(GOOD)
    assert (config.url, config.flavour, config.timeout) == ("https://jira.example.com/base", "cloud", 10.0)
    assert "t0ken" not in repr(config)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"url": "jira.example.com"}, "an address like"),
        ({"url": "https://user@jira.example.com"}, "an address like"),
        ({"url": "https://api.atlassian.com/ex/jira/1a11d016"}, "put it in api_url"),
        ({"api_url": "https://api.atlassian.com"}, "an address like"),
        ({"api_url": "https://api.atlassian.com/ex/jira/1a11d016/rest/api/3"}, "without /rest"),
        ({"api_url": "https://bot:t@api.atlassian.com/ex/jira/1a11d016"}, "an address like"),
        ({"email": None}, "needs the email"),
        ({"flavour": "datacenter"}, "takes a personal access token"),
        ({"flavour": "server"}, "cloud"),
        ({"token": " "}, "this one is empty"),
        ({"projects": []}, "at least 1"),
        ({"projects": ["OPS) OR (x"]}, "project keys like OPS"),
        ({"jql": "text ~ {names}"}, "must stand in it"),
        ({"jql": "updated > {since} AND {names} {token}"}, "only {projects}"),
        ({"jql": "updated > {since} AND {names.__class__}"}, "only {projects}"),
        ({"jql": "updated > {since!r} AND {names}"}, "only {projects}"),
        ({"started_field": "customfield_1 or"}, "a field id"),
        ({"name_fields": ["a b"]}, "a field id"),
        ({"timeout": 0}, "greater than 0"),
        ({"max_results": 1000}, "less than or equal to 200"),
        ({"other": 1}, "Extra inputs"),
    ],
)
def test_a_bad_value_says_what_is_allowed(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        JiraConfig.model_validate(GOOD | change)


def test_the_gateway_is_asked_and_the_site_is_linked_to() -> None:
    gateway = "https://api.atlassian.com/ex/jira/1a11d016-8984"
    config = JiraConfig.model_validate(GOOD | {"api_url": gateway + "/"})
    assert (config.asked_at, config.url) == (gateway, "https://jira.example.com/base")
    assert JiraConfig.model_validate(GOOD).asked_at == "https://jira.example.com/base"


def test_a_token_from_a_file_may_end_in_a_line_break() -> None:
    assert JiraConfig.model_validate(GOOD | {"token": "t0ken\n"}).token.get_secret_value() == "t0ken"


@pytest.mark.parametrize("change", [{"email": ""}, {"flavour": "datacenter"}, {"projects": ["x"]}])
def test_the_token_is_in_no_message(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as wrong:
        JiraConfig.model_validate(GOOD | change)
    assert "t0ken" not in str(wrong.value)


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        ("OPS-1182", "OPS-1182"),
        (" ops-1182 ", "OPS-1182"),
        ("https://jira.example.com/browse/OPS-1182", "OPS-1182"),
        ("https://jira.example.com/browse/OPS-1182?focusedCommentId=1#x", "OPS-1182"),
        ("<https://jira.example.com/browse/OPS-1182|OPS-1182>", "OPS-1182"),
        ("https://x.example/jira/software/projects/OPS/boards/1?selectedIssue=OPS-7", "OPS-7"),
    ],
)
def test_a_key_is_read_as_people_write_it(typed: str, key: str) -> None:
    assert read_key(typed) == key


@pytest.mark.parametrize(
    "typed",
    ["", "OPS", "1182", "OPS-0", "OPS-1182/comment", "../OPS-1", "OPS-1?x", "ＯPS-1", "https://[", "O-1-2"],
)
def test_what_is_no_key_is_refused_with_an_example(typed: str) -> None:
    with pytest.raises(BadKey, match="OPS-1182"):
        read_key(typed)


def test_every_error_says_what_to_do_and_whether_to_try_again() -> None:
    assert not TrackerDown("x").permanent
    assert TrackerDown(retry_after=3).retry_after == 3
    assert TicketUnknown("OPS-1").permanent
    assert str(TicketUnknown("OPS-1")).endswith("permissions. (OPS-1)")
    kinds, found = [ChangeError], []
    while kinds:
        kind = kinds.pop()
        kinds += kind.__subclasses__()
        found.append(kind)
        assert kind.__doc__
    assert len(found) == 9
