"""Texts as hosts write them, with secrets of every sort put in. The same seed makes the same texts."""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable
from dataclasses import dataclass, field

_LETTERS = string.ascii_letters + string.digits
_MARKS = "!#$%^*_+-=.:?/@(){}~|"
_HOSTS = ("db-3", "web-17", "edge-2.fra.example.org", "k8s-node-114")
_UNITS = ("sshd", "systemd", "backupd", "kernel", "nginx", "app", "iscsid", "snmpd", "cron", "kdump-tools")
_NOISE = (
    "usb 1-1.2: new high-speed USB device number 4 using xhci_hcd",
    "BUG: kernel NULL pointer dereference, address: 0000000000000008",
    "RIP: 0010:nvme_irq+0x5/0x10 [nvme]",
    "RAX: 0000000000000000 RBX: ffff888003a5c000 RCX: 0000000000000027",
    "pci 0000:00:1f.2: [8086:2922] type 00 class 0x010601",
    "EXT4-fs (dm-0): mounted filesystem with ordered data mode. Quota mode: none.",
    "Linux version 6.1.0-31-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian 12.2.0-14) 12.2.0)",
    "BIOS-e820: [mem 0x0000000000100000-0x000000007ffdcfff] usable",
    "task kworker/u8:3:114 blocked for more than 120 seconds.",
    "Code: 0f 1f 44 00 00 48 8b 05 00 00 00 00 <48> 8b 00 c3 cc cc cc cc 66 90",
)


_KEYS = (
    "password", "PASSWORD", "passwd", "db_password", "DB_PASS", "PGPASSWORD", "MYSQL_PWD", "smtp.password",
    "passphrase", "luks_passphrase", "client_secret", "SECRET_KEY", "api_key", "APIKEY", "x-api-key",
    "access_key", "auth_token",
    "TOKEN", "ROOT_TOKEN", "psk", "wpa_psk", "credentials", "spring.datasource.password", "encryption_key",
    "chap_secret", "pre-shared-key", "private_key",
)  # fmt: skip


@dataclass
class Seeded:
    """A text, and what must not be found in it once it is redacted: of each secret the parts that give it away."""

    text: str
    secrets: list[tuple[str, str]] = field(default_factory=list)  # (sort, what must not be there)


def corpus(seed: int, lines: int) -> Seeded:
    """`lines` lines with a secret each, of all sorts in turn, among lines that have none."""
    rng = random.Random(seed)
    made = Seeded("")
    out: list[str] = []
    makers = list(SORTS.items())
    for number in range(lines):
        sort, make = makers[number % len(makers)]
        text, hidden = make(rng)
        made.secrets += [(sort, h) for h in hidden]
        frame = rng.choice(FRAMES)
        out += [frame(rng, line) for line in text.split("\n")]
        out += [_dmesg(rng, rng.choice(_NOISE)) for _ in range(rng.randrange(3))]
    made.text = "\n".join(out) + "\n"
    return made


# -- how a line comes ------------------------------------------------------------------------------------


def _dmesg(rng: random.Random, line: str) -> str:
    return f"[{rng.uniform(0, 99999):12.6f}] {line}"


def _journal(rng: random.Random, line: str) -> str:
    at = f"2026-11-{rng.randrange(1, 29):02}T{rng.randrange(24):02}:{rng.randrange(60):02}:11+0000"
    return f"{at} {rng.choice(_HOSTS)} {rng.choice(_UNITS)}[{rng.randrange(1, 99999)}]: {line}"


def _syslog(rng: random.Random, line: str) -> str:
    at = f"Nov {rng.randrange(1, 29):2} 05:31:{rng.randrange(60):02}"
    return f"{at} {rng.choice(_HOSTS)} {rng.choice(_UNITS)}: {line}"


def _bare(_rng: random.Random, line: str) -> str:
    return line


def _crlf(_rng: random.Random, line: str) -> str:
    return line + "\r"


FRAMES: tuple[Callable[[random.Random, str], str], ...] = (_dmesg, _journal, _syslog, _bare, _crlf)


# -- secrets ---------------------------------------------------------------------------------------------


def _word(rng: random.Random, low: int = 10, high: int = 24, alphabet: str = _LETTERS) -> str:
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(low, high)))


def _password(rng: random.Random) -> str:
    """Letters at both ends, anything printable but quotes, blanks and separators between them."""
    return _word(rng, 5, 8) + _word(rng, 2, 5, _LETTERS + _MARKS) + _word(rng, 5, 8)


def _assigned(rng: random.Random) -> tuple[str, list[str]]:
    secret = _password(rng)
    key = rng.choice(_KEYS)
    form = rng.choice(
        (
            "{k}={s}",
            "{k}={s} --verbose",
            "{k}: {s}",
            "{k} = {s}",
            '{k}="{s}"',
            "{k}='{s}' next",
            "env {k}={s} app run",
            "mount options: rw,username=svc,{k}={s},vers=3.0,sec=ntlmssp",
            '{{"user": "svc", "{k}": "{s}", "n": 3}}',
            "export {k}={s}; run",
            "command line: /usr/bin/app --{k}={s} -v",
            "app --{k} {s} --retry 3",
            "url?user=svc&{k}={s}&x=1",
            "({k}={s})",
            "{k}:={s}",
            "{k} => '{s}',",
        )
    )
    return form.format(k=key, s=secret), [secret]


def _two_words(rng: random.Random) -> tuple[str, list[str]]:
    first, second = _word(rng), _word(rng)
    return f'DB_PASSWORD="{first} {second}" started', [first, second]


def _with_separators(rng: random.Random) -> tuple[str, list[str]]:
    first, second, third = _word(rng, 6, 9), _word(rng, 6, 9), _word(rng, 6, 9)
    return f"password={first},{second};{third} quiet", [first, second, third]


def _escaped_quotes(rng: random.Random) -> tuple[str, list[str]]:
    first, second = _word(rng), _word(rng)
    return json.dumps({"password": f'{first}"{second}', "port": 5432}), [first, second]


def _boot(rng: random.Random) -> tuple[str, list[str]]:
    one, two = _word(rng), _word(rng)
    form = rng.choice(
        (
            "rd.iscsi.initiator=iqn.2004-01.org.example:web rd.iscsi.username=svc rd.iscsi.password={0} "
            "rd.iscsi.in.username=back rd.iscsi.in.password={1} quiet",
            "netroot=iscsi:svc:{0}:back:{1}@:3260::iqn.2004-01.org.example:storage rd.neednet=1",
            "rd.luks.uuid=luks-x luks.passphrase={0} rootpw={1}",
            "systemd.set_credential=passwd.hashed-password.root:{0} vncpassword={1} inst.text",
            "root=cifs cifsroot=//nas/root,username=svc,password={0} snd.slots=1 inst.rootpw={1}",
        )
    )
    line = "BOOT_IMAGE=/vmlinuz-6.1.0-31-amd64 root=/dev/mapper/vg-root ro " + form.format(one, two)
    return f"{rng.choice(('Command line: ', 'Kernel command line: ', ''))}{line}", [
        s for s in (one, two) if s in line
    ]


def _snmp(rng: random.Random) -> tuple[str, list[str]]:
    secret = _word(rng)
    form = rng.choice(
        (
            "rocommunity {0} default",
            "rwcommunity6 {0}",
            "com2sec readonly default {0}",
            "snmp-server community {0} RO",
            "snmpwalk -v2c -c {0} switch-1 system",
            "community={0}",
            "trap2sink nms.example.org {0}",
            "createUser monitor SHA {0} AES",
            'createUser monitor SHA-256 "{0}"',
            "trapcommunity {0}",
            "snmpget -v3 -l authPriv -u ops -a SHA -A {0} sw1 sysUpTime.0",
        )
    )
    return form.format(secret), [secret]


def _programs(rng: random.Random) -> tuple[str, list[str]]:
    secret = _word(rng)
    form = rng.choice(
        (
            "mysql -u root -p{0} shop",
            "mysqldump --single-transaction -uroot -p{0} --all-databases",
            "sshpass -p {0} ssh x",
            "sshpass -p '{0}' rsync",
            "curl -s -u svc:{0} repo.example.org",
            'curl --user "svc:{0}" x',
            "redis-cli -h cache -a {0} ping",
            "ldapsearch -x -D cn=svc -w {0} -b dc=example",
            "ipmitool -H bmc -U admin -P {0} sel",
            "openssl rsa -passin pass:{0} -in k",
            "smbclient //nas/x -U svc%{0}",
            "wpa_passphrase lab {0}",
            "echo {0} | sudo -S true",
            "echo -n '{0}' | cryptsetup luksOpen /dev/sda3 x",
        )
    )
    return f"COMMAND=/usr/bin/sh -c {form.format(secret)}", [secret]


def _headers(rng: random.Random) -> tuple[str, list[str]]:
    secret = _word(rng, 20, 60)
    basic = base64.b64encode(f"svc:{secret}".encode()).decode()
    form, hidden = rng.choice(
        (
            ("Authorization: Bearer {0}", secret),
            ('curl -H "Authorization: Bearer {0}" x', secret),
            ("authorization: {0}", secret),
            ("Proxy-Authorization: Basic {1}", basic.rstrip("=")),
            ('Authorization: Digest username="svc", realm="x", nonce="n", response="{0}"', secret),
            ("Cookie: session={0}; theme=dark", secret),
            ("Set-Cookie: sid={0}; Path=/; HttpOnly", secret),
            ("X-Auth-Token: {0}", secret),
            ("X-Api-Key: {0}", secret),
            ("x-amz-security-token: {0}", secret),
            (
                "Authorization: AWS4-HMAC-SHA256 Credential=x/20261123/s3, SignedHeaders=host, Signature={0}",
                secret,
            ),
            ('"Authorization": "Token {0}",', secret),
            ("got bearer {0} from client", secret),
        )
    )
    return form.format(secret, basic), [hidden]


def _urls(rng: random.Random) -> tuple[str, list[str]]:
    secret = _word(rng) + rng.choice(("", "@", "%40", "!")) + _word(rng, 5, 8)
    form = rng.choice(
        (
            "fetching https://svc:{0}@repo.example.org/pool/x",
            "dsn postgresql://app:{0}@db-3:5432/shop?sslmode=require",
            "redis://:{0}@cache:6379/0",
            "mongodb+srv://app:{0}@cluster.example.org/x",
            "amqp://svc:{0}@mq/",
            "http_proxy=http://svc:{0}@proxy.example.org:3128/",
            "git clone https://{0}xxxxxxxxxxxx@git.example.org/x",
            "remote: ftp://backup:{0}@nas/",
            "jdbc:mysql://db/shop?user=app&password={0}&ssl=1",
        )
    )
    return form.format(secret), [part for part in secret.replace("%40", "@").split("@") if len(part) > 4]


def _tokens(rng: random.Random) -> tuple[str, list[str]]:
    def b64(n: int) -> str:
        return base64.urlsafe_b64encode(rng.randbytes(n)).decode().rstrip("=")

    upper = string.ascii_uppercase + string.digits
    aws_secret = ("Aa1Bb2" + _word(rng, 34, 34, _LETTERS + "/+"))[:39] + "z"
    storage = base64.b64encode(rng.randbytes(64)).decode().rstrip("=")
    token, hidden = rng.choice(
        (
            ("AKIA" + _word(rng, 16, 16, upper), None),
            ("ASIA" + _word(rng, 16, 16, upper), None),
            (f"aws keys AKIA{_word(rng, 16, 16, upper)} {aws_secret} eu-central-1", aws_secret),
            (f"aws_secret_access_key = {aws_secret}", aws_secret),
            ("ghp_" + _word(rng, 36, 36), None),
            ("github_pat_" + _word(rng, 60, 60), None),
            ("glpat-" + _word(rng, 20, 20), None),
            ("xoxb-" + _word(rng, 12, 12, string.digits) + "-" + _word(rng, 24, 24), None),
            ("AIza" + _word(rng, 35, 35), None),
            ("sk_live_" + _word(rng, 24, 24), None),
            ("npm_" + _word(rng, 36, 36), None),
            ("hvs." + _word(rng, 90, 90), None),
            ("dop_v1_" + _word(rng, 64, 64, "0123456789abcdef"), None),
            ("SG." + _word(rng, 22, 22) + "." + _word(rng, 43, 43), None),
            (f"eyJ{b64(30)}.eyJ{b64(90)}.{b64(32)}", None),
            (f"eyJ{b64(60)}.{b64(600)}.{b64(256)}", None),
            ("https://hooks.slack.com/services/T00000000/B00000000/" + _word(rng, 24, 24), None),
            (
                "https://x.blob.core.windows.net/c?sv=2024-01-01&sig=" + _word(rng, 43, 43) + "%3D&se=2027",
                None,
            ),
            (f"DefaultEndpointsProtocol=https;AccountName=x;AccountKey={storage}==", storage),
        )
    )
    parts = [hidden] if hidden else token.replace("/", " ").replace("=", " ").replace(".", " ").split()
    longest = max(parts, key=len)
    form = rng.choice(("{0}", "token {0} was refused", "key={0}", "using '{0}' for upload", "({0})"))
    return form.format(token), [longest]


def _pem(rng: random.Random) -> tuple[str, list[str]]:
    """Whole, or as a log cuts it: without its end, or only its middle."""
    kind = rng.choice(("RSA ", "EC ", "OPENSSH ", "", "ENCRYPTED "))
    body = base64.b64encode(rng.randbytes(rng.randrange(120, 900))).decode()
    lines = [body[i : i + 64] for i in range(0, len(body), 64)]
    head, tail = [f"-----BEGIN {kind}PRIVATE KEY-----"], [f"-----END {kind}PRIVATE KEY-----"]
    if kind == "RSA " and rng.random() < 0.5:
        head += ["Proc-Type: 4,ENCRYPTED", "DEK-Info: AES-256-CBC,00112233445566778899AABBCCDDEEFF", ""]
    shape = rng.randrange(4)
    if shape == 0:
        return "\n".join([*head, *lines, *tail]), lines[:-1]
    if shape == 1:
        return "\n".join([*head, *lines]), lines[:-1]
    if shape == 2:
        return "\n".join(lines[:-1]), [line for line in lines[:-1] if _mixed(line)]
    return "key: " + "\\n".join([*head, *lines, *tail]), lines[:-1]


def _mixed(line: str) -> bool:
    return (
        any(c.isdigit() for c in line) and any(c.isupper() for c in line) and any(c.islower() for c in line)
    )


def _hashes(rng: random.Random) -> tuple[str, list[str]]:
    secret = _word(rng, 43, 86)
    form = rng.choice(
        (
            f"root:$6${_word(rng, 8, 8)}${secret}:19700:0:99999:7:::",
            f"svc:$y$j9T$abcdefgh${secret}:19700",
            f"$2b$12${secret}",
        )
    )
    return form, [secret]


def _email(rng: random.Random) -> tuple[str, list[str]]:
    name = _word(rng, 4, 9, string.ascii_lowercase) + rng.choice((".", "_", "+", "-")) + _word(rng, 4, 9)
    address = f"{name}@{rng.choice(('example.org', 'mail.example.co.uk', 'corp.example'))}"
    form = rng.choice(
        (
            "mail to {0} bounced",
            "from=<{0}>, size=813",
            "Changed-By: Some Body <{0}>",
            "user={0};",
            "{0}",
            '"{0}",',
            "mailto:{0}",
        )
    )
    return form.format(address), [address]


def _mac(rng: random.Random) -> tuple[str, list[str]]:
    octets = [f"{rng.randrange(256):02x}" for _ in range(6)]
    octets[0] = "52"
    colons, plain = ":".join(octets), "".join(octets)
    address = rng.choice((colons, colons.upper(), "-".join(octets)))
    form, hidden = rng.choice(
        (
            ("e1000e 0000:00:19.0 eth0: (PCI Express:2.5GT/s:Width x1) {0}", address),
            ("link/ether {0} brd ff:ff:ff:ff:ff:ff", address),
            ("DHCPACK on eth0 ({0}) via eth0", address),
            ("netconsole: remote ethernet address {0}", address),
            (f"IN=eth0 OUT= MAC={colons}:52:54:00:65:43:21:08:00 SRC=", colons),
            (f"BOOTIF=01-{'-'.join(octets)}", "-".join(octets)),
            (f"arp: {plain[:4]}.{plain[4:8]}.{plain[8:]} moved", f"{plain[:4]}.{plain[4:8]}.{plain[8:]}"),
            (f"hwaddr {plain} on port 3", plain),
            ("{0}", address),
            ("ib0: GID fe:80:00:00:00:00:00:00:52:54:00:ff:fe:12:34:56", "52:54:00:ff:fe:12:34:56"),
        )
    )
    return form.format(address), [hidden]


def _ipv4(rng: random.Random) -> tuple[str, list[str]]:
    address = rng.choice(
        (
            f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}",
            f"192.168.{rng.randrange(256)}.{rng.randrange(1, 255)}",
            f"172.{rng.randrange(16, 32)}.{rng.randrange(256)}.{rng.randrange(1, 255)}",
            ".".join(
                map(str, (rng.choice((8, 23, 52, 88, 151, 203)), *(rng.randrange(1, 255) for _ in range(3))))
            ),
        )
    )
    form = rng.choice(
        (
            "Accepted publickey for ops from {0} port 52114 ssh2",
            "nfs: server {0} not responding, still trying",
            "ip={0}::gw:255.255.255.0:web:eth0:none",
            "SRC={0} DST=127.0.0.1 LEN=60",
            "listening on {0}:8080",
            "inet {0}/24 brd",
            "http://{0}/x",
            "[{0}]:22",
            "({0})",
            "addr={0},clientaddr=x",
            "netconsole: local port 6665, remote IPv4 address {0}",
            "6665@{0}/eth0",
            "/var/crash/{0}-2026-11-23-05:31:02/vmcore",
            "{0}-202611230531/dump",
            "nameserver {0}",
            "nfsroot={0}:/export/root",
            "host-{0} is down",
            "peer {0}.",
            "'{0}'",
            "{0}",
            "via {0} dev eth0",
            "{0},",
            "addr:{0}",
        )
    )
    return form.format(address), [address]


def _ipv6(rng: random.Random) -> tuple[str, list[str]]:
    groups = [f"{rng.randrange(1, 65536):x}" for _ in range(4)]
    address = rng.choice(
        (
            f"2001:db8::{':'.join(groups)}",
            f"fe80::{':'.join(groups)}",
            f"2001:0db8:{':'.join(groups)}:0:1",
            f"FD00::{groups[0].upper()}:1",
            f"2a02:{groups[0]}:{groups[1]}::1",
            f"2001:db8:{groups[0]}::",
        )
    )
    form = rng.choice(
        (
            "Accepted publickey for ops from {0} port 52114 ssh2",
            "inet6 {0}/64 scope link",
            "[{0}]:443",
            "SRC={0} DST=::1",
            "addr: {0}",
            "inet6 addr:{0}",
            "({0})",
            "{0}%eth0",
            "nfs: server {0} not responding",
            "{0}",
            "via {0},",
            "http://[{0}]/",
        )
    )
    return form.format(address), [address]


def _serial(rng: random.Random) -> tuple[str, list[str]]:
    serial = _word(rng, 8, 14, string.ascii_uppercase + string.digits)
    wwn = _word(rng, 16, 16, "0123456789abcdef")
    form, hidden = rng.choice(
        (
            (f"Serial Number: {serial}", serial),
            (f"product_serial:{serial}", serial),
            (f"usb 1-1: SerialNumber: {serial}", serial),
            (f"ID_SERIAL_SHORT={serial}", serial),
            (f"Asset Tag: {serial}", serial),
            (f"S/N: {serial}", serial),
            (f"/dev/disk/by-id/wwn-0x{wwn}", wwn),
            (f"naa.{wwn}", wwn),
        )
    )
    return form, [hidden]


SORTS: dict[str, Callable[[random.Random], tuple[str, list[str]]]] = {
    "assigned": _assigned,
    "two words": _two_words,
    "separators": _with_separators,
    "escaped quotes": _escaped_quotes,
    "boot options": _boot,
    "snmp": _snmp,
    "programs": _programs,
    "headers": _headers,
    "urls": _urls,
    "tokens": _tokens,
    "private keys": _pem,
    "hashes": _hashes,
    "email": _email,
    "mac": _mac,
    "ipv4": _ipv4,
    "ipv6": _ipv6,
    "serial": _serial,
}
