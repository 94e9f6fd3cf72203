"""Settings of Hypothesis for all tests; see README.md in this folder for how a failure is replayed."""

from hypothesis import settings

# No deadline: a shared or loaded machine must not turn a slow example into a failure. The blob that a failure prints
# replays exactly that example.
settings.register_profile("rmb", deadline=None, print_blob=True)
settings.load_profile("rmb")
