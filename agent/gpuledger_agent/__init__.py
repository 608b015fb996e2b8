"""The per-host daemon: samples GPUs, names their users, streams windows to a collector."""

from importlib.metadata import version

__version__ = version("gpuledger")
