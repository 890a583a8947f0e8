"""What Jira sends when a ticket has changed: whether it knows the secret, and which tickets it is about."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping

from integrations.changes.change import read_key
from integrations.changes.errors import BadKey

_MOST_KEYS = 50
_SIGNATURE = "X-Hub-Signature"
SECRET_HEADER = "X-Panicroom-Secret"  # noqa: S105 - the header's name


class BadHook(ValueError):
    """This is no notification of Jira's."""


def needs_body(headers: Mapping[str, str]) -> bool:
    """Whether the sender is known by a signature of the body, which must be read for it."""
    return _SIGNATURE in headers


def authentic(headers: Mapping[str, str], query: Mapping[str, str], body: bytes, secret: str) -> bool:
    """Whether the sender knows the secret. Compared in constant time.

    A webhook with a secret signs the body (`X-Hub-Signature: sha256=…`); a rule of Jira Automation sends a header
    (`Authorization: Bearer …`, or X-Panicroom-Secret); the webhooks of an older Data Center can but carry it in their
    address (`?secret=…`). A signature that is there must be right, whatever else is.
    """
    wanted = secret.encode()
    signature = headers.get(_SIGNATURE)
    if signature is not None:
        made = "sha256=" + hmac.new(wanted, body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(signature.strip().lower().encode("utf-8", "replace"), made.encode())
    scheme, _, bearer = headers.get("Authorization", "").partition(" ")
    given = [bearer.strip()] if scheme.lower() == "bearer" else []
    given += [headers.get(SECRET_HEADER, ""), query.get("secret", "")]
    return any(hmac.compare_digest(one.encode("utf-8", "replace"), wanted) for one in given)


def changed_keys(body: bytes) -> frozenset[str]:
    """The keys of the tickets that a notification is about, the earlier ones of a moved ticket with them.

    Nothing else in it is believed: the tickets are read anew. Empty for events of something else (a version, a sprint).
    Raises BadHook.
    """
    try:
        told = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadHook("the body is no JSON") from error
    if not isinstance(told, dict):
        raise BadHook("the body is no JSON object")
    issues = [told.get("issue")] + (told["issues"] if isinstance(told.get("issues"), list) else [])
    keys: set[str] = set()
    for issue in issues[:_MOST_KEYS]:
        if isinstance(issue, dict):
            keys |= _keys(issue.get("key"))
    log = told.get("changelog")
    items = log.get("items") if isinstance(log, dict) else None
    for item in items[:_MOST_KEYS] if isinstance(items, list) else []:
        if isinstance(item, dict) and str(item.get("field")).lower() == "key":
            keys |= _keys(item.get("fromString")) | _keys(item.get("toString"))
    return frozenset(keys)


def _keys(value: object) -> set[str]:
    if not isinstance(value, str):
        return set()
    try:
        return {read_key(value)}
    except BadKey:
        return set()
