"""How to reach Jira and how to look for changes in it."""

from __future__ import annotations

import re
import string
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator

DEFAULT_JQL = (
    "project in ({projects}) AND (updated >= {since} OR statusCategory != Done) AND ({names})"
    " ORDER BY updated DESC"
)
_ADDRESS = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")
_GATEWAY = "https://api.atlassian.com"
_OF_A_SITE = re.compile(re.escape(_GATEWAY) + r"/ex/jira/[0-9A-Za-z-]+/?")
_PROJECT = re.compile(r"[A-Z][A-Z0-9_]{1,31}")
_FIELD = re.compile(r"[a-z]+|customfield_[0-9]+")


class JiraConfig(BaseModel):
    """`[jira]`.

    url: the address at which people browse tickets.
    api_url: where the REST API is asked, when not at `url`: an API token with scopes, and with it any of a service
    account, is taken at Atlassian's gateway alone (https://api.atlassian.com/ex/jira/CLOUD-ID).
    flavour: "cloud" (email and API token) or "datacenter" (personal access token; no email).
    jql: the search; {projects} and {names} are put in quoted, {since} is a period like "-180m", which means the
    same in every time zone. {names} and {since} must be there.
    project_jql: for projects that need a search of their own, {"NET": template}; each must be one of `projects`.
    name_fields: the ids of the fields in which a ticket names hosts, rings, services and hardware.
    started_field, ended_field: the ids of the fields that say when a change begins and ends.
    webhook_secret: what Jira must know to say at POST /v1/jira that a ticket has changed; without one it is closed.
    timeout: seconds for a connection and for each wait for bytes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    api_url: str | None = None
    flavour: Literal["cloud", "datacenter"] = "cloud"
    email: str | None = Field(default=None, validate_default=True)
    token: SecretStr
    projects: tuple[str, ...] = Field(min_length=1)
    jql: str = DEFAULT_JQL
    project_jql: dict[str, str] = Field(default={})
    name_fields: tuple[str, ...] = ("summary", "description", "labels")
    started_field: str = "created"
    ended_field: str = "resolutiondate"
    timeout: float = Field(default=10.0, gt=0, le=120)
    max_results: int = Field(default=20, ge=1, le=200)
    webhook_secret: SecretStr | None = None

    @field_validator("url")
    @classmethod
    def _an_address(cls, url: str) -> str:
        if not _ADDRESS.fullmatch(url):
            raise ValueError("an address like https://jira.example.com, without user, query or fragment")
        if url.startswith(_GATEWAY):
            raise ValueError(
                "nobody browses tickets at the gateway: put it in api_url, and the site's address here"
            )
        return url.rstrip("/")

    @field_validator("api_url")
    @classmethod
    def _a_gateway(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if not _ADDRESS.fullmatch(url) or (url.startswith(_GATEWAY) and not _OF_A_SITE.fullmatch(url)):
            raise ValueError("an address like https://api.atlassian.com/ex/jira/CLOUD-ID, without /rest")
        return url.rstrip("/")

    @property
    def asked_at(self) -> str:
        """The address that the REST paths follow."""
        return self.api_url or self.url

    @field_validator("webhook_secret")
    @classmethod
    def _a_secret(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is not None and len(secret.get_secret_value()) < 16:
            raise ValueError("at least 16 characters")
        return secret

    @field_validator("token")
    @classmethod
    def _a_token(cls, token: SecretStr) -> SecretStr:
        # no other check here: the message of a failed one would show the token
        value = token.get_secret_value().strip()
        if not value:
            raise ValueError("a token; this one is empty")
        return SecretStr(value)

    @field_validator("projects")
    @classmethod
    def _project_keys(cls, projects: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [key for key in projects if not _PROJECT.fullmatch(key)]
        if wrong:
            raise ValueError(f"project keys like OPS, not {', '.join(map(repr, wrong))}")
        return projects

    @field_validator("started_field", "ended_field")
    @classmethod
    def _field_id(cls, field: str) -> str:
        return _checked_field(field)

    @field_validator("name_fields")
    @classmethod
    def _field_ids(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_checked_field(field) for field in fields)

    @field_validator("jql")
    @classmethod
    def _jql_template(cls, jql: str) -> str:
        return _checked_template(jql)

    @field_validator("project_jql")
    @classmethod
    def _templates(cls, templates: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        wrong = [key for key in templates if key not in info.data.get("projects", ())]
        if wrong:
            raise ValueError(f"only for projects that are searched, not {', '.join(map(repr, wrong))}")
        return {key: _checked_template(jql) for key, jql in templates.items()}

    @field_validator("email")
    @classmethod
    def _as_the_flavour_wants(cls, email: str | None, info: ValidationInfo) -> str | None:
        flavour = info.data.get("flavour")
        if flavour == "cloud" and not email:
            raise ValueError('flavour "cloud" needs the email of the account that the token belongs to')
        if flavour == "datacenter" and email:
            raise ValueError('flavour "datacenter" takes a personal access token and no email')
        return email


def _checked_field(field: str) -> str:
    if not _FIELD.fullmatch(field):
        raise ValueError("a field id: created, resolutiondate, duedate or customfield_10041")
    return field


def _checked_template(jql: str) -> str:
    places = [
        (name, spec, conversion)
        for _, name, spec, conversion in string.Formatter().parse(jql)
        if name is not None
    ]
    names = {name for name, _, _ in places}
    if any(spec or conversion for _, spec, conversion in places) or not names <= {
        "projects",
        "since",
        "names",
    }:
        raise ValueError("only {projects}, {since} and {names} may stand in it; write {{ for a brace")
    if not {"since", "names"} <= names:
        raise ValueError("{since} and {names} must stand in it")
    return jql
