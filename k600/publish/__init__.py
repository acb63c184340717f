"""Rows into shards, shards to a folder, a bucket or the Hub."""
