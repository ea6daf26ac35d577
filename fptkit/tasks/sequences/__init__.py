"""The task ``sequences``: symbols over an alphabet, such as DNA, proteins, molecules or bytes.

| file | content |
|---|---|
| `options` | what a user can set |
| `reader` | FASTA, tables and JSON records as examples; labels in headers or in a table of their own |
| `alphabet` | which symbols there are, and how text is divided into them |
| `tags` | a label for each symbol |
| `preparation` | symbols to numbers |
| `task` | the task |
"""
