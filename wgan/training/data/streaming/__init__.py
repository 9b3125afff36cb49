"""Training from shards that are read as they are needed."""
