"""People's own datasets: what they have is read into a card and an index, and loaded from these from then on."""
