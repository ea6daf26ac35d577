"""The task ``text``: texts as the tokens of the backbone's own tokenizer, or as bytes.

| file | content |
|---|---|
| `options` | what a user can set |
| `reader` | tables, JSON records and folders of text files as examples |
| `vocabulary` | the tokenizer: opened, kept in the run folder, tokens of a text |
| `preparation` | texts to tokens |
| `task` | the task |
"""
