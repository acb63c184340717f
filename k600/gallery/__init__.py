"""Pages to look at: thumbnails by class, click to play."""
