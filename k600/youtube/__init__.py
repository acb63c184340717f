"""Single clips from YouTube."""
