"""Real container runtimes, started by the tests on roots of their own."""
