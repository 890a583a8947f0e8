"""`[incident]` and `[routing]`: the life of an incident, and where it is told."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field, model_validator

from commands.durations import PositiveDuration


class StormConfig(BaseModel):
    """`[incident.storm]`: when a thread's hosts come too fast to be told one by one, and how they are told then."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hosts: int = Field(
        default=8,
        ge=2,
        le=10_000,
        description="So many hosts in one thread within `window` are a storm: they are counted, not told one by one.",
    )
    window: PositiveDuration = Field(
        default=timedelta(minutes=2),
        description="The window in which `hosts` is counted, by when the bot was told.",
    )
    edit_every: PositiveDuration = Field(
        default=timedelta(seconds=3),
        description="The count at the head of a storm's thread is brought up to date this often at most.",
    )
    digest_every: PositiveDuration = Field(
        default=timedelta(seconds=30),
        description="A storm that grows says so in its thread this often at most.",
    )
    quiet: PositiveDuration = Field(
        default=timedelta(minutes=2),
        description="A storm is over when no host came for so long: a last digest is told, with a picture.",
    )
    picture_every: PositiveDuration = Field(
        default=timedelta(minutes=5),
        description="A picture of a storm that goes on is uploaded this often at most; one more when it is over.",
    )
    same_event: PositiveDuration = Field(
        default=timedelta(seconds=60),
        description="Threads of other signatures on the storm's kernel whose panics occurred this close to it are told "
        "as one event with it.",
    )
    evidence: int = Field(
        default=3,
        ge=0,
        le=100,
        description="Evidence is collected by itself from the first so many hosts of a storm and from every critical "
        "one; 0 for none.",
    )


class IncidentConfig(BaseModel):
    """`[incident]`: windows and limits in the life of an incident. Lengths of time: `90`, `30m`, `24h`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    join_window: PositiveDuration = Field(
        default=timedelta(hours=6),
        description="A panic with the same signature joins an open incident whose last panic is at most this old.",
    )
    remind_after: PositiveDuration = Field(
        default=timedelta(minutes=30),
        description="Reminder in the thread when the runbook is not done this long after the incident opened.",
    )
    mention_again_after: PositiveDuration = Field(
        default=timedelta(minutes=5),
        description="A critical incident that nobody acknowledged mentions the group again after this long "
        "and is paged for at `page_after`.",
    )
    page_after: PositiveDuration = Field(
        default=timedelta(minutes=10),
        description="A critical incident that still nobody acknowledged calls the pager after this long.",
    )
    page_when_slack_down_for: PositiveDuration = Field(
        default=timedelta(minutes=2),
        description="The pager is called for critical incidents when Slack cannot be reached for this long.",
    )
    reopen_within: PositiveDuration = Field(
        default=timedelta(hours=24),
        description="Resolved at most this long ago and back again: the thread is reopened. Later: a new incident.",
    )
    wave_threshold: int = Field(
        default=5,
        ge=1,
        le=1000,
        description="More panics without a readable cause than this within `wave_window` share one wave thread.",
    )
    wave_window: PositiveDuration = Field(
        default=timedelta(minutes=5), description="The window in which `wave_threshold` is counted."
    )
    crash_loop_count: int = Field(
        default=3,
        ge=2,
        le=1000,
        description="This many panics of one host within `crash_loop_window` are a crash loop.",
    )
    crash_loop_window: PositiveDuration = Field(
        default=timedelta(hours=1), description="The window in which `crash_loop_count` is counted."
    )
    storm: StormConfig = StormConfig()


class RoutingRule(BaseModel):
    """One `[[routing.rules]]` entry: all conditions that are given must hold; the first rule that fits wins."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channel: str = Field(pattern="^[CGD][A-Z0-9]{2,}$", description="Id of the channel (not its name).")
    ring: str | None = Field(default=None, description="The host's ring.")
    criticality: str | None = Field(
        default=None, pattern="^(low|normal|critical)$", description="The host's criticality."
    )
    owner: str | None = Field(default=None, description="The host's owner.")

    @model_validator(mode="after")
    def _has_a_condition(self) -> RoutingRule:
        if self.ring is None and self.criticality is None and self.owner is None:
            raise ValueError("a rule needs at least one of ring, criticality, owner")
        return self

    def fits(self, *, ring: str | None, criticality: str | None, owner: str | None) -> bool:
        return all(
            wanted is None or (has is not None and has.lower() == wanted.lower())
            for wanted, has in ((self.ring, ring), (self.criticality, criticality), (self.owner, owner))
        )


class RoutingConfig(BaseModel):
    """`[routing]`: which channel an incident is told in, and who is mentioned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channel: str = Field(
        default="",
        pattern="^([CGD][A-Z0-9]{2,})?$",
        description="Id of the channel for all that no rule fits.",
    )
    rules: tuple[RoutingRule, ...] = Field(
        default=(), description="Other channels by ring, criticality or owner; the first rule that fits wins."
    )
    mention_group: str | None = Field(
        default=None,
        pattern="^S[A-Z0-9]{2,}$",
        description="Id of the user group mentioned for critical hosts, and for those only.",
    )

    def channel_for(self, ring: str | None, criticality: str | None, owner: str | None) -> str:
        """The channel for a host with these properties."""
        for rule in self.rules:
            if rule.fits(ring=ring, criticality=criticality, owner=owner):
                return rule.channel
        return self.channel
