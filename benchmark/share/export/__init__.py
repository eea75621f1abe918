"""`rematch export`: a run as a folder for the Hub."""
