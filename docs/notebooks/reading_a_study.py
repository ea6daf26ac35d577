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
# # Reading a study
#
# A study compares a model with pretrained weights and the same model with random weights, frozen in the same way. This one is
# small enough for a minute: 20 steps for each run, so **its figures mean nothing**. What they would mean is the subject.

# %%
import fptkit

study = fptkit.study("bit_xor_gpt2", profile="smoke", controls=["frozen_random"], seeds=3, workers=1)

# %% [markdown]
# ## The scores
#
# A row for each arm on each task. The mean and its standard error are over seeds; each seed is one training.

# %%
for row in study.scores():
    print(row["arm"], "seeds:", row["seeds"], "mean:", round(row["mean"], 3), "s.e.m.:", round(row["sem"], 3))

# %% [markdown]
# Two means side by side invite a conclusion. Do not draw it yet: the table does not say whether the difference is larger than what seeds
# alone would make.

# %% [markdown]
# ## The verdict
#
# Seeds are paired: seed 0 of one arm is compared with seed 0 of the other, which had the same order of batches.

# %%
for row in study.verdicts():
    print(row["a"], "against", row["b"], "on", row["task"], "->", row["verdict"])
    print({name: value for name, value in row.items() if name not in ("a", "b", "task", "verdict")})

# %% [markdown]
# - `better` and `worse`: the arms differ by more than seeds explain.
# - `same`: it is shown that the difference is smaller than the margin, here one point.
# - `undecided`: neither is shown. It does **not** mean that there is no difference: look at the interval. If it reaches from
#   far below zero to far above, the study could not have found anything.
# - `not enough evidence`: fewer than three seeds.

# %% [markdown]
# ## The report
#
# It begins with what is wrong: smoke budgets, fallbacks, best learning rates at the edge of the grid. Then come the arms, the answer in
# words, and the tables. `study.report("html")` has curves as well.

# %%
print(study.report("markdown"))

# %% [markdown]
# ## What a study cannot say
#
# - It compares *procedures*: this model, searched over this grid with this budget. A wider grid may give another answer.
# - One task is one task. [Statistics](../statistics.md) says how several are combined.
# - A control removes one explanation. [Controls](../controls.md) lists which, and what is left.
#
# `fptkit verify bit_xor_gpt2-smoke` derives every figure above from the runs again; see
# [Plans and verification](../verify.md).
