"""Memory for the sums of logits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from nansurfer.engine import LogitSum, zero_sums
from nansurfer.engine.maps import aligned_zeros


def test_sums_begin_as_zeros_that_can_be_written_to() -> None:
    sums = zero_sums((3, 4, 5, 79))
    assert (sums.shape, sums.dtype, sums.flags.c_contiguous) == ((3, 4, 5, 79), np.float16, True)
    assert not sums.any()
    sums.transpose(1, 2, 0, 3)[1, 2, 0, 7] = 2.5
    assert sums[0, 1, 2, 7] == 2.5


def test_touching_writes_zeros_around_what_is_seen() -> None:
    total = np.ones((2, 4, 5, 3), np.float16)
    seen = np.zeros((2, 4, 5), bool)
    seen[1, 1, 2] = seen[1, 2, 4] = True
    LogitSum(total, 0.4, (slice(0, 4), slice(0, 5))).touch(seen)
    assert total[0].all()
    assert not total[1, 1:3, 2:5].any()
    assert total.sum() == 2 * 4 * 5 * 3 - 2 * 3 * 3


def test_touching_everywhere() -> None:
    total = np.ones((2, 4, 5, 3), np.float16)
    LogitSum(total, 0.4, (slice(0, 4), slice(0, 5))).touch(None)
    assert not total.any()


@pytest.mark.parametrize("kind", [np.array, torch.from_numpy], ids=["array", "tensor"])
def test_sums_and_their_largest_class(kind) -> None:
    before = np.zeros((2, 2, 2, 3), np.float16)
    before[1, 0, 0] = 1, 2, 2
    logits = torch.full((2, 3, 4, 4), torch.nan)
    logits[0, :, 1, 1] = torch.tensor([1.0, 5.0, 3.0])
    total = LogitSum(kind(before.copy()), 0.5, (slice(1, 3), slice(1, 3)))
    assert total.largest().tolist() == [[[0, 0], [0, 0]], [[1, 0], [0, 0]]]  # the first of equal ones
    assert total.largest(logits).tolist() == [[[1, 0], [0, 0]], [[1, 0], [0, 0]]]
    total.add(logits)
    assert total.total[0, 0, 0].tolist() == [0.5, 2.5, 1.5]
    np.testing.assert_array_equal(total.total[1], before[1])


def test_more_memory_than_there_can_be_is_an_error_of_memory() -> None:
    with pytest.raises(MemoryError, match="bytes cannot be mapped"):
        aligned_zeros(1 << 58)
