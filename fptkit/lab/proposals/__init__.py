"""A recipe for a user's files: look at them, choose a task, write the recipe, check that it runs."""
