"""The classifier of the compiled kernels, and what becomes of its logits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from nansurfer.engine import native
from nansurfer.engine.maps import FeatureMap, aligned_zeros
from nansurfer.engine.masks import RunTable
from nansurfer.engine.packed import PackedNetwork

FEWEST_CLASSES, MOST_CLASSES = 16, 240  # what the kernels are written for


class PackedClassifier:
    """A 1x1 convolution with the classes of each channel together, as vectors run over them.

    Parameters
    ----------
    network
        Whose classifier it is.
    block
        Classes computed together.
    order
        The network's class for each class wanted, so that views of other classes can be added up; None: its own.
    """

    def __init__(self, network: PackedNetwork, block: int, order: Sequence[int] | None = None) -> None:
        self.order = order
        chosen = np.arange(len(network.classifier_bias)) if order is None else np.asarray(order)
        self.classes, self._channels = len(chosen), network.channels
        padded = -(-self.classes // block) * block
        self._weights = aligned_zeros(self._channels * padded).reshape(self._channels, padded)
        self._weights[:, : self.classes] = network.classifier_weights[chosen].T
        self._bias = aligned_zeros(padded)
        self._bias[: self.classes] = network.classifier_bias[chosen]

    def native(self, features: FeatureMap, valid: RunTable) -> native.Classifier:
        """For the kernels, of these features."""
        return native.Classifier(
            features=features.native(),
            valid=valid.native,
            weights=self._weights.ctypes.data,
            bias=self._bias.ctypes.data,
            channels=self._channels,
            classes=self.classes,
            padded=self._weights.shape[1],
            height=features.height,
            width=features.width,
        )
