"""Kernel releases compared: which of two is the later one, and which of them has a fix."""

from __future__ import annotations

import re

from storage.filters import kernel_order

__all__ = ["includes_fix", "kernel_base", "kernel_order"]


def kernel_base(release: str) -> str:
    """6.1.0-31 of 6.1.0-31-cloud-amd64: the numbers, without the flavour. "" when it does not begin with one."""
    found = re.match(r"[0-9]+(?:[.-][0-9]+(?![0-9]*[A-Za-z_]))*", release)
    return found[0] if found else ""


def includes_fix(kernel: str | None, fixed_in: str | None) -> bool:
    """Whether this kernel is the one that was said to mend it, or a later one; flavours do not matter."""
    if not kernel or not fixed_in or not kernel_base(kernel) or not kernel_base(fixed_in):
        return False
    return kernel_order(kernel_base(kernel)) >= kernel_order(kernel_base(fixed_in))
