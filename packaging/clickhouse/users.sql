-- Once, after roles.sql: a user for each role. Put the SHA-256 of a password of its own in the place of each word in
-- capitals, as 64 hexadecimal digits; ClickHouse refuses the statement until then. How to make one:
--     openssl rand -base64 33 | tee password | tr -d '\n' | sha256sum

-- `gpuledger migrate`. Views run with this user's rights: they cease to work if it is dropped.
CREATE USER gpuledger_migrate IDENTIFIED WITH sha256_hash BY 'SHA256_OF_MIGRATE';
GRANT gpuledger_admin TO gpuledger_migrate;

-- `gpuledger serve`, and the commands that declare and acknowledge.
CREATE USER gpuledger_collector IDENTIFIED WITH sha256_hash BY 'SHA256_OF_COLLECTOR';
GRANT gpuledger_writer TO gpuledger_collector;

CREATE USER gpuledger_grafana IDENTIFIED WITH sha256_hash BY 'SHA256_OF_GRAFANA';
GRANT gpuledger_reader TO gpuledger_grafana;
