"""Where secrets stand in a host's text: patterns whose group `value` is the secret, and private keys.

All are linear: alternatives exclude each other, and what is repeated is given back to nobody (`++`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from integrations.redaction.names import DONE
from integrations.redaction.rule import rule

_WORDS = (
    r"(?<!no)pass(?:word|wd|phrase|code)s?|(?<=[_.\"'-])pass"
    # `PASS: …` is a test's word, and PWD a shell's directory.
    r"|(?<![a-z])(?:pass(?![\"']?[ \t]*:)|pwd(?![\"']?[ \t]*[:=][ \t]*/)|psk|otp)"
    r"|rootpw|secret|credentials?|token|community"
    r"|(?:api|access|secret|private|encryption|encrypt|signing|master|shared|crypt|luks|chap|wpa|session|storage"
    r"|account|license|client|server|auth|volume|backup)[_-]?key"
)
_ENDING = r"(?:[_.-]?(?:hash|value|b64|base64|plain|text|old|new|in|out|id|[0-9]{1,2}))?"
_SIGN = r"[\"']?[ \t]{0,8}(?>=>|:=|[=:])[ \t]{0,8}"
# A comma ends a value only where the next option begins: passwords hold commas, too.
_BARE = r"(?:[^\s,;&]|[,;&](?![\w.-]{1,40}=|\s|\Z))++"
_VALUE = rf"(?:\"(?:[^\"\\\n]|\\.)*+\"[^\s,;&\"']*+|'(?:[^'\\\n]|\\.)*+'[^\s,;&\"']*+|{_BARE})"
_V = rf"{DONE}(?P<value>{_VALUE})"
_WORD = rf"{DONE}(?P<value>\"[^\"\n]++\"|'[^'\n]++'|[^\s\"']++)"
_REST = r"[^\n]{0,200}?"

_ASSIGNED = rf"(?:{_WORDS}){_ENDING}{_SIGN}{_V}"
_OPTION = rf"(?<!\S)--?[a-z0-9_.-]{{0,40}}(?:{_WORDS})[ \t]{{1,8}}(?![-|>&]){_V}"
# Programs that take a password in a place of their own.
_PROGRAMS = (
    rf"\b(?:mysql\w*|mariadb[\w-]*){_REST}[ \t](?-i:-p)(?=\S){_WORD}",
    rf"\bsshpass[ \t]{{1,8}}-p[ \t]{{0,8}}{_WORD}",
    rf"\b(?:curl|wget){_REST}[ \t](?:-u|--user|--proxy-user|-U)[ \t=]{{1,8}}[\"']?[^\s:\"']{{1,100}}:{_WORD}",
    rf"\bsnmp(?:get|walk|set|bulk|table|trap|inform|status|df|netstat|test){_REST}[ \t](?-i:-[cAX])[ \t]{{1,8}}{_WORD}",
    rf"\bredis-cli{_REST}[ \t](?-i:-a)[ \t]{{1,8}}{_WORD}",
    rf"\bldap\w+{_REST}[ \t](?-i:-w)[ \t]{{1,8}}{_WORD}",
    rf"\b(?:ipmitool|ipmi-\w+|racadm){_REST}[ \t]-[Pp][ \t]{{1,8}}{_WORD}",
    rf"\bopenssl\b{_REST}[ \t]pass:{_WORD}",
    rf"\b(?:smbclient|mount\.cifs|rpcclient|net){_REST}[ \t]-U[ \t]{{0,8}}[\"']?[^\s%\"']{{1,100}}%{_WORD}",
    rf"\bwpa_passphrase[ \t]{{1,8}}\S{{1,100}}[ \t]{{1,8}}{_WORD}",
    r"\becho[ \t]{1,8}(?:-n[ \t]{1,8})?(?=[^\n|]{1,200}\|[ \t]{0,8}(?:sudo[ \t]+-S|passwd|cryptsetup|chpasswd))"
    rf"{_WORD}",
)
_BOOT = (
    rf"\biscsi:{DONE}(?P<value>[^\s@:/]{{1,200}}:[^\s@]{{1,400}})(?=@)",
    rf"\b(?:set_?credential(?:_?binary|_?encrypted)?=[\w.-]{{1,100}}:){_V}",
    rf"\b(?:rootpw|vncpw)[ \t]{{1,8}}(?:--\w+[ \t]{{1,8}}){{0,3}}{_WORD}",
)
_SNMP = (
    rf"\b(?:r[ow]|trap|snmp-server[ \t]{{1,8}})community6?[ \t]{{1,8}}{_WORD}",
    r"\bcom2sec6?[ \t]{1,8}(?:-Cn[ \t]{1,8}\S{1,60}[ \t]{1,8})?\S{1,60}[ \t]{1,8}\S{1,100}[ \t]{1,8}"
    rf"{_WORD}",
    rf"\btrap2?sink[ \t]{{1,8}}\S{{1,100}}[ \t]{{1,8}}{_WORD}",
    rf"\bcreateUser[ \t]{{1,8}}\S{{1,100}}[ \t]{{1,8}}(?:MD5|SHA[-\d]*)[ \t]{{1,8}}{_WORD}",
    rf"\bcreateUser[ \t][^\n]{{1,300}}?[ \t](?:AES|DES)[-\dA-Z]*[ \t]{{1,8}}{_WORD}",
)
_HEADERS = (
    rf"authorization[\"']?[ \t]{{0,8}}[:=][ \t]{{0,8}}[\"']?(?:bearer|basic|token|negotiate|ntlm|apikey|key)"
    rf"[ \t]{{1,8}}{DONE}(?P<value>[^\s\"']++)",
    rf"authorization[\"']?[ \t]{{0,8}}[:=][ \t]{{0,8}}[\"']?(?:digest|aws4-hmac-sha256|hawk|oauth)[ \t]{{1,8}}"
    rf"{DONE}(?P<value>[^\n]++)",
    rf"authorization[\"']?[ \t]{{0,8}}[:=][ \t]{{0,8}}[\"']?(?!(?:bearer|basic|token|negotiate|ntlm|apikey|key|digest"
    rf"|aws4-hmac-sha256|hawk|oauth)\b){DONE}(?P<value>[^\s\"']{{6,}}+)",
    rf"\b(?:set-)?cookie[\"']?:[ \t]{{0,8}}[\"']?{DONE}(?P<value>[^\s\"'][^\n\"']++)",
    rf"\bx-[a-z0-9-]{{0,40}}(?:key|token|auth|secret|signature)[\"']?[ \t]{{0,8}}(?:=>|:=|[:=])[ \t]{{0,8}}[\"']?"
    rf"{DONE}(?P<value>[^\s\"']++)",
    rf"\b(?:bearer|basic)[ \t]{{1,8}}{DONE}(?P<value>[A-Za-z0-9+/_.~=-]{{12,}}+)",
)
_URLS = (
    rf"\b[a-z][a-z0-9+.-]{{1,20}}://{DONE}(?P<value>[^\s/?#@:\"'<>]{{0,200}}:[^\s/\"'<>]{{1,400}})(?=@)",
    rf"\b[a-z][a-z0-9+.-]{{1,20}}://{DONE}(?P<value>[^\s/?#:\"'<>\[]{{20,400}})(?=@)",
    rf"[?&](?:sig|signature|x-amz-signature|x-amz-credential|x-amz-security-token|code|sid)={DONE}(?P<value>[^\s&\"'<>]{{8,}}+)",
)
_SHAPES = (
    r"(?<![A-Za-z0-9])(?P<value>xox[abceoprs]-[A-Za-z0-9-]{10,}+|xapp-[A-Za-z0-9-]{10,}+|gh[opsur]_[A-Za-z0-9]{20,}+"
    r"|github_pat_[A-Za-z0-9_]{20,}+|gl(?:pat|rt|dt|ptt|cbt|soat|agent)-[A-Za-z0-9_.-]{16,}+"
    r"|(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])|AIza[A-Za-z0-9_-]{35}|ya29\.[A-Za-z0-9_-]{20,}+"
    r"|[rsp]k_(?:live|test)_[A-Za-z0-9]{10,}+|sk-[A-Za-z0-9_-]{20,}+|npm_[A-Za-z0-9]{30,}+|pypi-[A-Za-z0-9_-]{16,}+"
    r"|do[opr]_v1_[a-f0-9]{40,}+|hv[bsr]\.[A-Za-z0-9_-]{20,}+|SG\.[A-Za-z0-9_-]{16,}+\.[A-Za-z0-9_-]{16,}+"
    r"|AGE-SECRET-KEY-1[A-Z0-9]{30,}+|eyJ[A-Za-z0-9_-]{8,}+(?:\.[A-Za-z0-9_-]*+){2,4})",
    r"hooks\.slack\.com/(?:services|workflows|triggers)/(?P<value>[A-Za-z0-9/_-]{20,}+)",
    # An AWS secret key, or another of forty characters that no path and no hash is.
    r"(?<![A-Za-z0-9/+=_.-])(?P<value>(?=[a-z0-9+/]{0,39}[A-Z])(?=[A-Z0-9+/]{0,39}[a-z])(?=[A-Za-z+/]{0,39}\d)(?!/|[A-Za-z]+/[A-Za-z]+/)"
    r"[A-Za-z0-9+/]{40})(?![A-Za-z0-9/+=_.-])",
)
_HASHES = (r"(?P<value>\$(?:1|2[abxy]?|5|6|7|y|gy|argon2(?:id|i|d)|scrypt|sha1|md5)\$[^\s:\"']{12,}+)",)


PASSWORDS = (
    rule("pass pwd psk otp rootpw secret credential token community key", _ASSIGNED, _OPTION),
    rule("iscsi: credential rootpw vncpw", *_BOOT),
    rule("community com2sec sink createuser", *_SNMP),
    rule(
        "mysql mariadb sshpass curl wget snmp redis-cli ldap ipmi racadm openssl smbclient mount.cifs rpcclient net "
        "wpa_passphrase echo",
        *_PROGRAMS,
    ),
)
HEADERS = rule("authorization cookie x- bearer basic", *_HEADERS)
URLS = rule(":// sig= signature= credential= token= code= sid=", *_URLS)
TOKENS = tuple(re.compile(p) for p in _SHAPES)
HASHES = tuple(re.compile(p) for p in _HASHES)

_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_MOST = 65536  # characters from a key's beginning to its end
_KEY_LINE = re.compile(
    r"[^\n]{0,200}?(?:(?<![A-Za-z0-9+/=])[A-Za-z0-9+/]{16,200}={0,2}|Proc-Type: [^\n]{1,60}|DEK-Info: [^\n]{1,80}"
    r"|Version: [^\n]{1,60}|Comment: [^\n]{1,80})[ \t\r]*\n"
    r"|(?:\[[ \d.]{1,20}\]|[^\n\[]{1,100}(?:\[\d{1,8}\])?:)?[ \t\r]*\n"
)
# A line of a key whose beginning is elsewhere: mixed letters and digits in one long run that ends the line.
PART = re.compile(
    r"(?<![A-Za-z0-9+/=_.:-])(?<!ssh-rsa )(?<!ssh-ed25519 )(?<!ssh-dss )(?<!-nistp256 )(?<!-nistp384 )(?<!-nistp521 )"
    r"(?P<value>(?=[A-Za-z0-9+/]*[A-Z])(?=[A-Za-z0-9+/]*[a-z])(?=[A-Za-z0-9+/]*\d)"
    r"[A-Za-z0-9+/]{60,80}={0,2})(?=[ \t\r]*(?:\n|\Z))"
)


def private_keys(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each private key, whatever a log puts before its lines; one without an end goes as far as its
    lines look like a key's."""
    at = 0
    while (begun := _BEGIN.search(text, at)) is not None:
        following = _BEGIN.search(text, begun.end(), begun.end() + _MOST)
        limit = following.start() if following else min(len(text), begun.end() + _MOST)
        ended = _END.search(text, begun.end(), limit)
        end = ended.end() if ended else _lines_of_key(text, begun.end(), limit)
        yield begun.start(), end
        at = end


def _lines_of_key(text: str, at: int, limit: int) -> int:
    first = text.find("\n", at, limit)
    if first < 0:
        return limit
    at = first + 1
    while at < limit and (line := _KEY_LINE.match(text, at, limit)) is not None:
        at = line.end()
    return max(at - 1, first)
