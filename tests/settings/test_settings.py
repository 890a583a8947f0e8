from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bot.settings import Settings, SettingsError, load_settings
from commands.durations import read_duration, write_duration

WORKING = """
[server]
shared_secrets = ["0123456789abcdef-first", "0123456789abcdef-second"]
[slack]
bot_token = "xoxb-token"
signing_secret = "signing"
[routing]
channel = "C0INCIDENTS"
"""


def load(tmp_path: Path, text: str = "", **environ: str) -> Settings:
    file = tmp_path / "panicroom.toml"
    file.write_text(WORKING + text)
    return load_settings(file, {f"PANICROOM_{key}": value for key, value in environ.items()})


def problems(tmp_path: Path, text: str, **environ: str) -> list[str]:
    with pytest.raises(SettingsError) as error:
        load(tmp_path, text, **environ)
    assert str(error.value) == "\n".join(error.value.problems)
    return [p.replace(str(tmp_path / "panicroom.toml"), "panicroom.toml") for p in error.value.problems]


def test_the_least_that_works_and_its_defaults(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.server.time_window == timedelta(seconds=300)
    assert settings.server.body_limit == 1024 * 1024
    assert [s.get_secret_value()[-6:] for s in settings.server.shared_secrets] == ["-first", "second"]
    assert settings.slack.mode == "http"
    assert settings.slack.command == "/panic"
    assert settings.slack.api_url == "https://slack.com/api/"
    incident = settings.incident
    assert incident.remind_after == timedelta(minutes=30)
    assert incident.mention_again_after == timedelta(minutes=5)
    assert incident.reopen_within == timedelta(hours=24)
    assert (incident.wave_threshold, incident.wave_window) == (5, timedelta(minutes=5))
    assert (incident.crash_loop_count, incident.crash_loop_window) == (3, timedelta(hours=1))
    assert settings.pager.enabled is False
    assert settings.inventory.closed is False


def test_relative_places_stand_beside_the_file(tmp_path: Path) -> None:
    settings = load(tmp_path)
    assert settings.database.url == f"sqlite:///{tmp_path}/panicroom.db"
    assert settings.store.dir == tmp_path / "store"
    other = load(tmp_path, '[store]\ndir = "/var/lib/x"\n[database]\nurl = "sqlite:////var/lib/y.db"\n')
    assert other.store.dir == Path("/var/lib/x")
    assert other.database.url == "sqlite:////var/lib/y.db"


def test_the_environment_overrides_the_file(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        "[incident]\nremind_after = '10m'\njoin_window = 60\n",
        INCIDENT__REMIND_AFTER="45m",
        SERVER__PORT="9000",
        SERVER__SHARED_SECRETS='["from-the-environment"]',
        ROUTING='{"mention_group": "S0ONCALL"}',
        HOSTS='[{"name": "web-*", "ring": "prod"}]',
        INVENTORY__CLOSED="true",
    )
    assert settings.incident.remind_after == timedelta(minutes=45)
    assert settings.incident.join_window == timedelta(minutes=1)
    assert settings.server.port == 9000
    assert [s.get_secret_value() for s in settings.server.shared_secrets] == ["from-the-environment"]
    assert (settings.routing.channel, settings.routing.mention_group) == ("C0INCIDENTS", "S0ONCALL")
    assert settings.make_inventory().find("web-3") is not None
    assert settings.make_inventory().closed is True


def test_everything_can_come_from_the_environment() -> None:
    settings = load_settings(
        None,
        {
            "PANICROOM_SLACK__MODE": "socket",
            "PANICROOM_SLACK__BOT_TOKEN": "xoxb-1",
            "PANICROOM_SLACK__APP_TOKEN": "xapp-1",
            "PANICROOM_ROUTING__CHANNEL": "C0123",
            "PANICROOM_SERVER__SHARED_SECRETS": '["0123456789abcdef"]',
            "PANICROOM_CONFIG": "is not a setting",
            "HOME": "/root",
        },
    )
    assert settings.database.url == "sqlite:///panicroom.db"
    assert settings.slack.app_token.get_secret_value() == "xapp-1"


def test_secrets_from_files(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("xoxb-from-file\n")
    (tmp_path / "sign").write_text("  signed \n\n")
    (tmp_path / "hosts").write_text("first-0123456789abcdef\nsecond-0123456789abcdef\n")
    (tmp_path / "web").write_text("own-0123456789abcdef")
    (tmp_path / "panicroom.toml").write_text(
        """
        server.shared_secrets_file = "hosts"
        slack.bot_token = "file:token"
        slack.signing_secret_file = "sign"
        routing.channel = "C0INCIDENTS"
        [[hosts]]
        name = "web-17"
        secret = "file:web"
        """
    )
    settings = load_settings(tmp_path / "panicroom.toml", {})
    assert settings.slack.bot_token.get_secret_value() == "xoxb-from-file"
    assert settings.slack.signing_secret.get_secret_value() == "signed"
    assert [s.get_secret_value()[:6] for s in settings.server.shared_secrets] == ["first-", "second"]
    (tmp_path / "other").write_text("xoxb-from-another-file")
    again = load_settings(
        tmp_path / "panicroom.toml",
        {
            "PANICROOM_SLACK__BOT_TOKEN_FILE": str(tmp_path / "other"),
            "PANICROOM_SLACK__SIGNING_SECRET": "by variable",
        },
    )
    assert again.slack.bot_token.get_secret_value() == "xoxb-from-another-file"
    assert again.slack.signing_secret.get_secret_value() == "by variable"


def test_no_secret_is_shown(tmp_path: Path) -> None:
    settings = load(
        tmp_path,
        "[database]\nurl = 'postgresql://u:pass-word@db/p'\n"
        "[pager]\nurl = 'http://pager/'\nrouting_key = 'routing-key'\n",
    )
    assert settings.database.url == "postgresql+psycopg://u:pass-word@db/p"
    assert "pass-word" not in settings.database.shown
    shown = repr(settings)
    for secret in ("0123456789abcdef", "xoxb-token", "signing'", "pass-word", "routing-key"):
        assert secret not in shown


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    settings = load(tmp_path)
    with pytest.raises(ValidationError):
        settings.server.port = 1
    with pytest.raises(ValidationError):
        settings.server = settings.server


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[log]\nlevel = 'loud'",
            "log.level (panicroom.toml): must be 'debug', 'info', 'warning' or 'error', not 'loud'",
        ),
        (
            "[incident]\nremind_after = 'soon'",
            "incident.remind_after (panicroom.toml): 'soon' is no length of time; "
            "write seconds (90) or 45s, 30m, 24h, 7d, 1h30m",
        ),
        (
            "[incident]\nwave_threshold = 0",
            "incident.wave_threshold (panicroom.toml): must be greater than or equal to 1, not 0",
        ),
        (
            "[[routing.rules]]\nchannel = 'C0123'",
            "routing.rules[0] (panicroom.toml): a rule needs at least one of ring, criticality, owner",
        ),
        (
            "[[hosts]]\nname = 'a'\n[[hosts]]\nname = 'b'\ncriticality = 'hgh'",
            "hosts[1].criticality (panicroom.toml): must be one of low, normal, critical, not 'hgh'",
        ),
        ("[[hosts]]\nring = 'x'", "hosts[0].name (panicroom.toml): is missing"),
        (
            "[[hosts]]\nname = 'a'\n[[hosts]]\nname = 'A'",
            "hosts[1].name (panicroom.toml): 'A' is already the name of hosts[0]",
        ),
        (
            "[[hosts]]\nname = 'a'\nsecret = 'short'",
            "hosts[0].secret (panicroom.toml): needs at least 16 characters",
        ),
        (
            "[[hosts]]\nname = 'a'\nsecret = ['0123456789abcdef', 'short']",
            "hosts[0].secret (panicroom.toml): needs at least 16 characters",
        ),
        ("[[hosts]]\nname = 'a'\nsecret = 5", "hosts[0].secret[0] (panicroom.toml): must be a valid string"),
        ("[inventory]\nclosed = 'perhaps'", "inventory.closed (panicroom.toml): must be a valid boolean"),
        ("[pager]\nurl = 'pager.example'", "pager.url (panicroom.toml): must have the form"),
        ("[pager]\nurl = 'http://pager/'", "pager.routing_key (panicroom.toml): is missing"),
        (
            "[database]\nurl = 'mysql://x/y'",
            "database.url (panicroom.toml): must be sqlite:///FILE or postgresql://",
        ),
        (
            "[database]\nurl = 'sqlite:///:memory:'",
            "database.url (panicroom.toml): a database in memory forgets",
        ),
    ],
)
def test_a_bad_value_names_the_key_the_file_and_what_is_allowed(tmp_path: Path, text: str, told: str) -> None:
    found = problems(tmp_path, text)
    assert len(found) == 1
    assert found[0].startswith(told), found[0]


def test_unknown_keys_are_refused_with_the_nearest_known_one(tmp_path: Path) -> None:
    found = problems(
        tmp_path, "[incident]\nremind_aftr = '1m'\n[colours]\nred = 1", SLACK__BOT_TOKN="x", NONSENSE="1"
    )
    assert any(
        p.startswith(
            "incident.remind_aftr (panicroom.toml): is no setting; did you mean remind_after? Allowed here:"
        )
        for p in found
    )
    assert any(p.startswith("colours (panicroom.toml): is no setting; Allowed here: access,") for p in found)
    assert any(p.startswith("slack.bot_tokn (PANICROOM_SLACK__BOT_TOKN): is no setting") for p in found)
    assert any(p.startswith("nonsense (PANICROOM_NONSENSE): is no setting") for p in found)


def test_everything_wrong_is_told_at_once() -> None:
    with pytest.raises(SettingsError) as error:
        load_settings(None, {})
    keys = [p.split(":")[0] for p in error.value.problems]
    assert keys == ["slack.bot_token", "slack.signing_secret", "routing.channel", "server.shared_secrets"]
    assert "PANICROOM_SLACK__BOT_TOKEN" in error.value.problems[0]


def test_a_secret_is_never_quoted_in_a_problem(tmp_path: Path) -> None:
    found = problems(tmp_path, "", SERVER__SHARED_SECRETS='["hunter2"]', SLACK__BOT_TOKEN="[1", SLACK="{")
    assert not any("hunter2" in p for p in found)
    assert any(p.startswith("slack (PANICROOM_SLACK): must be JSON") for p in found)


def test_what_is_wrong_with_files(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"absent.toml: cannot be read: No such file"):
        load_settings(tmp_path / "absent.toml", {})
    (tmp_path / "bad.toml").write_text("[server\n")
    with pytest.raises(SettingsError, match=r"bad.toml: is not valid TOML: .*line 1"):
        load_settings(tmp_path / "bad.toml", {})
    (tmp_path / "empty").write_text("\n \n")
    found = problems(
        tmp_path, "[pager]\nrouting_key = 'file:gone'", SLACK__SIGNING_SECRET_FILE=str(tmp_path / "empty")
    )
    assert any(
        "slack.signing_secret_file (PANICROOM_SLACK__SIGNING_SECRET_FILE): the secret file" in p
        for p in found
    )
    assert any(
        p.startswith("pager.routing_key (panicroom.toml): the secret file") and "No such file" in p
        for p in found
    )
    found = problems(tmp_path, "[pager]\nrouting_key = 'a'\nrouting_key_file = 'b'")
    assert found == [
        "pager.routing_key_file (panicroom.toml): stands beside pager.routing_key; give one of the two"
    ]


@pytest.mark.parametrize(
    ("given", "bytes_"),
    [("1MiB", 1 << 20), ("512 KiB", 512 << 10), (2048, 2048), ("4096", 4096), ("1mb", 1_000_000)],
)
def test_sizes(tmp_path: Path, given: str | int, bytes_: int) -> None:
    assert load(tmp_path, "", SERVER__BODY_LIMIT=str(given)).server.body_limit == bytes_


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("30m", 1800),
        ("24h", 86400),
        (90, 90),
        ("90", 90),
        (1.5, 1.5),
        ("1h30m", 5400),
        ("7 d", 604800),
        ("500ms", 0.5),
    ],
)
def test_durations(given: object, seconds: float) -> None:
    assert read_duration(given).total_seconds() == seconds


@pytest.mark.parametrize(
    "given", ["", "soon", "-5m", "5 parsecs", "m", None, True, [], -1, 1e300, "9" * 40, "1e5", "٣m"]
)
def test_no_durations(given: object) -> None:
    with pytest.raises(ValueError, match=r"length of time"):
        read_duration(given)


@given(st.integers(0, 3650 * 86400 * 1000))
def test_a_written_duration_reads_back(milliseconds: int) -> None:
    length = timedelta(milliseconds=milliseconds)
    assert read_duration(write_duration(length)) == length


@given(st.text(max_size=30))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    try:
        told = f"a length of time: {read_duration(text)}"
    except ValueError as error:
        told = str(error)
    assert "length of time" in told


@given(
    st.dictionaries(
        st.sampled_from(
            ["SERVER", "SERVER__PORT", "SLACK__MODE", "HOSTS", "ROUTING__RULES", "A__B__C", "X__", "HOSTS__0"]
        ),
        st.text(st.characters(exclude_characters="\x00"), max_size=20)
        | st.sampled_from(["[]", "{}", "[1]", '{"a": [{}]}']),
    )
)
def test_no_environment_makes_anything_but_settings_errors(environ: dict[str, str]) -> None:
    with pytest.raises(SettingsError):
        load_settings(None, {f"PANICROOM_{k}": v for k, v in environ.items()})


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ('secret = "the-only-one-0123"', ["the-only-one-0123"]),
        ('secret = ["the-new-one-01234", "the-old-one-01234"]', ["the-new-one-01234", "the-old-one-01234"]),
        ('secret = "file:both"', ["first-of-the-file", "second-of-the-file"]),
        ('secret_file = "both"', ["first-of-the-file", "second-of-the-file"]),
        ('secret = ["the-new-one-01234", "file:one"]', ["the-new-one-01234", "one-of-the-file-0"]),
        ('secret = ["file:both"]', ["first-of-the-file", "second-of-the-file"]),
        ("", []),
    ],
)
def test_a_host_may_have_two_secrets_during_a_rotation(
    tmp_path: Path, written: str, meant: list[str]
) -> None:
    (tmp_path / "one").write_text("one-of-the-file-0\n")
    (tmp_path / "both").write_text("first-of-the-file\n\nsecond-of-the-file\n")
    (host,) = load(tmp_path, f'[[hosts]]\nname = "db-1"\n{written}\n').hosts
    assert [secret.get_secret_value() for secret in host.secret] == meant
    assert "of-the-file" not in repr(host)


def test_shared_secrets_may_stand_in_one_file(tmp_path: Path) -> None:
    (tmp_path / "both").write_text("first-of-the-file\nsecond-of-the-file\n")
    settings = load(tmp_path, SERVER__SHARED_SECRETS=f'["file:{tmp_path}/both"]')
    found = [secret.get_secret_value() for secret in settings.server.shared_secrets]
    assert found == ["first-of-the-file", "second-of-the-file"]
