"""The demo: a simulated fleet whose books tell the stories that gpuledger exists for."""
