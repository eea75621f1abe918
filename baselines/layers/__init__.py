"""What two or more methods share: cross-attention, ranking losses."""
