"""The task ``arrays``: inputs and targets in npz, npy and safetensors files, or in data sets of `datasets`."""
