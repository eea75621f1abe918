"""The embedded dataset `scenes`: coloured shapes with captions, made by code."""
