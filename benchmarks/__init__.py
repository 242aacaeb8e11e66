"""The benchmark of Aeros beside its peers: `scripts/bench`."""
