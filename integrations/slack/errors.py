"""What can go wrong with a call to Slack, and what it means for the message.

SlackError
├── SlackRefused      Slack said no; the same call will be refused again       (permanent, did not land)
├── SlackRateLimited  HTTP 429; `retry_after` seconds                          (did not land)
├── SlackDown         the call never reached Slack                             (did not land)
└── SlackUnclear      the answer was lost: the call may have landed, or may still land
"""

from __future__ import annotations


class SlackError(Exception):
    """A call to Slack failed."""

    permanent = False
    outcome = "refused"

    def __init__(self, message: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").strip())


class SlackRefused(SlackError):
    """Slack refused the call. The error code says why; a scope or an invitation to the channel may be missing.

    `mendable`: it is not the message that is wrong but the installation, and a person can put it right (invite the
    bot, renew the token); the same call may then be taken.
    """

    permanent = True

    def __init__(self, method: str, code: str, details: tuple[str, ...] = ()) -> None:
        self.method = method
        self.code = code
        self.details = details
        remedy = _REMEDIES.get(code, "")
        self.mendable = code in _MENDABLE
        more = f" ({'; '.join(details)})" if details else ""
        super().__init__(f"Slack refused {method}: {code}{more}.{' ' + remedy if remedy else ''}")


class SlackRateLimited(SlackError):
    """Slack asks for a pause (HTTP 429). The call is made again when it is over."""

    outcome = "rate_limited"

    def __init__(self, method: str, retry_after: float) -> None:
        self.method = method
        self.retry_after = retry_after
        super().__init__(f"Slack asks to wait {retry_after:g} s before {method}. Try again after that.")


class SlackDown(SlackError):
    """Slack cannot be reached. The call is made again with growing pauses."""

    outcome = "down"


class SlackUnclear(SlackError):
    """Slack's answer was lost, so the call may have landed. It is looked for before it is made again."""

    outcome = "unclear"


_REMEDIES = {
    "not_in_channel": "Invite the bot: `/invite @panicroom` in that channel.",
    "channel_not_found": "Check the channel id in [routing]; a private channel needs an invitation.",
    "is_archived": "The channel is archived: unarchive it or route to another one.",
    "invalid_auth": "Check [slack] bot_token.",
    "not_authed": "Set [slack] bot_token.",
    "token_expired": "Install the app again and set [slack] bot_token.",
    "token_revoked": "The token was revoked: install the app again and set [slack] bot_token.",
    "account_inactive": "The token was revoked: install the app again and set [slack] bot_token.",
    "missing_scope": "Compare the app's scopes with `panicroom manifest` and install it again.",
    "expired_trigger_id": "Slack gives 3 s to open a modal: press the button once more.",
}

_MENDABLE = _REMEDIES.keys() - {"expired_trigger_id"}
