"""The rules for reading users' files: one place for all formats, in pure functions.

| file | rule |
|---|---|
| `text` | decoding, byte-order marks, packed files, lines |
| `numbers` | what a number is, and which words mean a missing value |
| `delimited` | CSV and TSV: delimiter, quotes, ragged rows |
| `columns` | the kind of a column, from all its cells |
| `dates` | dates and times |
| `timing` | columns that only count, and rows out of order in time |
| `labels` | which labels are the same, and the numbers of classes |
| `scaling` | mean and deviation, and what counts as constant |
| `paths` | entries of ``source``, files of a folder, and what is not used |
| `splits` | train, validation and test |
| `cautions` | warnings about splits that are too small and classes that are absent |
| `options` | the options that all tasks with files share |

Everything but `scaling` and `splits` imports neither torch nor NumPy.
"""
