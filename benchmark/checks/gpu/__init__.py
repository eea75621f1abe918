"""`rematch gpu-check`: what a device makes of every method, on random weights and made-up data, in minutes."""
