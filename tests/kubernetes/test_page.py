"""docs/kubernetes.md speaks of what is there."""

from __future__ import annotations

import re

from tests.kubernetes.rendering import COMPONENTS, EXAMPLES, ROOT, agents

PAGE = (ROOT / "docs" / "kubernetes.md").read_text()


def test_page_when_it_names_a_file_then_it_is_there() -> None:
    named = set(re.findall(r"packaging/[\w/.-]*[\w-]", PAGE))
    assert named
    made = {"packaging/kubernetes/examples/site/secrets"}
    assert not [path for path in named - made if not (ROOT / path).exists()]


def test_page_when_components_and_examples_are_there_then_it_names_them() -> None:
    assert not [name for name in COMPONENTS if f"`{name}`" not in PAGE]
    assert not [name for name in EXAMPLES if f"examples/{name}" not in PAGE]


def test_page_when_the_agent_has_a_right_then_it_says_what_for() -> None:
    (pod,) = agents("base")
    (container,) = pod["containers"]
    rights = [f"CAP_{one}" for one in container["securityContext"]["capabilities"]["add"]]
    paths = [one["hostPath"]["path"] for one in pod["volumes"] if "hostPath" in one]
    table = [line.split("|")[1] for line in PAGE.splitlines() if line.startswith("|")]
    for right in (*rights, *paths):
        assert [cell for cell in table if right in cell], right
