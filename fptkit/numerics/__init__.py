"""How numbers are stored and computed: precision, attention, CPU kernels. Knows no backbone and no task."""
