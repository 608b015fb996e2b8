"""Generated code of the wire contract; `make proto` writes it."""
