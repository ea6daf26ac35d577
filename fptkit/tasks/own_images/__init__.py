"""The task ``images``: a user's pictures, in class folders or listed in a table, of any size."""
