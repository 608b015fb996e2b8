"""The per-host daemon: samples GPUs, names their users, streams windows to a collector."""

import os
from importlib.metadata import version

# Before gRPC is imported: it writes lines of its own to stderr, one for each stranger that knocks.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

__version__ = version("gpuledger")
