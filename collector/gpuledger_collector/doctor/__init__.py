"""What is looked at by `gpuledger doctor`: functions that ask one thing and return a Check."""
