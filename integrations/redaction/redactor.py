"""Redaction: what the copy for Slack does not tell. The store keeps the original.

A kernel's log and a host's files leak hardware addresses, serial numbers, network addresses and now and then a
secret from a command line. Each is replaced by a name that is the same wherever the same thing stood, so
that a log can still be followed: `[mac-1]`, `[serial-2]`, `[uuid-1]`, `[ip-3]`, `[secret-1]`.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Collection

_KEY = (
    r"(?:[a-z0-9_.-]{0,40}(?:password|passwd|passphrase|secret|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|auth[_-]?token|token|credentials?))"
)
_VALUE = r"(?:\"[^\"\n]{1,400}\"|'[^'\n]{1,400}'|[^\s\"',;&\]]{1,400})"
_DONE = r"(?!\[(?:secret|serial)-\d)"

_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----"
    r"(?:[A-Za-z0-9+/=\s:,.]|-(?!-)){0,20000}"
    r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----"
)
_ASSIGNED = re.compile(
    rf"(?P<key>(?<![a-z0-9_.-]){_KEY}[\"']?[ \t]{{0,3}}[=:][ \t]{{0,3}}){_DONE}(?P<value>{_VALUE})", re.I
)
_OPTION = re.compile(rf"(?P<key>(?<!\S)--?{_KEY}[ \t]{{1,3}}){_DONE}(?!-)(?P<value>{_VALUE})", re.I)
_BEARER = re.compile(
    rf"(?P<key>\b(?:bearer|basic)[ \t]{{1,3}}){_DONE}(?P<value>[A-Za-z0-9+/_.~=-]{{12,400}})", re.I
)
_USERINFO = re.compile(
    rf"(?P<key>\b[a-z][a-z0-9+.-]{{1,20}}://){_DONE}(?P<value>[^\s/@:\"']{{1,100}}:[^\s/@\"']{{1,200}})(?=@)",
    re.I,
)
_SHAPES = re.compile(
    r"\b(?:xox[abeoprs]-[A-Za-z0-9-]{10,200}|xapp-[A-Za-z0-9-]{10,200}|gh[opsur]_[A-Za-z0-9]{20,200}"
    r"|github_pat_[A-Za-z0-9_]{20,200}|glpat-[A-Za-z0-9_-]{16,100}|(?:AKIA|ASIA)[A-Z0-9]{16}"
    r"|eyJ[A-Za-z0-9_-]{8,2000}\.[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{4,2000})\b"
)
_SERIAL = re.compile(
    r"(?P<key>(?:\bserial[ _-]?(?:number|no\.?)|_serial(?:_short)?|\basset[ _-]?tag|\bs/n)"
    r"[\"']?[ \t]{0,20}[:=][ \t]{0,20}[\"']?)"
    rf"{_DONE}(?P<value>[^\s\"',;][^\n\"',;]{{0,120}})",
    re.I,
)
_DISK_ID = re.compile(
    r"(?P<key>\b(?:wwn-0x|naa\.|eui\.|nvme\.|WWN[:= ]{1,3}(?:0x)?))(?P<value>[0-9a-f]{12,64})\b", re.I
)
# firmware's ways of saying that there is none
_NO_SERIAL = re.compile(
    r"(?:not (?:specified|available|present|provided|applicable)|none|unknown|default string|to be filled.*|n/a|0+|\.+"
    r"|no asset (?:tag|information)|[0-3])\s*",
    re.I,
)
_MAC = re.compile(
    r"(?<![0-9a-z:.-])(?:[0-9a-f]{2}(?P<sep>[:-]))(?:[0-9a-f]{2}(?P=sep)){4,18}[0-9a-f]{2}(?![0-9a-z:-])",
    re.I,
)
_UUID = re.compile(
    r"(?<![0-9a-z])[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}(?![0-9a-z])", re.I
)
_IPV4 = re.compile(r"(?<![\w.+~-])(?:\d{1,3}\.){3}\d{1,3}(?![\w+~]|\.\d|-\d)")
_IPV6 = re.compile(r"(?<![\w.:])(?:[0-9a-f]{1,4}:{1,2}){2,7}[0-9a-f]{0,4}(?![\w.:]*\w)", re.I)


class Redactor:
    """Redacts texts that belong together; the same thing has the same name in all of them. `counts` are by sort.

    One text after the other, or a drawn message line by line: keep the instance. Names are numbered as things
    come, so the same texts in the same order give the same names. (A private key over several lines is only
    known as one when its lines come in one text.) Time is linear in the text's length.
    What is in `keep` stays: a host that is known by its address keeps its name.
    """

    def __init__(self, keep: Collection[str] = ()) -> None:
        self._keep = {word.lower() for word in keep}
        self.counts: Counter[str] = Counter()
        self._names: dict[tuple[str, str], str] = {}
        self._last: Counter[str] = Counter()  # the highest number of each sort

    def redact(self, text: str) -> str:
        """The text without what must not be told. Redacting it again changes nothing."""
        text = _PRIVATE_KEY.sub(lambda m: self._name("secret", m[0]), text)
        for pattern in (_USERINFO, _BEARER, _ASSIGNED, _OPTION):
            text = pattern.sub(self._keyed("secret"), text)
        text = _SHAPES.sub(lambda m: self._name("secret", m[0]), text)
        text = _SERIAL.sub(self._serial, text)
        text = _DISK_ID.sub(self._keyed("serial"), text)
        text = _UUID.sub(self._uuid, text)
        text = _MAC.sub(self._mac, text)
        text = _IPV6.sub(self._address, text)
        return _IPV4.sub(self._address, text)

    def redact_bytes(self, data: bytes) -> bytes:
        """As `redact`, for the bytes of a text file; what is no UTF-8 in it stays as it is."""
        return self.redact(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")

    def _name(self, sort: str, value: str) -> str:
        if value.lower() in self._keep:
            return value
        self.counts[sort] += 1
        known = self._names.get((sort, value))
        if known is None:
            self._last[sort] += 1
            known = self._names[(sort, value)] = f"[{sort}-{self._last[sort]}]"
        return known

    def _keyed(self, sort: str) -> Callable[[re.Match[str]], str]:
        return lambda m: m["key"] + self._name(sort, m["value"])

    def _serial(self, match: re.Match[str]) -> str:
        value = match["value"]
        kept = value[len(value.rstrip()) :]
        if _NO_SERIAL.fullmatch(value):
            return match[0]
        return match["key"] + self._name("serial", value.rstrip()) + kept

    def _uuid(self, match: re.Match[str]) -> str:
        nothing = set(match[0]) <= set("0-") or set(match[0].lower()) <= set("f-")
        return match[0] if nothing else self._name("uuid", match[0].lower())

    def _mac(self, match: re.Match[str]) -> str:
        value = match[0].lower().replace("-", ":")
        # Nobody's address, and everybody's.
        return match[0] if set(value) <= set("0:") or set(value) <= set("f:") else self._name("mac", value)

    def _address(self, match: re.Match[str]) -> str:
        try:
            address = ipaddress.ip_address(match[0])
        except ValueError:
            return match[0]
        if address.is_unspecified or address.is_loopback or match[0].startswith("255."):
            return match[0]
        return self._name("ip", str(address))
