"""The layer-norm LSTM: the recurrent model that transformers are compared with."""
