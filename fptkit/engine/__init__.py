"""Training and evaluation. Knows no modality, no console and no recipe syntax; says what happens through events."""
