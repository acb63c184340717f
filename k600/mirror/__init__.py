"""Bytes of any mirror, by ranges; knows no tarball and no clip."""
