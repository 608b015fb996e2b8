"""A `libnvidia-ml.so.1` of our own: the C ABI is real, the GPUs are not."""
