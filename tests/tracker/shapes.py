"""How Jira's answers are shaped, as schemas of our own words: each names what we or the `jira` library read, and more.

Where the facts are from:

- Cloud: Atlassian's OpenAPI document "The Jira Cloud platform REST API" (version 3; 1001.0.0-SNAPSHOT of 2025), the
  schemas SearchAndReconcileResults, IssueBean, Comment, PageOfComments, RemoteIssueLink, RemoteIssueLinkIdentifies,
  CreatedIssue, ErrorCollection, ServerInformation, User, UserDetails, IssueTypeDetails and StatusDetails, and the
  statuses that its operations list. API 2 differs in its texts: wiki text where API 3 has documents.
- Data Center: the pages "Jira Data Center platform REST API" (search, comment, issue, error collection: as far as its
  published models say it; they leave the current user, server information and remote links open), "Jira REST API for
  Remote Issue Links" and, for its headers, "Rate limiting: HTTP headers".
- Rate limits of Cloud: the page "Rate limiting" of the Jira Cloud platform. Notifications: the page "Webhooks" of it.

Closed are those objects that the document closes. An object is taken to have all that is asked for here, though the
document makes next to nothing a must: a stand-in that leaves it out would hide a mistake of ours.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]
TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "integer", "minimum": 0}
YES: Schema = {"type": "boolean"}
ANY: Schema = {}
ID: Schema = {"type": "string", "pattern": "^[0-9]+$"}
URL: Schema = {"type": "string", "pattern": "^https?://"}
MOMENT: Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d{4}$"}
DIGITS: Schema = {"type": "string", "pattern": "^[0-9]+$"}


def thing(must: Schema, may: Schema | None = None, *, closed: bool = True) -> Schema:
    """An object with the properties of `must`, and perhaps those of `may`."""
    return {
        "type": "object",
        "required": list(must),
        "properties": {**must, **(may or {})},
        "additionalProperties": not closed,
    }


def rows(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def or_none(of: Schema) -> Schema:
    return {"anyOf": [of, {"type": "null"}]}


PICTURES = thing(dict.fromkeys(("16x16", "24x24", "32x32", "48x48"), URL))
TEXT_NODE = thing({"type": {"const": "text"}, "text": {"type": "string", "minLength": 1}}, {"marks": ANY})
PARAGRAPH = thing({"type": {"const": "paragraph"}}, {"content": rows(TEXT_NODE), "attrs": ANY})
DOCUMENT = thing({"type": {"const": "doc"}, "version": {"const": 1}, "content": rows(PARAGRAPH)})
ERRORS = thing(
    {"errorMessages": rows(TEXT), "errors": {"type": "object", "additionalProperties": TEXT}},
    {"status": NUMBER},
)
UNKNOWN_TO_DATA_CENTER = thing({"message": TEXT, "status-code": {"const": 401}})


def user(cloud: bool) -> Schema:
    """In an issue or a comment."""
    common = {"self": URL, "active": YES, "displayName": TEXT, "avatarUrls": PICTURES, "timeZone": TEXT}
    if cloud:
        kinds = {"enum": ["atlassian", "app", "customer"]}
        own = {"accountId": {"type": "string", "maxLength": 128}, "accountType": kinds}
        return thing({**common, **own}, {"emailAddress": TEXT})
    return thing({**common, "name": TEXT, "key": TEXT}, {"emailAddress": TEXT})


def myself(cloud: bool) -> Schema:
    some = thing({"size": NUMBER, "items": rows(ANY)}, {"max-results": NUMBER, "callback": ANY})
    whole = user(cloud)
    more = {"groups": some, "applicationRoles": some, "locale": TEXT, "emailAddress": TEXT}
    return thing({**whole["properties"], **more}, {"expand": TEXT, "deleted": YES})


def prose(version: str) -> Schema:
    return DOCUMENT if version == "3" else TEXT


def fields(cloud: bool, version: str) -> Schema:
    """What we ask for; an issue may have any other field beside it."""
    category = thing(
        {"self": URL, "id": NUMBER, "key": {"enum": ["new", "indeterminate", "done"]}, "colorName": TEXT, "name": TEXT}
    )  # fmt: skip
    status = thing(
        {"self": URL, "id": ID, "name": TEXT, "iconUrl": TEXT, "statusCategory": category}, {"description": TEXT}
    )  # fmt: skip
    kind = thing(
        {"self": URL, "id": ID, "name": TEXT, "subtask": YES},
        {"description": TEXT, "iconUrl": TEXT, "avatarId": NUMBER, "hierarchyLevel": ANY},
    )
    project = thing({"self": URL, "id": ID, "key": TEXT, "name": TEXT}, closed=False)
    known = {
        "summary": TEXT,
        "description": or_none(prose(version)),
        "status": status,
        "issuetype": kind,
        "project": project,
        "assignee": or_none(user(cloud)),
        "labels": rows(TEXT),
        "created": MOMENT,
        "updated": MOMENT,
        "resolutiondate": or_none(MOMENT),
    }
    return thing({}, known, closed=False)


def issue(cloud: bool, version: str) -> Schema:
    must = {"id": ID, "self": URL, "key": TEXT, "fields": fields(cloud, version)}
    more = (
        "expand", "changelog", "editmeta", "names", "operations", "properties", "renderedFields", "schema",
        "transitions", "versionedRepresentations",
    )  # fmt: skip
    return thing(must, dict.fromkeys(more, ANY))


def enhanced_search(version: str) -> Schema:
    """A page without a token is the last one. By default of each issue there is the id alone."""
    found = {"anyOf": [thing({"id": ID}), issue(True, version)]}
    page = thing({"issues": rows(found), "isLast": YES}, {"nextPageToken": TEXT, "names": ANY, "schema": ANY})
    return page | {
        "if": {"properties": {"isLast": {"const": True}}},
        "then": {"not": {"required": ["nextPageToken"]}},
        "else": {"required": ["nextPageToken"]},
    }


def classic_search() -> Schema:
    must = {"startAt": NUMBER, "maxResults": NUMBER, "total": NUMBER, "issues": rows(issue(False, "2"))}
    return thing(
        must, dict.fromkeys(("expand", "names", "schema", "warningMessages", "maxResultWindow"), ANY)
    )


def comment(cloud: bool, version: str) -> Schema:
    who = user(cloud)
    must = {
        "self": URL, "id": ID, "author": who, "updateAuthor": who, "body": prose(version), "created": MOMENT,
        "updated": MOMENT,
    }  # fmt: skip
    return thing(must, {"jsdPublic": YES} if cloud else {}, closed=False)


def comments(cloud: bool, version: str) -> Schema:
    page = {"startAt": NUMBER, "maxResults": NUMBER, "total": NUMBER}
    return thing({**page, "comments": rows(comment(cloud, version))})


def remote_link() -> Schema:
    application = thing({}, {"name": TEXT, "type": TEXT}, closed=False)
    icon = thing({}, {"title": TEXT, "url16x16": TEXT, "link": TEXT}, closed=False)
    state = dict.fromkeys(["resolved"], YES)
    status = thing({}, {**state, "icon": icon}, closed=False)
    target = thing(
        {"url": URL, "title": TEXT}, {"summary": TEXT, "icon": icon, "status": status}, closed=False
    )
    must = {"id": NUMBER, "self": URL, "object": target}
    return thing(must, {"globalId": TEXT, "application": application, "relationship": TEXT})


def remote_link_made() -> Schema:
    """Of a link that was made (201), and of one that was changed (200)."""
    return thing({"id": NUMBER, "self": URL})


def issue_made() -> Schema:
    return thing({"id": ID, "key": TEXT, "self": URL}, {"transition": ANY, "watchers": ANY})


def server_info(cloud: bool) -> Schema:
    must = {
        "baseUrl": URL, "version": TEXT, "versionNumbers": rows(NUMBER), "buildNumber": NUMBER, "buildDate": MOMENT,
        "serverTime": MOMENT, "scmInfo": TEXT, "serverTitle": TEXT,
        "deploymentType": {"const": "Cloud" if cloud else "Server"},
    }  # fmt: skip
    shown = dict.fromkeys(
        ("displayUrl", "displayUrlConfluence", "displayUrlServicedeskHelpCenter", "serverTimeZone"), TEXT
    )
    return thing(must, {**shown, "defaultLocale": ANY, "healthChecks": ANY})


def all_fields(cloud: bool) -> Schema:
    flags = {"custom": YES, "orderable": YES, "navigable": YES, "searchable": YES}
    must = {"id": TEXT, "name": TEXT, "clauseNames": rows(TEXT), **flags, **({"key": TEXT} if cloud else {})}
    return rows(thing(must, {"schema": ANY, "scope": ANY}))


def exceeded(cloud: bool, *, told: bool) -> Schema:
    """The headers of a 429, in lower case; `told`: it says how long to wait, which Cloud need not."""
    if not cloud:
        return budget()
    must = {
        "x-ratelimit-limit": DIGITS,
        "x-ratelimit-remaining": {"const": "0"},
        "ratelimit-reason": {"enum": ["jira-burst-based", "jira-per-issue-on-write", "jira-quota-based"]},
    }
    when = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?Z$"}
    return thing(
        {**must, **({"retry-after": DIGITS, "x-ratelimit-reset": when} if told else {})}, closed=False
    )


def budget() -> Schema:
    """The headers of each answer of Data Center, in lower case."""
    names = (
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-interval-seconds",
        "x-ratelimit-fillrate",
    )
    return thing(dict.fromkeys((*names, "retry-after"), DIGITS), closed=False)


def notification() -> Schema:
    """A webhook's body for an issue that was updated."""
    item = thing(
        {"field": TEXT, "fieldtype": TEXT},
        {
            "fieldId": TEXT,
            **dict.fromkeys(("from", "fromString", "to", "toString"), or_none(TEXT)),
            "tmpFromAccountId": ANY,
            "tmpToAccountId": ANY,
        },
    )
    return thing(
        {
            "timestamp": NUMBER,
            "webhookEvent": {"enum": ["jira:issue_created", "jira:issue_updated", "jira:issue_deleted"]},
            "issue_event_type_name": TEXT,
            "issue": issue(True, "2"),
        },
        {
            "user": user(True),
            "changelog": thing({"items": rows(item)}, {"id": TEXT}),
            "comment": comment(True, "2"),
            "matchedWebhookIds": rows(NUMBER),
        },
    )
