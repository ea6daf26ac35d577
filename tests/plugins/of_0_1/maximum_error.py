import torch

from fptkit import Accuracy, MeanSquaredError, Task


class MaximumError:
    """The largest absolute difference."""

    higher_is_better = False

    def __init__(self):
        self.reset()

    def reset(self):
        self.largest = torch.zeros(())

    def to(self, device):
        self.largest = self.largest.to(device)
        return self

    def update(self, predictions, targets):
        self.largest = torch.maximum(self.largest, (predictions - targets).abs().max())

    def compute(self):
        return self.largest


class Regression(Task):
    best_metric = "maximum_error"

    def metrics(self):
        return {"mean_squared_error": MeanSquaredError(), "maximum_error": MaximumError()}
