"""One file per subcommand of `gpuledger`."""
