"""Pages about runs, made from run folders and nothing else."""
