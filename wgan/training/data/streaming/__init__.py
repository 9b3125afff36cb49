"""Shards: training data in .tar files that is streamed instead of loaded."""
