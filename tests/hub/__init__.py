"""A local twin of the Hugging Face Hub.

server.py answers requests, store.py says what a repository is and what is wrong with it, rows.py and repositories.py
make the data, client.py points this process's libraries at a twin, and `python -m tests.hub` serves one to commands.
"""
