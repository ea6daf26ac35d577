# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Quick start in Python
#
# A frozen language model learns to recall bits. It takes a few seconds on a laptop, needs no network, and writes into the folder
# `runs`.

# %%
import numpy as np

import fptkit

# %% [markdown]
# ## A run
#
# `bit_xor_gpt2` is a recipe that comes with fptkit; `fptkit list recipes` shows the others. The profile `smoke` trains for 20 steps:
# it shows that everything works, and nothing else. Leave it out for a real training of about a minute.

# %%
result = fptkit.run("bit_xor_gpt2", profile="smoke", output="runs/quick_start")
print(result.status, result.metrics["test"])

# %% [markdown]
# A model that guesses is right for half of the bits. `summary` holds everything that the run recorded: which weights
# were used, how many parameters trained, which majority or chance level the accuracy has to be compared with.

# %%
summary = result.summary
print(summary["backbone"]["name"], summary["backbone"]["weights"])
print(summary["parameters"])
print("chance:", summary["chance_accuracy"])

# %% [markdown]
# ## What trains
#
# `fptkit.build` makes the same model without training it. Attention and feed-forward are frozen; every parameter has a role.

# %%
built = fptkit.build("bit_xor_gpt2", profile="smoke")
trained = sum(parameter.numel() for parameter in built.model.parameters() if parameter.requires_grad)
total = sum(parameter.numel() for parameter in built.model.parameters())
print(f"{trained:,} of {total:,} numbers train")

# %% [markdown]
# ## Predict
#
# The run's folder is enough. Two strings of five bits, one bit for each token; the answer is their exclusive or.

# %%
model = fptkit.load("runs/quick_start")
bits = np.random.default_rng(0).integers(0, 2, size=(3, 10, 1)).astype("float32")
print(model.predict(bits))
print(model.predict_proba(bits).shape)

# %% [markdown]
# ## The control
#
# The same model with random weights, frozen in the same way. Two single runs are not a comparison; the notebook
# [Reading a study](reading_a_study.py) shows one.

# %%
control = fptkit.run("bit_xor_gpt2", profile="smoke", backbone={"init": "random"}, output="runs/quick_start_control")
print(control.metrics["test"])
