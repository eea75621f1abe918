"""Writers of the leaderboard's tables: Markdown, HTML, LaTeX, CSV, the terminal."""
