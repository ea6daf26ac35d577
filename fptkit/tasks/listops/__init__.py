"""The task ``listops``: evaluate nested expressions over lists of digits (Nangia & Bowman 2018; LRA)."""
