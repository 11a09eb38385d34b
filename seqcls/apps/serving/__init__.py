"""Models behind HTTP: what `seqcls serve` runs. Needs the extra `serve`."""
