"""What all tests share."""

pytest_plugins = [
    "tests.clickhouse_fixture",
    "tests.collector_fixture",
    "tests.notifier_fixture",
    "tests.notify_receivers",
    "tests.nvml_standin.fixtures",
    "tests.review_fleet",
    "tests.runtimes.containerd",
    "tests.runtimes.dockerd",
    "tests.runtimes.podman",
    "tests.runtimes.scripted_cri",
    "tests.tls_fixture",
    "tests.uplink_fixture",
]
