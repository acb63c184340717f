"""What PyAV does: probe, cut, resize; knows no request and no store."""
