"""GGUF files: quantised language models in one file, as llama.cpp uses them.

Read in this order:

| module | content |
|---|---|
| `reader` | opens a file: metadata and dequantised tensors, by the library ``gguf`` |
| `llama` | the Llama family: metadata to a config.json, names and order of tensors as in transformers |
| `tokenizer` | the tokenizer in the metadata, as a ``tokenizer.json`` |
| `convert` | a file becomes a folder in the Hugging Face format, once; the folder is verified at every start |
| `entries` | which entries of weights stand for such a file |

Source: ggml-org/ggml, ``docs/gguf.md``.
"""
