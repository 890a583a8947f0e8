"""Run by itself, in a process with limits: reads a dump with drgn and prints what an engineer asks first.

    python drgn_report.py VMCORE VMLINUX [DIRECTORY…]

Lines that begin with `@fact ` are JSON for the program that started it; everything else is the report. What cannot
be read of one section is said there and costs no other. Exit status: 0 read, 3 not a dump that drgn can read, 4 the
vmlinux does not fit it, 5 no drgn.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

MOST_TASKS = 200  # backtraces of blocked tasks
MOST_FRAMES = 64


def main(vmcore: str, vmlinux: str, directories: list[str]) -> int:
    try:
        import drgn
    except ImportError as error:
        fact(error=f"drgn is not installed: {error}")
        return 5
    prog = drgn.Program()
    try:
        prog.set_core_dump(vmcore)
    except MemoryError:
        raise
    except Exception as error:
        fact(error=f"drgn cannot read the dump: {said(error)}")
        return 3
    if not prog.flags & drgn.ProgramFlags.IS_LINUX_KERNEL:
        fact(error="the file is a core, and not of a kernel")
        return 3
    try:
        prog.load_debug_info([vmlinux], main=False)
    except MemoryError:
        raise
    except Exception as error:
        fact(error=f"drgn cannot use the vmlinux: {said(error)}")
        return 4
    if not loaded(prog):
        fact(error="the vmlinux is of another kernel than the dump")
        return 4
    modules(prog, directories)
    for title, section in SECTIONS:
        print(f"\n== {title} ==", flush=True)
        try:
            for line in section(prog):
                print(line)
        except MemoryError:
            raise
        except Exception as error:
            print(f"(could not be read: {said(error)})")
            traceback.print_exc(file=sys.stderr)
        sys.stdout.flush()
    return 0


def fact(**values: Any) -> None:
    print("@fact " + json.dumps(values), flush=True)


def said(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def loaded(prog: Any) -> bool:
    """Whether the kernel's own types are known: a vmlinux of another build is not taken for this one's."""
    try:
        prog.type("struct task_struct")
        prog["init_task"]
    except (LookupError, ValueError):
        return False
    return True


def modules(prog: Any, directories: list[str]) -> None:
    """Debug information of the modules that were loaded, as far as it lies in the directories."""
    from drgn import MissingDebugInfoError

    options = getattr(prog, "debug_info_options", None)
    if options is None or not directories:
        return
    options.directories = tuple(directories)
    try:
        prog.load_debug_info([], default=True)
    except MissingDebugInfoError as error:
        print(f"without the symbols of some modules: {said(error)}")


# -- sections --------------------------------------------------------------------------------------------


def overview(prog: Any) -> Iterator[str]:
    uts = prog["init_uts_ns"].name
    release = text(uts.release)
    yield f"release:     {release}"
    yield f"version:     {text(uts.version)}"
    yield f"machine:     {text(uts.machine)}"
    yield f"node:        {text(uts.nodename)}"
    from drgn.helpers.linux.cpumask import for_each_online_cpu

    cpus = list(for_each_online_cpu(prog))
    yield f"CPUs online: {len(cpus)}"
    fact(release=release, cpus=len(cpus))
    yield from panicked(prog)


def panicked(prog: Any) -> Iterator[str]:
    try:
        from drgn.helpers.linux.panic import panic_message, panic_task

        told = panic_message(prog)
        message = " ".join((told or b"(none)").decode("utf-8", "replace").split())
        yield f"panic:       {message}"
        fact(panic=message[:300])
        task = panic_task(prog)
        yield f"task:        {text(task.comm)} (pid {task.pid.value_()})"
    except Exception as error:
        thread = prog.crashed_thread()
        task = thread.object
        yield f"task:        {text(task.comm)} (pid {task.pid.value_()}) ({said(error)})"
    fact(task=text(task.comm), pid=task.pid.value_())


def cpus(prog: Any) -> Iterator[str]:
    from drgn.helpers.linux.cpumask import for_each_online_cpu
    from drgn.helpers.linux.sched import cpu_curr

    crashed = None
    try:
        crashed = prog.crashed_thread().tid
    except Exception as error:
        yield f"(the thread that crashed is not known: {said(error)})"
    for cpu in for_each_online_cpu(prog):
        task = cpu_curr(prog, cpu)
        mark = "  <- crashed" if crashed is not None and task.pid.value_() == crashed else ""
        yield f"\nCPU {cpu}: {text(task.comm)} (pid {task.pid.value_()}){mark}"
        yield from backtrace(prog, task)


def blocked(prog: Any) -> Iterator[str]:
    from drgn.helpers.linux.pid import for_each_task
    from drgn.helpers.linux.sched import task_state_to_char

    count, states = 0, Counter[str]()
    for task in for_each_task(prog):
        state = task_state_to_char(task)
        states[state] += 1
        if state != "D":
            continue
        count += 1
        if count > MOST_TASKS:
            continue
        yield f"\n{text(task.comm)} (pid {task.pid.value_()})"
        yield from backtrace(prog, task)
    if count > MOST_TASKS:
        yield f"\n… and {count - MOST_TASKS} more"
    if not count:
        yield "no task is in uninterruptible sleep"
    yield "\ntasks by state: " + ", ".join(f"{state} {number}" for state, number in sorted(states.items()))
    fact(tasks=sum(states.values()), blocked=count)


def memory(prog: Any) -> Iterator[str]:
    from drgn.helpers.linux.mm import totalram_pages

    size = int(prog["PAGE_SIZE"])
    total = int(totalram_pages(prog)) * size
    counted: list[tuple[str, int]] = [("total", total)]
    counters = prog["vm_zone_stat"], prog["vm_node_stat"]
    for label, table, name in (
        ("free", 0, "NR_FREE_PAGES"),
        ("file cache", 1, "NR_FILE_PAGES"),
        ("anonymous", 1, "NR_ANON_MAPPED"),
        ("shared", 1, "NR_SHMEM"),
        ("dirty", 1, "NR_FILE_DIRTY"),
        ("writeback", 1, "NR_WRITEBACK"),
    ):
        try:
            pages = counters[table][prog.constant(name)].counter.value_()
        except LookupError:
            continue  # another kernel has it elsewhere
        counted.append((label, pages * size))
    for name in (
        "NR_SLAB_RECLAIMABLE_B",
        "NR_SLAB_UNRECLAIMABLE_B",
        "NR_SLAB_RECLAIMABLE",
        "NR_SLAB_UNRECLAIMABLE",
    ):
        try:
            pages = counters[1][prog.constant(name)].counter.value_()
        except LookupError:
            continue
        counted.append((f"slab {'un' if 'UNREC' in name else ''}reclaimable", pages * size))
    for label, count in counted:
        yield f"{label:20} {count / 2**20:12.1f} MiB"
    yield from swap(prog)
    fact(memory_total=total, memory_free=dict(counted).get("free"))


def swap(prog: Any) -> Iterator[str]:
    try:
        total = prog["total_swap_pages"].value_()
        free = prog["nr_swap_pages"].counter.value_()
    except LookupError:
        return
    size = int(prog["PAGE_SIZE"])
    yield f"{'swap total':20} {total * size / 2**20:12.1f} MiB"
    yield f"{'swap free':20} {free * size / 2**20:12.1f} MiB"


def processes(prog: Any) -> Iterator[str]:
    """Who had the memory: the thirty largest resident sets."""
    from drgn.helpers.linux.mm import task_rss
    from drgn.helpers.linux.pid import for_each_task

    size = int(prog["PAGE_SIZE"])
    found = []
    for task in for_each_task(prog):
        if task.pid.value_() != task.tgid.value_() or not task.mm:
            continue
        rss = task_rss(task)
        pages = rss.total if hasattr(rss, "total") else sum(rss)
        found.append((pages * size, task.pid.value_(), text(task.comm)))
    for total, pid, name in sorted(found, reverse=True)[:30]:
        yield f"{pid:8} {total / 2**20:12.1f} MiB  {name}"


def log(prog: Any) -> Iterator[str]:
    from drgn.helpers.linux.printk import get_dmesg

    lines = get_dmesg(prog).decode("utf-8", "replace").splitlines()
    fact(log_lines=len(lines))
    if len(lines) > 400:
        yield f"(its last 400 of {len(lines)} lines)"
    yield from lines[-400:]


SECTIONS: tuple[tuple[str, Callable[[Any], Iterator[str]]], ...] = (
    ("overview", overview),
    ("backtraces of all CPUs", cpus),
    ("blocked tasks (D)", blocked),
    ("memory", memory),
    ("largest processes", processes),
    ("kernel log", log),
)


def backtrace(prog: Any, task: Any) -> Iterator[str]:
    try:
        trace = prog.stack_trace(task)
    except Exception as error:
        yield f"  (no backtrace: {said(error)})"
        return
    for number, frame in enumerate(trace):
        if number == MOST_FRAMES:
            yield "  …"
            return
        yield f"  {frame_words(number, frame)}"


def frame_words(number: int, frame: Any) -> str:
    try:
        offset = f"+{frame.pc - frame.symbol().address:#x}"
    except (LookupError, ValueError):
        offset = ""
    try:
        source = frame.source()
        where = f" ({source[0]}:{source[1]})"
    except LookupError:
        where = ""
    return f"#{number:<2} {frame.name or hex(frame.pc)}{offset}{where}"


def text(value: Any) -> str:
    return str(value.string_().decode("utf-8", "replace"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
