"""How many examples a property test draws: its own number in the ordinary run, a thousand in the run of `many`."""

import os

from hypothesis import settings

ORDINARY, MANY = "ordinary", "many"
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", ORDINARY)

# Why the ordinary run draws the same examples every time: a suite that fails by chance tells nobody what broke. New
# examples are sought by HYPOTHESIS_PROFILE=many, under the seed of --hypothesis-seed; what it finds is pinned as an
# @example. Why no deadline: a busy machine is no defect.
settings.register_profile(ORDINARY, derandomize=True, deadline=None)
settings.register_profile(MANY, max_examples=1000, deadline=None, print_blob=True)


def examples(count: int) -> settings:
    """Draws `count` examples in the ordinary run, and as many as the profile says in the run of `many`."""
    return settings(max_examples=settings().max_examples if PROFILE == MANY else count)
