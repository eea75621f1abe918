"""Writers of sheets: Markdown, HTML, LaTeX, CSV, JSON and text for a terminal; nothing else turns a sheet into text."""
