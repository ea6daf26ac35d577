"""How numbers are stored and computed: precision, attention, CPU kernels. Independent of backbones and tasks."""
