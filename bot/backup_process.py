"""The process in which the bot's own backup is made: JSON in, JSON out, one line of error when it fails."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from bot.backup_summary import backup_name, told_backup
from bot.version import VERSION
from storage.backup import WorkflowTables, take_backup
from storage.backup_format import BackupError
from storage.migrations import SchemaError
from storage.types import utc_now


def main() -> int:
    os.nice(10)
    asked = json.load(sys.stdin)
    target = Path(asked["folder"]) / backup_name(utc_now())
    workflows = WorkflowTables(**asked["workflows"])
    try:
        taken = take_backup(asked["url"], workflows, target, version=VERSION, clock=utc_now)
    except (BackupError, SchemaError, SQLAlchemyError, OSError) as error:
        print(f"{type(error).__name__}: {str(error).splitlines()[0][:400]}", file=sys.stderr)
        return 1
    print(json.dumps(told_backup(taken)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
