"""The collector: receives windows, stores them in ClickHouse, keeps the ledger."""
