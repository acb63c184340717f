"""The CVDF's tarballs: lists, archive, stream, extract."""
