"""The task ``table``: predict a column of a CSV, TSV or Parquet file from the others.

The pattern for formats of users' files: light options and file endings, a reader that gives `fptkit.Examples`, a
preparation, and a task that joins them.
"""
