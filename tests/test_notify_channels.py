"""What each kind of receiver gets, on a socket: all that a person needs, and nothing hostile."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from datetime import timedelta
from email import message_from_bytes
from email.policy import default as modern
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker

from gpuledger_collector.ledger.notify.alertmanager import PATH, Alertmanager, alerts
from gpuledger_collector.ledger.notify.endpoint import Endpoint
from gpuledger_collector.ledger.notify.mail import Mail, write
from gpuledger_collector.ledger.notify.post import parse
from gpuledger_collector.ledger.notify.slack import Slack, text
from gpuledger_collector.ledger.notify.webhook import Webhook, payload, sign
from tests.notices import T0, WORDING, message, notice
from tests.notify_receivers import HttpReceiver, SmtpReceiver

NOW = T0.timestamp() + 60
ACK = 'gpuledger findings ack 9205d71015092cc4 --reason "why nothing is to be done" --until 7d'
HOSTILE = "x\r\nBcc: all@example.com\r\n\r\n<!channel> <http://evil|pay> `*_~ &\u202e\x00\ud800"

# Alertmanager, api/v2/openapi.yaml: postableAlerts, postableAlert, alert and labelSet.
POSTABLE_ALERTS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["labels"],
        "properties": {
            "startsAt": {"type": "string", "format": "date-time"},
            "endsAt": {"type": "string", "format": "date-time"},
            "annotations": {"$ref": "#/$defs/labelSet"},
            "labels": {"$ref": "#/$defs/labelSet"},
            "generatorURL": {"type": "string", "format": "uri"},
        },
        "additionalProperties": False,
    },
    "$defs": {"labelSet": {"type": "object", "additionalProperties": {"type": "string"}}},
}


def check_alerts(found: list[dict[str, Any]]) -> None:
    """What the schema and Alertmanager's own validation ask for."""
    checker = FormatChecker()
    Draft202012Validator(POSTABLE_ALERTS, format_checker=checker).validate(found)
    for alert in found:
        assert alert["labels"]["alertname"]
        assert alert["startsAt"] <= alert["endsAt"]
        for name, value in {**alert["labels"], **alert["annotations"]}.items():
            assert name.isidentifier()
            assert name.isascii()
            assert value
            value.encode()


def endpoint(receiver: HttpReceiver, **more: Any) -> Endpoint:
    return Endpoint(parse(f"{receiver.url}/hook"), **more)


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, list[bytes]]:
    path, secrets = tmp_path / "keys", [b"n" * 32, b"o" * 24]
    path.write_text("".join(f"whsec_{base64.b64encode(s).decode()}\n" for s in secrets))
    return path, secrets


def test_webhook_when_sent_then_every_key_signs_id_timestamp_and_body(
    receiver: HttpReceiver, keys: tuple[Path, list[bytes]]
) -> None:
    Webhook(endpoint(receiver), keys[0]).send(message(), WORDING, NOW)
    [heard] = receiver.heard
    assert heard.headers["webhook-id"] == "msg_1"
    assert heard.headers["webhook-timestamp"] == str(int(NOW))
    signed = b"msg_1." + str(int(NOW)).encode() + b"." + heard.body
    assert heard.headers["webhook-signature"].split(" ") == [
        "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        for key in keys[1]
    ]
    assert heard.headers["content-type"] == "application/json"


def test_webhook_when_its_signature_is_made_then_it_is_that_of_the_specification() -> None:
    """The example of the reference libraries of Standard Webhooks."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', [key])
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_webhook_when_sent_then_it_says_what_who_evidence_since_when_and_how_to_acknowledge() -> (
    None
):
    told = payload(message(), WORDING)
    assert (told["type"], told["timestamp"]) == ("finding.opened", "2026-03-01T12:00:00Z")
    data = told["data"]
    assert data["description"] == WORDING.rules["over_provisioned_request"].description
    assert (data["team"], data["model"], data["endpoint"], data["pool"]) == (
        "search", "ranker", "", "production",
    )  # fmt: skip
    assert (data["usd_per_week"], data["evidence"]["requested_gpus"]) == (1234.5, "64")
    assert data["first_seen"] == "2026-03-01T12:00:00Z"
    assert data["commands"]["acknowledge"] == ACK
    assert data["link"] == "https://books.example/f?id=9205d71015092cc4"
    assert "test" not in told


def test_webhook_when_joined_then_every_finding_is_in_it() -> None:
    notices = [notice(finding=f"{n:016x}", subject=f"s{n}") for n in range(100)]
    told = payload(message(*notices), WORDING)
    assert told["type"] == "findings.joined"
    assert [each["subject"] for each in told["data"]["findings"]] == [f"s{n}" for n in range(100)]


def test_webhook_when_it_has_a_token_then_that_is_sent_as_bearer(
    receiver: HttpReceiver, keys: tuple[Path, list[bytes]], tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    Webhook(endpoint(receiver, token_file=token), keys[0]).send(message(), WORDING, NOW)
    assert receiver.heard[0].headers["authorization"] == "Bearer s3cret"


def test_slack_when_sent_then_it_says_all_and_unfurls_nothing(
    receiver: HttpReceiver, tmp_path: Path
) -> None:
    url = tmp_path / "url"
    url.write_text(f"{receiver.url}/services/T0/B0/token\n")
    Slack(Endpoint(None, url)).send(message(), WORDING, NOW)
    [heard] = receiver.heard
    assert heard.path == "/services/T0/B0/token"
    assert heard.json["unfurl_links"] is heard.json["unfurl_media"] is False
    for part in (
        "*opened (warning): over_provisioned_request* `search-chat`",
        "team: `search`", "model: `ranker`", "pool: `production`",
        "requested_gpus: `64`", "used_gpus_p95: `20`", "usd_per_week: `1,234.50`",
        "since: `2026-03-01 12:00 UTC`", f"acknowledge: `{ACK}`",
        "<https://books.example/f?id=9205d71015092cc4|more>",
    ):  # fmt: skip
        assert part in heard.json["text"]


def test_slack_when_many_are_joined_then_as_many_as_fit_are_listed_and_the_rest_is_counted() -> (
    None
):
    notices = [notice(finding=f"{n:016x}", subject=f"s{n}" + "&" * 300) for n in range(100)]
    said = text(message(*notices), WORDING).split("\n")
    assert said[0] == "*100 findings: 100 opened*"
    listed = said[1:-1]
    assert listed
    assert all(line.count("`") == 4 for line in listed)
    assert said[-1] == f"and {100 - len(listed)} more: `gpuledger findings --all`"
    assert sum(map(len, said)) < 13_000


def test_slack_when_evidence_is_too_long_then_how_to_acknowledge_still_stands_there() -> None:
    evidence = {f"figure_{n:02}": "<" * 300 for n in range(99)}
    said = text(message(notice(evidence=evidence)), WORDING)
    assert f"acknowledge: `{ACK}`" in said
    [cut] = re.findall(r"and (\d+) more: see below", said)
    assert said.count("figure_") + int(cut) == 99 + len(["since"])
    assert len(said) < 13_000


@given(st.text(min_size=1, max_size=400) | st.just(HOSTILE))
def test_slack_when_text_is_hostile_then_it_stays_inside_a_code_span(stranger: str) -> None:
    hostile = notice(subject=stranger, team=stranger, pool=stranger, evidence={"model": stranger})
    usual = notice(subject="s", team="s", pool="s", evidence={"model": "s"})
    for many in (1, 2):
        said = text(message(*[hostile] * many), WORDING)
        plain = text(message(*[usual] * many), WORDING)
        assert said.count("\n") == plain.count("\n")
        for mark in "`<>":
            assert said.count(mark) == plain.count(mark)
        # Outside of code spans nothing differs.
        assert said.split("`")[::2] == plain.split("`")[::2]


def test_alertmanager_when_sent_then_the_alert_is_as_its_api_wants_it(
    receiver: HttpReceiver,
) -> None:
    Alertmanager(endpoint(receiver, suffix=PATH), renew_s=60).send(message(), WORDING, NOW)
    [heard] = receiver.heard
    assert heard.path == "/hook/api/v2/alerts"
    [alert] = heard.json
    check_alerts(heard.json)
    assert alert["labels"] == {
        "alertname": "over_provisioned_request", "service": "gpuledger", "severity": "warning",
        "finding": "9205d71015092cc4", "team": "search", "pool": "production",
    }  # fmt: skip
    assert alert["startsAt"] == "2026-03-01T12:00:00.000000Z"
    assert alert["endsAt"] == "2026-03-01T12:05:00.000000Z"
    assert alert["generatorURL"] == "https://books.example/f?id=9205d71015092cc4"
    told = alert["annotations"]
    assert (told["acknowledge"], told["model"]) == (ACK, "ranker")
    assert told["usd_per_week"] == "1,234.50"
    assert "requested_gpus 64, used_gpus_p95 20" in told["evidence"]


def test_alertmanager_when_the_severity_changes_then_the_alert_before_ends() -> None:
    later = T0 + timedelta(minutes=9)
    changed = notice(
        change="escalated", severity="critical", severity_before="warning", noticed_at=later
    )
    found = alerts([notice(), changed], WORDING, NOW + 3600)
    check_alerts(found)
    assert [(a["labels"]["severity"], a["endsAt"]) for a in found] == [
        ("warning", "2026-03-01T12:09:00.000000Z"),
        ("critical", "2026-03-01T13:01:00.000000Z"),
    ]


def test_alertmanager_when_resolved_then_the_same_alert_ends_when_it_did() -> None:
    end = T0 + timedelta(minutes=7)
    resolved = notice(change="resolved", severity_before="warning", resolved_at=end)
    [alert] = alerts([notice(), resolved], WORDING, NOW + 3600)
    check_alerts([alert])
    [opened] = alerts([notice()], WORDING, NOW)
    assert alert["labels"] == opened["labels"]
    assert alert["endsAt"] == "2026-03-01T12:07:00.000000Z"


@given(st.text(max_size=400) | st.just(HOSTILE))
def test_alertmanager_when_text_is_hostile_then_labels_are_valid(stranger: str) -> None:
    hostile = notice(subject=stranger, team=stranger, pool=stranger, evidence={"m\n": stranger})
    check_alerts(alerts([hostile], WORDING, NOW))


def test_mail_when_sent_then_it_says_all_and_its_id_is_that_of_the_message(
    smtp: SmtpReceiver,
) -> None:
    to = ("capacity@example.com", "ann@example.com")
    mail = Mail("127.0.0.1", smtp.port, "none", "books@example.com", to)
    mail.send(message(), WORDING, NOW)
    [(sender, recipients, content)] = smtp.mails
    assert (sender, recipients) == ("books@example.com", list(to))
    read = message_from_bytes(content, policy=modern)
    assert read["Subject"] == (
        "[gpuledger] opened (warning): over_provisioned_request, search-chat"
    )
    assert read["Message-ID"] == "<msg_1@example.com>"
    assert read["Date"] == "Sun, 01 Mar 2026 12:01:00 +0000"
    said = read.get_content()
    for part in ("team: search", "requested_gpus: 64", "usd_per_week: 1,234.50",
                 "since: 2026-03-01 12:00 UTC", f"acknowledge: {ACK}"):  # fmt: skip
        assert part in said.splitlines()


@given(st.text(max_size=400) | st.just(HOSTILE))
def test_mail_when_text_is_hostile_then_no_header_and_no_line_comes_of_it(stranger: str) -> None:
    hostile = notice(subject=stranger, team=stranger, evidence={"model": stranger})
    for many in (1, 2):
        written = write(
            message(*[hostile] * many), WORDING, "b@example.com", ["a@example.com"], NOW
        )
        read = message_from_bytes(bytes(written), policy=modern)
        assert sorted(read.keys()) == [
            "Auto-Submitted", "Content-Transfer-Encoding", "Content-Type", "Date", "From",
            "MIME-Version", "Message-ID", "Subject", "To",
        ]  # fmt: skip
        assert read["To"] == "a@example.com"
        assert not any(line.startswith("Bcc:") for line in read.get_content().splitlines())
