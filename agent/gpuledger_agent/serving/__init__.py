"""What inference servers serve: found among the attributed workloads, read, made into windows."""
