"""Whether certificates count, and for how long still: ours, and those that collectors show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gpuledger_agent.check_result import Check, Verdict
from gpuledger_agent.expiry import date, remaining
from gpuledger_agent.pem import Dated
from gpuledger_agent.validity import Validity

_REMEDIES = {
    "own": "put another in its place: gpuledger ca issue, or your own PKI (docs/security.md)",
    "ca": "put another CA beside it, renew certificates, take it out (docs/security.md)",
}


def own(dates: Iterable[Dated], now: float) -> Iterator[Check]:
    """One check of each file. `now`: UTC seconds since the epoch."""
    for each in dates:
        subject = "CA" if each.role == "ca" else "certificate"
        if each.validity is None:
            text = f"{each.file}: its dates cannot be read"
            yield Check(Verdict.WARN, subject, text, "look at it: openssl x509 -text -in FILE")
        else:
            yield judged(subject, str(each.file), each.validity, _REMEDIES[each.role], now)


def judged(subject: str, named: str, validity: Validity, remedy: str, now: float) -> Check:
    """The verdict on one; `named` says which it is, `remedy` what to do when it is due."""
    begins, ends = validity.begins, validity.ends
    if now < begins:
        text = f"{named}: counts from {date(begins)} on, {remaining(begins - now)} from now"
        return Check(Verdict.FAIL, subject, text, "is this host's clock right?")
    if now >= ends:
        return Check(Verdict.FAIL, subject, f"{named}: ended {date(ends)}", remedy)
    text = f"{named}: until {date(ends)}, {remaining(ends - now)} left"
    if now >= validity.due:
        return Check(Verdict.WARN, subject, text, remedy)
    return Check(Verdict.OK, subject, text)
