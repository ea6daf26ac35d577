"""Speed and size of a recipe: measured on this machine, or estimated without running it."""
