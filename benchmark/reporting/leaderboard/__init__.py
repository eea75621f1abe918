"""The leaderboard: runs beside their papers' rows, compared and laid out as pages of tables."""
