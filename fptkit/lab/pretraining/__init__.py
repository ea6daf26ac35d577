"""Pretraining of backbones on text, on synthetic symbols or on a task; the shipped backbones are made with it.

`options` and `recipes` define and load the recipes (light, no torch). `corpus` turns text into token arrays, and `loop`
is a resumable training loop for any modality. `language`, `synthetic` and `task` are the three kinds. This module
imports nothing, so that the schema of a pretraining recipe can be read without loading torch.
"""
