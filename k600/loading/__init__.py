"""The main path: from a request to rows."""
