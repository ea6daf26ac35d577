"""Many runs, one question: arms, tasks, learning rates and seeds, compared fairly."""
