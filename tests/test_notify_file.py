"""Notify files: what is right is read, what is wrong is named, all at once, with its line."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuledger_collector.ledger.declared import DeclarationError
from gpuledger_collector.ledger.notify import config
from gpuledger_collector.ledger.notify.alertmanager import Alertmanager
from gpuledger_collector.ledger.notify.mail import Mail
from gpuledger_collector.ledger.notify.planning import Target
from tests.notices import finding
from tests.notifier_fixture import KEY

WHOLE = """
link = "https://books.example/f?id={finding}"

[receiver.hook]
type = "webhook"
url = "https://example.com/hook"
secret_file = "DIR/key"
bearer_token_file = "DIR/token"
burst = 3
per_minute = 0.5

[receiver.chat]
type = "slack"
url_file = "DIR/url"

[receiver.am]
type = "alertmanager"
url = "http://127.0.0.1:9093"

[receiver.mail]
type = "email"
host = "smtp.example.com"
from = "books@example.com"
to = ["capacity@example.com"]
username = "books"
password_file = "DIR/token"

[[route]]
teams = ["search"]
severity = "critical"
receivers = ["chat", "mail"]

[[route]]
rules = ["idle_allocation", "memory_swing"]
pools = ["production"]
receivers = []

[default]
receivers = ["am"]
group_by = ["team", "rule"]
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "token").write_text("t0ken\n")
    (tmp_path / "url").write_text("https://hooks.example.com/services/T0/B0/s3cret\n")
    return tmp_path


def load(directory: Path, text: str) -> config.NotifyConfig:
    path = directory / "notify.toml"
    path.write_text(dedent(text).replace("DIR", str(directory)))
    return config.load(path)


def problems(directory: Path, text: str) -> list[str]:
    """What is said of a file, without its name."""
    with pytest.raises(DeclarationError) as caught:
        load(directory, text)
    name = f"{directory / 'notify.toml'}:"
    assert all(line.startswith(name) for line in caught.value.problems)
    assert "s3cret" not in str(caught.value)
    return [line.removeprefix(name).strip() for line in caught.value.problems]


def test_load_when_a_file_is_right_then_all_of_it_is_read(directory: Path) -> None:
    read = load(directory, WHOLE)
    assert list(read.receivers) == ["hook", "chat", "am", "mail"]
    assert (read.receivers["hook"].burst, read.receivers["hook"].per_minute) == (3, 0.5)
    assert (read.receivers["chat"].burst, read.receivers["chat"].per_minute) == (10, 6.0)
    manager, mail = read.receivers["am"].channel, read.receivers["mail"].channel
    assert isinstance(manager, Alertmanager)
    assert manager.renew_s == 60
    assert isinstance(mail, Mail)
    assert (mail.tls, mail.port) == ("starttls", 587)
    assert read.link == "https://books.example/f?id={finding}"


@pytest.mark.parametrize(
    ("given", "receivers"),
    [
        ({"team": "search", "severity": "critical"}, ["chat", "mail"]),
        ({"team": "search", "severity": "warning"}, ["am"]),
        ({"team": "Search", "severity": "critical"}, ["am"]),
        ({"rule": "idle_allocation", "pool": "production"}, []),
        ({"rule": "idle_allocation", "pool": "production", "severity": "critical"},
         ["chat", "mail"]),
        ({"rule": "idle_allocation", "pool": "experiment"}, ["am"]),
    ],
)  # fmt: skip
def test_route_when_several_match_then_the_first_counts_and_the_default_at_last(
    directory: Path, given: dict[str, str], receivers: list[str]
) -> None:
    targets = load(directory, WHOLE).route(finding(**given))
    assert [target.receiver for target in targets] == receivers


def test_route_when_it_groups_then_what_has_the_same_values_is_joined(directory: Path) -> None:
    read = load(directory, WHOLE)
    [one] = read.route(finding(team="a", subject="x"))
    [same] = read.route(finding(team="a", subject="y"))
    [other] = read.route(finding(team="b", subject="x"))
    assert one == same != other
    assert one != Target("am")


DEFAULT = "[default]\nreceivers = []\n"
HOOK = '[receiver.a]\ntype = "webhook"\nsecret_file = "DIR/key"\nurl = "https://h/"\n'
MAIL = (
    '[receiver.a]\ntype = "email"\nhost = "h"\nfrom = "a@b.c"\nto = ["a@b.c"]\n'
)  # fmt: skip
CHAT = '[receiver.a]\ntype = "slack"\nurl_file = "DIR/url"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "default: is missing; write [default] and receivers, [] for nobody"),
        ("[default]\n", "1: [default] receivers: is missing; write a list, [] for nobody"),
        ("[default\n", "is not TOML"),
        (DEFAULT + 'receivers = ["b"]\n', "is not TOML"),
        (DEFAULT + "[other]\n", "other: is no setting; take one of receiver, route, default, link"),
        ("x = 1\n" + DEFAULT, "1: x: is no setting"),
        ("receiver = 1\n" + DEFAULT, "1: receiver: is no table of receivers"),
        ("[receiver]\nb = 1\n" + DEFAULT, "receiver: is no table of receivers"),
        ("route = 1\n" + DEFAULT, "1: route: is no list of routes; write [[route]]"),
        ('link = "books"\n' + DEFAULT, "1: link: is no URL"),
        ("link = 7\n" + DEFAULT, "1: link: is no line of text"),
        ('[default]\nreceivers = ["b"]\n',
         "2: [default] receivers: 'b' is not known; take of (none)"),
        (DEFAULT + 'teams = ["a"]\n', "3: [default] teams: is no setting"),
        (DEFAULT + "[[route]]\n", "3: [[route]] 1 receivers: is missing"),
        (DEFAULT + '[[route]]\nreceivers = "a"\n', "4: [[route]] 1 receivers: is no list of texts"),
        (DEFAULT + '[[route]]\nreceivers = []\nrules = ["x"]\n',
         "5: [[route]] 1 rules: 'x' is not"),
        (DEFAULT + '[[route]]\nreceivers = []\nseverity = "bad"\n',
         "5: [[route]] 1 severity: 'bad'"),
        (DEFAULT + '[[route]]\nreceivers = []\n[[route]]\nreceivers = []\ngroup_by = ["usd"]\n',
         "7: [[route]] 2 group_by: 'usd' is not known; take of team, rule, pool"),
        (DEFAULT + "[receiver.a]\n", "3: [receiver.a] type: is missing; write it"),
        (DEFAULT + '[receiver.a]\ntype = "pigeon"\n',
         "4: [receiver.a] type: 'pigeon' is not known"),
        (DEFAULT + CHAT.replace(".a]", '."a b"]'), "has a name that cannot be"),
        (DEFAULT + HOOK + "burst = 0\n", "7: [receiver.a] burst: is out of range; take 1 to 1000"),
        (DEFAULT + HOOK + "burst = 1.5\n", "7: [receiver.a] burst: is not a whole number"),
        (DEFAULT + HOOK + "per_minute = nan\n", "7: [receiver.a] per_minute: is out of range"),
        (DEFAULT + HOOK + "per_minute = true\n", "7: [receiver.a] per_minute: is not a number"),
        (DEFAULT + HOOK + 'password = "x"\n',
         "7: [receiver.a] password: is no setting; take one of"),
        (DEFAULT + HOOK + 'url_file = "DIR/url"\n',
         "6: [receiver.a] url: is missing; write url or url"),
        (DEFAULT + HOOK.replace("https://h/", "file:///etc/passwd"),
         "6: [receiver.a] url: begins with"),
        (DEFAULT + HOOK.replace("//h/", "//u:s3cret@h/"), "6: [receiver.a] url: holds a user name"),
        (DEFAULT + HOOK.replace("//h/", "//h/?t=s3cret"), "6: [receiver.a] url: has a query"),
        (DEFAULT + HOOK.replace("DIR/key", "DIR/none"), "key: DIR/none: No such file"),
        (DEFAULT + HOOK.replace("DIR/key", "DIR/token"), "line 1 is no whsec_ and base64"),
        (DEFAULT + HOOK + 'ca_file = "DIR/key"\n', "holds no certificates that can be read"),
        (DEFAULT + HOOK.replace("https", "http") + 'bearer_token_file = "DIR/token"\n',
         "would send a secret in clear; use https"),
        (DEFAULT + CHAT + 'url = "https://hooks/s3cret"\n', "6: [receiver.a] url: is no setting"),
        (DEFAULT + CHAT.replace("DIR/url", "DIR/token"), "the URL begins with neither"),
        (DEFAULT + CHAT.replace("DIR/url", "DIR/none"), "No such file or directory; correct it"),
        (DEFAULT + MAIL.replace('from = "a', 'from = "a\\nBcc: b'), "from: is no line of text"),
        (DEFAULT + MAIL.replace('to = ["a@b.c"]', 'to = ["a@b.c, x@y.z"]'),
         "'a@b.c, x@y.z' is no mailbox"),
        (DEFAULT + MAIL.replace('to = ["a@b.c"]', "to = []"), "7: [receiver.a] to: names nobody"),
        (DEFAULT + MAIL + 'username = "u"\n', "username and password_file belong together"),
        (DEFAULT + MAIL + 'tls = "none"\nusername = "u"\npassword_file = "DIR/token"\n',
         "8: [receiver.a] tls: the password would be sent in clear"),
        (DEFAULT + MAIL + "port = 0\n", "8: [receiver.a] port: is out of range"),
    ],
)  # fmt: skip
def test_load_when_something_is_wrong_then_a_line_says_where_and_what(
    directory: Path, text: str, said: str
) -> None:
    found = problems(directory, text)
    assert len(found) == 1, found
    assert said.replace("key: DIR", str(directory)).replace("DIR", str(directory)) in found[0]


def test_load_when_much_is_wrong_then_all_is_named_in_the_order_of_lines(directory: Path) -> None:
    found = problems(
        directory,
        """
        [receiver.a]
        type = "slack"
        [receiver.b]
        type = "pigeon"
        [[route]]
        receivers = ["a", "b", "c"]
        sevrity = "warning"
        [default]
        receivers = []
        """,
    )
    assert [line.split(":")[0] for line in found] == ["2", "5", "7", "8"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_load_when_a_file_is_anything_then_it_is_read_or_refused(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "any.toml"
    path.write_bytes(content)
    with pytest.raises(DeclarationError):
        config.load(path)
