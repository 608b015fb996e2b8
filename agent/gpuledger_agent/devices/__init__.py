"""Device families: each file reads one kind of device behind the protocol in `base`."""
