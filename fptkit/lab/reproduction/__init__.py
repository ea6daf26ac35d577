"""The plan that reproduces the papers' tables: a command for each figure, its hours, and what differs. Light."""
