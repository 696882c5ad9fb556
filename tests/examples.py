"""How many examples a property test draws: its own number in the ordinary run, a thousand in that of `many`."""

import os

from hypothesis import settings

ORDINARY, MANY, FEW = "ordinary", "many", "few"
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", ORDINARY)

# Why the ordinary run draws the same examples every time: a suite that fails by chance tells nobody what broke. New
# examples are sought by HYPOTHESIS_PROFILE=many, under the seed of --hypothesis-seed; what it finds is pinned as an
# @example. `few` is for tools/mutate.py, which runs the tests hundreds of times. Why no deadline: a busy machine is no
# defect.
settings.register_profile(ORDINARY, derandomize=True, deadline=None)
settings.register_profile(MANY, max_examples=1000, deadline=None, print_blob=True)
settings.register_profile(FEW, max_examples=10, derandomize=True, deadline=None)


def examples(count: int) -> settings:
    """Draws `count` examples in the ordinary run, and as many as its profile says in any other."""
    return settings(max_examples=count) if PROFILE == ORDINARY else settings()
