"""The task ``listops``: the value of a nested expression over lists of digits (Nangia & Bowman 2018; LRA)."""
