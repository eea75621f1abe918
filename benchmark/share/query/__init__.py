"""`rematch query`: a sentence or a picture against a run's test gallery."""
