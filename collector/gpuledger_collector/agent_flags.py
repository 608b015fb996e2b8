"""An agent's flags about collectors, for a command that speaks with one as an agent does."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from gpuledger_agent.config import ConfigError, check_speech
from gpuledger_agent.dial import Trust
from gpuledger_agent.options import COLLECTORS, key, option, trust_of
from gpuledger_agent.settings_file import Refused


def collector_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command an agent's flags about collectors: called with `collectors` and `trust`.

    Without a collector the others do not count. Raises Refused for what an agent would refuse.
    """

    @wraps(command)
    def with_trust(**values: Any) -> Any:
        taken = {name: values.pop(name) for name in map(key, COLLECTORS)}
        # In a file the others may stand for `serve`, too, which means something else by them.
        trust = trust_of(taken) if taken["collector"] else Trust()
        try:
            check_speech(trust, taken["collector"], insecure=taken["insecure"])
        except ConfigError as error:
            raise Refused(str(error)) from error
        return command(collectors=taken["collector"], trust=trust, **values)

    given: Callable[..., Any] = with_trust
    asked = "As an agent would, see whether this collector lets it in; repeat for others."
    for name in reversed(COLLECTORS):
        other = {"default": (), "help": asked} if name == "collector" else {}
        given = option(name, **other)(given)
    return given
