"""What goes wrong in the workspace.

WorkspaceError
├── ApiError        a Web API call is refused, with Slack's error code
└── ActError        a person's act on the page cannot be done
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class WorkspaceError(Exception):
    """The workspace could not do it; see the error's code."""


class ApiError(WorkspaceError):
    """A Web API call is refused; `code` is the error that Slack itself would answer."""

    def __init__(
        self,
        code: str,
        *,
        messages: Sequence[str] = (),
        status: int = 200,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(code)
        self.code = code
        self.messages = tuple(messages)
        self.status = status
        self.headers = dict(headers or {})

    def answer(self) -> dict[str, Any]:
        """The JSON body: `ok`, `error` and, as Slack does, each broken rule with its JSON pointer."""
        body: dict[str, Any] = {"ok": False, "error": self.code}
        if self.messages:
            body["errors"] = list(self.messages)
            body["response_metadata"] = {"messages": [f"[ERROR] {text}" for text in self.messages]}
        return body


class ActError(WorkspaceError):
    """A person's act cannot be done; `code` says why, in the words of the page's API."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(f"{code}: {detail}" if detail else code)
        self.code = code
        self.detail = detail
