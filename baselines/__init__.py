"""One package a method, and `layers` for what two or more of them share."""
