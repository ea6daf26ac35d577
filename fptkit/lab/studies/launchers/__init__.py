"""Launchers: backends that start a study's workers, on this machine, a Ray cluster or Slurm."""
