"""Controls without a pretrained sequence model: no model at all, or one attention layer trained from scratch."""
