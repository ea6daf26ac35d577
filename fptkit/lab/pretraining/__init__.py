"""Pretraining: how the backbones that fptkit ships are made.

`options` holds the recipe (light, no torch); `corpus` turns text into token arrays; `loop` is the resumable training
loop that knows no modality; `language` puts them together for a GPT-2 on text. Nothing is imported here, so that the
schema of a pretraining recipe can be read without loading torch.
"""
