"""Names of users, from the host's directory of them, which may be far away."""

from __future__ import annotations

import pwd
from collections import OrderedDict
from collections.abc import Callable

from gpuledger_agent.patience import Patience, StuckError

USERS = 4_096
"""Names of users that are remembered; containers can have any uid."""


def user_name(uid: int) -> str:
    """Name of a user; the number itself where nobody knows one."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


class UserNames:
    """Names of uids, each looked up once. Used by one thread.

    A directory service that is slow costs a moment, and numbers for names until it answers.
    """

    def __init__(self, look_up: Callable[[int], str] = user_name) -> None:
        self._look_up = look_up
        self._patience = Patience()
        self._names: OrderedDict[int, str] = OrderedDict()

    def __call__(self, uid: int) -> str:
        """Name of the user with this uid."""
        name = self._names.get(uid)
        if name is None:
            try:
                name = self._patience.ask("names", lambda: self._look_up(uid))
            except StuckError:
                return str(uid)
            self._names[uid] = name
            if len(self._names) > USERS:
                self._names.popitem(last=False)
        return name
