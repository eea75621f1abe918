"""Many runs on a cluster: one job a recipe and a seed, handed to its queue by submitit, an optional extra."""
