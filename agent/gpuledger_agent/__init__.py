"""The per-host daemon: samples GPUs, names their users, streams windows to a collector."""
