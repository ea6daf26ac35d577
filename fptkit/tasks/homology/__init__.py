"""The task ``remote_homology``: which fold a protein has, from its amino acids (TAPE; Rao et al. 2019)."""
