"""One run, resolved from its options, and its place on the disk and on this machine."""
