"""What PyAV does: probe, cut, encode; knows no request and no store."""
