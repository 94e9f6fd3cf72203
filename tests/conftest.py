"""Settings of Hypothesis for all tests; see README.md in this folder for how a failure is replayed."""

from hypothesis import HealthCheck, settings

# No deadline and no complaint about slow data: a loaded machine must not turn a slow example into a failure. The blob
# that a failure prints replays exactly that example.
settings.register_profile("rmb", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("rmb")
