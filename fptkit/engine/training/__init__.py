"""What a training is made of, and a plugin can bring: transforms, heads, losses, metrics, optimizers, schedules."""
