"""For developers: `python -m storage.migrations revise "what changed"`, or `rewrite-first` before a release."""

from __future__ import annotations

import sys

from storage.migrations import revise, rewrite_first

if __name__ == "__main__":
    match sys.argv[1:]:
        case ["rewrite-first"]:
            print(rewrite_first())
        case ["revise", message]:
            print(revise(message))
        case _:
            sys.exit(__doc__)
