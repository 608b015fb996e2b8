"""How properties of the books are tried: on random ones, in one database, emptied before each."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

RANDOM_BOOKS = settings(
    deadline=None,
    # An example is one random seed: nothing about it can be made smaller.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
