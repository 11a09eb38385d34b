"""Settings and where they come from: their fields and defaults, TOML files, recipes, and the options of plugins."""
