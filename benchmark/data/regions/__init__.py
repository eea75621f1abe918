"""Region features: read from folders, or computed from pictures and cached."""
