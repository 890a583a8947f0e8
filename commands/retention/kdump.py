"""How many dumps a host's own kdump keeps, and where that contradicts the policy.

Debian's and Ubuntu's kdump-tools keep KDUMP_NUM_DUMPS after a good dump (0: all). SUSE's kdump removes old ones before
it saves: KDUMP_KEEP_OLD_DUMPS of 0 keeps all, N keeps N and the new one, -1 only the new one. RHEL's keeps all.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

CONFIGS = ("/etc/default/kdump-tools", "/etc/sysconfig/kdump")
DEBIAN, SUSE = "KDUMP_NUM_DUMPS", "KDUMP_KEEP_OLD_DUMPS"
_SETTING = re.compile(rf"^[ \t]*({DEBIAN}|{SUSE})=[\"']?(-?\d{{1,6}})\b", re.MULTILINE)


@dataclass(frozen=True)
class Keeps:
    """`setting` is "" where none is set: then all are kept."""

    setting: str = ""
    value: int | None = None

    @property
    def dumps(self) -> int | None:
        """How many dumps are on the disk after one was saved; None where kdump removes none."""
        if self.value is None or self.value == 0:
            return None
        if self.setting == SUSE:
            return max(self.value, 0) + 1
        return self.value if self.value > 0 else None


def read_keeps(text: str) -> Keeps:
    """Of the text of the configuration files; the last assignment counts, as the shell has it."""
    found = _SETTING.findall(text)
    return Keeps(found[-1][0], int(found[-1][1])) if found else Keeps()


def conflict(keeps: Keeps, latest: int) -> str | None:
    """What kdump's own setting means for a policy that keeps the latest `latest` on the host, in plain words; None
    where they agree."""
    kept = keeps.dumps
    if kept is None:
        return None
    said = f"{keeps.setting}={keeps.value} lets kdump keep {kept} dump{'' if kept == 1 else 's'}"
    if kept < latest:
        return f"{said}: fewer than the {latest} that the policy keeps on the host"
    if keeps.setting == SUSE:
        return f"{said} and remove older ones before a new one is saved, copied or not"
    return f"{said} and remove older ones, copied or not"
