"""What ``fptkit doctor`` finds out about a machine, and about a recipe on it."""
