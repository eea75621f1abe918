"""Recipes: their schema, their files and the profiles over them."""
