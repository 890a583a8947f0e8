"""Redaction: what the copy for Slack does not tell. The store keeps the original.

A kernel's log and a host's files leak hardware addresses, serial numbers, network addresses and now and then a
secret from a command line. Each is replaced by a name that is the same wherever the same thing stood, so
that a log can still be followed: `[mac-k3f9x2]`, `[serial-…]`, `[uuid-…]`, `[ip-…]`, `[email-…]`, `[secret-…]`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

from integrations.redaction import address_text, secret_text
from integrations.redaction.names import Policy, policy

_CLOSING = "\"'>)]},;."


class Redactor:
    """Redacts texts. `counts` are by sort: secret, email, mac, ip, serial, uuid.

    The same thing has the same name in every text of this installation. (A private key over several lines is known
    as one when its lines come in one text; alone, a line of it is known by its look.) Time is linear in the length.
    What is in `keep` stays: a host that is known by its address keeps its name.
    """

    def __init__(self, keep: Collection[str] = (), *, by: Policy | None = None) -> None:
        self._keep = {word.lower() for word in keep}
        self._policy = by or policy()
        self.counts: Counter[str] = Counter()

    def redact(self, text: str) -> str:
        """The text without what must not be told. Redacting it again changes nothing."""
        config = self._policy.config
        if config.keys:
            text = self._spans(text, secret_text.private_keys(text), "secret")
        if config.urls:
            text = secret_text.URLS.sub(self._secret, text)
        if config.headers:
            text = secret_text.HEADERS.sub(self._secret, text)
        if config.tokens:
            text = self._values(text, secret_text.TOKENS)
        if config.passwords:
            for rule in secret_text.PASSWORDS:
                text = rule.sub(self._secret, text)
        if config.keys:
            text = self._values(text, (*secret_text.HASHES, secret_text.PART))
        if config.serial:
            text = address_text.SERIAL.sub(self._serial, text)
            text = address_text.DISK_ID.sub(lambda m: m["key"] + self._name("serial", m["value"]), text)
        if config.uuid:
            text = address_text.UUID.sub(self._uuid, text)
        if config.email and "@" in text:
            text = self._spans(text, address_text.emails(text), "email", fold=True)
        if config.mac:
            text = address_text.MAC.sub(self._mac, text)
            text = address_text.MAC_DOTTED.sub(self._mac_other, text)
            text = address_text.MAC_PLAIN.sub(self._mac_other, text)
        if config.ipv6:
            text = address_text.IPV6.sub(self._address(address_text.ipv6), text)
        if config.ipv4:
            text = address_text.IPV4.sub(self._address(address_text.ipv4), text)
        return text

    def redact_bytes(self, data: bytes) -> bytes:
        """As `redact`, for the bytes of a text file; what is no UTF-8 in it stays as it is."""
        return self.redact(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    def _name(self, sort: str, value: str) -> str:
        if value.lower() in self._keep:
            return value
        self.counts[sort] += 1
        return self._policy.name(sort, value)

    def _values(self, text: str, patterns: Iterable[re.Pattern[str]]) -> str:
        for pattern in patterns:
            text = pattern.sub(self._secret, text)
        return text

    def _secret(self, match: re.Match[str]) -> str:
        """The match with its value named. Quotes around it, and brackets that it closes, are none of it."""
        start, end = match.span("value")
        whole, value = match[0], match["value"]
        if len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'":
            start, end, value = start + 1, end - 1, value[1:-1]
            closing = ""
        else:
            bare = value.rstrip(_CLOSING)
            closing = value[len(bare) :] if bare else ""
            value = bare or value
        if not value:
            return whole
        offset = match.start()
        before, after = whole[: start - offset], whole[end - offset :]
        return f"{before}{self._name('secret', value)}{closing}{after}"

    def _spans(self, text: str, spans: Iterable[tuple[int, int]], sort: str, *, fold: bool = False) -> str:
        parts: list[str] = []
        at = 0
        for start, end in spans:
            value = text[start:end]
            parts += (text[at:start], self._name(sort, value.lower() if fold else value))
            at = end
        return "".join([*parts, text[at:]]) if parts else text

    def _serial(self, match: re.Match[str]) -> str:
        value = match["value"]
        kept = value[len(value.rstrip()) :]
        if address_text.no_serial(value):
            return match[0]
        return match["key"] + self._name("serial", value.rstrip()) + kept

    def _uuid(self, match: re.Match[str]) -> str:
        nothing = set(match[0]) <= set("0-") or set(match[0].lower()) <= set("f-")
        return match[0] if nothing else self._name("uuid", match[0].lower())

    def _mac(self, match: re.Match[str]) -> str:
        value = match[0].lower().replace("-", ":")
        # Nobody's address, and everybody's.
        return match[0] if set(value) <= set("0:") or set(value) <= set("f:") else self._name("mac", value)

    def _mac_other(self, match: re.Match[str]) -> str:
        value = match["value"]
        plain = value.replace(".", "").lower()
        if set(plain) in ({"0"}, {"f"}):
            return match[0]
        colons = ":".join(plain[i : i + 2] for i in range(0, 12, 2))
        return match[0].replace(value, self._name("mac", colons))

    def _address(self, read: Callable[[re.Match[str]], str | None]) -> Callable[[re.Match[str]], str]:
        def named(match: re.Match[str]) -> str:
            value = read(match)
            if value is None:
                return match[0]
            return match[0].replace(value, self._name("ip", address_text.one_way(value)), 1)

        return named


def redact_lines(lines: Sequence[str], keep: Collection[str] = ()) -> list[str]:
    """Lines that belong together, redacted as one text: a key that goes over several of them is known as one."""
    return Redactor(keep).redact("\n".join(lines)).split("\n")
