"""The base of tasks that read a user's files: what is predicted, splits, and prepared examples in memory.

| file | content |
|---|---|
| `task` | `OwnDataTask`, the story from files to splits, which every format follows |
| `target` | classes, several labels at once, or numbers: fitting, encoding, answers in words |
| `prepared` | a split of prepared examples in memory |
| `metrics` | metrics of several labels, and of numbers in their unit |

The rules for reading are in `fptkit.tasks.reading`.
"""
