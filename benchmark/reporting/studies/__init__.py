"""Tables of studies."""
