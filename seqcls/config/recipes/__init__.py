"""Named settings, a TOML file each, for `seqcls fit --recipe NAME`."""
