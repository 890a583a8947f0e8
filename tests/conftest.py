"""How much the property tests try: enough to fail on a real defect, little enough for the suite's five minutes.

`PANICROOM_EXAMPLES=1000 make test` tries harder.
"""

from __future__ import annotations

import os

from hypothesis import settings

settings.register_profile(
    "suite", max_examples=int(os.environ.get("PANICROOM_EXAMPLES", "30")), deadline=None
)
settings.load_profile("suite")
