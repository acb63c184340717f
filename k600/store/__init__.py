"""Clips on disk, the ledger, what is there, what others left there."""
