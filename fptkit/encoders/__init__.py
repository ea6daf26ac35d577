"""Maps from raw tokens of a modality to token vectors of the backbone's width."""
