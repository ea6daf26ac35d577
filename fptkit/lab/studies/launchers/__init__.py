"""Who starts a study's workers: this machine, a Ray cluster, Slurm."""
