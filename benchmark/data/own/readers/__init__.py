"""One reader a layout: whatever a source looks like, what comes out is a collection of images with captions."""
