"""What the embedded ClickHouse is told: its port, its limits, and who may do what."""

from __future__ import annotations

import hashlib
from pathlib import Path
from xml.sax.saxutils import escape

from gpuledger_collector.store import owner

# The port is shared with whoever starts us, who holds it (see port.py).
_CONFIG = """<clickhouse>
  <http_port>{port}</http_port>
  <listen_host>{host}</listen_host>
  <listen_reuse_port>1</listen_reuse_port>
  <users_config>users.xml</users_config>
  <logger>
    <level>warning</level>
    <log>{log}</log>
    <size>10M</size>
    <count>2</count>
  </logger>
  <max_server_memory_usage_to_ram_ratio>0.5</max_server_memory_usage_to_ram_ratio>
  <mark_cache_size>268435456</mark_cache_size>
  <merge_tree>
    <fsync_after_insert>1</fsync_after_insert>
    <fsync_part_directory>1</fsync_part_directory>
  </merge_tree>
</clickhouse>
"""

# ClickHouse's own session is of the user `default` as well, hence without a password, and it must
# be granted what that session does: to listen. A read-only profile would forbid it that.
_USERS = """<clickhouse>
  <users>
    <default>
      <password/>
      <networks><ip>{host}</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <grants>
        <query>GRANT SELECT, SHOW ON *.*</query>
        <query>GRANT SYSTEM LISTEN ON *.*</query>
      </grants>
    </default>
    <{owner}>
      <password_sha256_hex>{digest}</password_sha256_hex>
      <networks><ip>{host}</ip></networks>
      <profile>default</profile>
      <quota>default</quota>
      <grants>
        <query>GRANT SELECT, INSERT, ALTER, TRUNCATE, OPTIMIZE, SHOW ON *.*</query>
        <query>GRANT CREATE DATABASE, CREATE TABLE, CREATE VIEW ON *.*</query>
        <query>GRANT DROP DATABASE, DROP TABLE, DROP VIEW ON *.*</query>
        <query>GRANT SYSTEM MERGES, SYSTEM TTL MERGES ON *.*</query>
        <query>GRANT TABLE ENGINE ON MergeTree, TABLE ENGINE ON ReplacingMergeTree</query>
        <query>GRANT TABLE ENGINE ON SummingMergeTree</query>
      </grants>
    </{owner}>
  </users>
  <profiles>
    <default>
      <constraints>
        <format_schema><const/></format_schema>
        <output_format_schema><const/></output_format_schema>
        <format_template_row><const/></format_template_row>
        <format_template_resultset><const/></format_template_resultset>
      </constraints>
    </default>
  </profiles>
  <quotas><default/></quotas>
</clickhouse>
"""


def write(home: Path, host: str, port: int, password: str) -> None:
    """Write it below the home directory that ClickHouse is given. Raises OSError.

    Of the password only a digest, which does not give away anything as random as that.
    """
    folder = home / ".clickhouse-local"
    folder.mkdir(exist_ok=True)
    log = escape(str(home / "clickhouse.log"))
    digest = hashlib.sha256(password.encode()).hexdigest()
    (folder / "config.xml").write_text(_CONFIG.format(port=port, host=host, log=log))
    (folder / "users.xml").write_text(_USERS.format(host=host, owner=owner.USER, digest=digest))
