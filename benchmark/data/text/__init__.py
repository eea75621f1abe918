"""Captions as ids: WordPiece, word vocabularies, dictionaries of word vectors, and training augmentations."""
