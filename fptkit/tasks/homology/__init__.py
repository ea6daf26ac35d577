"""The task ``remote_homology``: predict a protein's fold from its amino acids (TAPE; Rao et al. 2019)."""
