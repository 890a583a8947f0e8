"""The data files: each line has its reason, each pattern is sound."""

from __future__ import annotations

# ruff: noqa: E501
import re
from importlib.resources import files

import pytest

from integrations.kernel.rules import common_name, head_rules, name_list, needles, plain_name

DATA = files("integrations.kernel") / "data"
LISTS = sorted(entry.name for entry in DATA.iterdir() if entry.name.endswith(".txt"))


@pytest.mark.parametrize("name", LISTS)
def test_every_line_has_a_reason(name: str) -> None:
    for line in (DATA / name).read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            assert re.search(r"\S +# ?\S", line), line


def test_every_head_rule_has_a_reason() -> None:
    assert len(head_rules()) > 90
    assert all(rule.why and rule.name for rule in head_rules())


def test_the_readme_speaks_of_every_file() -> None:
    readme = (DATA / "README.md").read_text(encoding="utf-8")
    for entry in DATA.iterdir():
        assert entry.name == "README.md" or entry.name in readme, entry.name


def test_needles_are_single() -> None:
    for needle in needles():
        assert not any(other != needle and other in needle for other in needles()), needle


@pytest.mark.parametrize(
    ("name", "listed", "not_listed"),
    [
        ("report", ["dump_stack_lvl", "show_stack", "vpanic", "print_circular_bug"], ["printer_open", "el0_svc"]),
        ("generic", ["__memcpy", "refcount_warn_saturate", "_raw_spin_lock_irqsave", "kfree"], ["nvme_irq", "ext4_readdir", "tcp_sendmsg", "complete_walk", "rb_alloc_aux"]),
        ("anchor", ["do_syscall_64", "process_one_work", "vfs_write"], ["tty_write", "nvme_irq"]),
        ("interrupt", ["asm_sysvec_apic_timer_interrupt", "el1h_64_irq", "apic_timer_interrupt"], ["tick_handler"]),
        ("wait", ["__schedule", "mutex_lock_nested", "rwsem_down_read_failed"], ["nfs_wait_bit_killable_fn", "jbd2_log_do_checkpoint"]),
        ("bucket", ["rtnl_lock", "synchronize_rcu"], ["rtnl_newlink"]),
    ],
)  # fmt: skip
def test_lists(name: str, listed: list[str], not_listed: list[str]) -> None:
    assert all(name_list(name).match(function) for function in listed)
    assert not any(name_list(name).match(function) for function in not_listed)


@pytest.mark.parametrize(
    ("symbol", "name"),
    [
        ("f.isra.0", "f"),
        ("f.constprop.3.cold", "f"),
        (".f", "f"),
        ("__pfx_f", "f"),
        ("f.llvm.123", "f"),
        ("f", "f"),
    ],
)
def test_plain_name(symbol: str, name: str) -> None:
    assert plain_name(symbol) == name


def test_common_name() -> None:
    assert common_name("__arm64_sys_read") == common_name("SyS_read") == common_name("sys_read") == "sys_read"
    assert common_name("synchronize_sched") == "synchronize_rcu"
    assert common_name("sysfs_write") == "sysfs_write"
