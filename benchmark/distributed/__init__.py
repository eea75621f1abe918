"""Several processes for one run: what they tell each other, and how a batch that they divide stays one batch.

`torchrun` starts them. Each has a share of the rows of every batch, encodes it, and gathers the codes of all; all then
compute the loss of the whole batch, and the gradients are added up. So the result is that of one process, up to
rounding.
"""
