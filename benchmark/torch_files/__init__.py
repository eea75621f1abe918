"""Files of `torch.save` that other people wrote, of either format: read without running anything that is in them."""
