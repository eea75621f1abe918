"""Pictures: decoding, the published transforms, resizing."""
