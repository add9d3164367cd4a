"""Seeds of hypothesis and schemathesis: fixed, unless the variable FUZZ names another one."""

import os
from typing import Final

from hypothesis import settings

IS_RANDOM: Final = "FUZZ" in os.environ
SEED: Final = int(os.environ.get("FUZZ", "5"))


def load_profile() -> None:
    """Have hypothesis use the same examples in each run, or those of the seed in FUZZ.

    `scripts/fuzz` passes that seed on as `--hypothesis-seed` too.
    """
    settings.register_profile("fixed", derandomize=True, database=None)
    settings.register_profile("fuzz", database=None, print_blob=True)
    settings.load_profile("fuzz" if IS_RANDOM else "fixed")
