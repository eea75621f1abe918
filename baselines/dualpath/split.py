"""The Flickr30K split of the authors' code (dualpath.md 2): val and test are Flickr8k's dev and test images.

Karpathy's 31,014 images lack dozens of these 2,000, so that all 31,783 of the corpus are read. UNCERTAIN: the authors'
README speaks of a random split, and which of the two made the published numbers is not known.
"""

from benchmark.inputs import ListedSplit

FLICKR8K = ListedSplit(
    dataset="flickr30k",
    name="flickr8k",
    title="split of the dual-path CNN's code",
    rule="split by the rule of the dual-path's code: val and test are Flickr8k's dev and test images",
    lists={"val": "Flickr_8k.devImages.txt", "test": "Flickr_8k.testImages.txt"},
    origin="Flickr8k",
    list_images=1_000,
    corpus_images=31_783,
)
