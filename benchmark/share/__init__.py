"""Runs shown to others: questions to a model, and folders for the Hub."""
