"""Checks of a store and of a machine: status, verify and repair, doctor, the table of clips."""
