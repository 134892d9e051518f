"""The weighted sum of the views' logits and the class that wins."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from nansurfer.engine import Classes, LogitSum
from nansurfer.labels import SAGITTAL_TO_FULL
from nansurfer.pipeline import Progress, aggregate
from nansurfer.pipeline.aggregate import Scene, ViewModel, aggregate_views
from nansurfer.volume import VIEWS, View, whole_box

WEIGHTS: dict[View, float] = {"coronal": 0.4, "sagittal": 0.2, "axial": 0.4}  # in FastSurfer's order
ORDER = {"coronal": None, "sagittal": SAGITTAL_TO_FULL.tolist(), "axial": None}
CLASSES = {"coronal": 79, "sagittal": 51, "axial": 79}

# Every voxel has its own intensity, so a voxel's logits tell where an engine saw it.
SHAPE = (5, 6, 7)
VOLUME = np.random.default_rng(0).permutation(np.prod(SHAPE)).reshape(SHAPE).astype(np.uint8)


class TableEngine:
    """Logits that a table gives for the intensity of the voxel, (256, classes)."""

    device = "cpu"

    def __init__(self, table: Tensor, batch_size: int = 1) -> None:
        self.table, self.batch_size = table, batch_size
        self.batches: list[int] = []

    def logits(self, slices: np.ndarray, scale: float, head=None, wanted=None) -> Tensor:
        assert slices.shape[1] == 7
        self.batches.append(len(slices))
        return self.table[torch.from_numpy(slices[:, 3]).long()].permute(0, 3, 1, 2)

    def prepare(self, size: tuple[int, int], scale: float) -> None:
        """Nothing is needed."""

    def release(self) -> None:
        """Nothing is kept."""

    def accumulate(self, slices: np.ndarray, scale: float, head, sums: LogitSum, wanted=None) -> None:
        sums.add(self.logits(slices, scale, head, wanted))

    def largest(self, slices, scale, head, sums: LogitSum, classes: Classes, wanted=None) -> None:
        classes[:] = sums.largest(self.logits(slices, scale, head, wanted))


def random_tables(seed: int = 0) -> dict[View, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {view: 20 * torch.randn(256, n, generator=generator) for view, n in CLASSES.items()}


def constant_tables(**logits: dict[int, float]) -> dict[View, Tensor]:
    """The same logits everywhere: those given by class, 0 for the others."""
    tables = {view: torch.zeros(256, n) for view, n in CLASSES.items()}
    for view, values in logits.items():
        for class_, value in values.items():
            tables[view][:, class_] = value
    return tables


def models_of(tables: dict[View, Tensor], order=WEIGHTS, **options) -> dict[View, ViewModel]:
    return {view: ViewModel(TableEngine(tables[view], **options), WEIGHTS[view], 7, ORDER[view]) for view in order}


def classes_of(
    tables: dict[View, Tensor], *, box=None, order=WEIGHTS, progress=None, max_share=0.55, **options
) -> np.ndarray:
    models = models_of(tables, order, **options)
    scene = Scene(VOLUME, box or whole_box(VOLUME), max_share=max_share)
    return aggregate_views(scene, models, progress or Progress())


def fastsurfers_classes(tables: dict[View, Tensor], order=WEIGHTS) -> np.ndarray:
    """The plain way: one float16 array of all voxels and classes, to which each view is added in turn."""
    total = torch.zeros(*SHAPE, 79, dtype=torch.float16)
    for view in order:
        logits = tables[view][torch.from_numpy(VOLUME).long()]
        if view == "sagittal":
            logits = logits[..., torch.tensor(SAGITTAL_TO_FULL)]
        total.add_(logits, alpha=WEIGHTS[view])
    return total.argmax(dim=3).numpy()


def only_class(classes: np.ndarray) -> int:
    (class_,) = np.unique(classes)
    return int(class_)


def test_of_equal_classes_the_first_wins() -> None:
    assert only_class(classes_of(constant_tables())) == 0
    tied = constant_tables(coronal={30: 5.0, 60: 5.0})
    assert only_class(classes_of(tied)) == 30


@pytest.mark.parametrize(
    ("logits", "expected"),
    [
        ({"coronal": {1: 1.0}, "sagittal": {49: 1.9}}, 1),
        ({"coronal": {1: 1.0}, "sagittal": {49: 2.1}}, 63),
        ({"coronal": {1: 1.0}, "axial": {2: 1.1}}, 2),
        ({"axial": {1: 1.0}, "coronal": {2: 1.1}}, 2),
    ],
)
def test_the_sagittal_view_counts_half(logits, expected) -> None:
    assert only_class(classes_of(constant_tables(**logits))) == expected


@pytest.mark.parametrize(("sagittal", "full"), [(0, 0), (1, 10), (5, 1), (4, 15), (50, 64)])
def test_sagittal_classes_stand_for_full_ones(sagittal, full) -> None:
    assert only_class(classes_of(constant_tables(sagittal={sagittal: 1.0}))) == full


def test_the_sum_is_rounded_to_float16() -> None:
    # 400.0 and 400.04, between multiples of 0.25: equal, so the first wins.
    assert only_class(classes_of(constant_tables(coronal={1: 1000.0, 2: 1000.1}))) == 1
    assert only_class(classes_of(constant_tables(coronal={1: 1000.0, 2: 1000.4}))) == 2


def test_and_that_after_each_view() -> None:
    # Class 10 gets 400.1, rounded to 400, and then 0.12, rounded away; in one sum it would be 400.25.
    tables = constant_tables(coronal={1: 1000.0, 10: 1000.25}, sagittal={int(SAGITTAL_TO_FULL[10]): 0.6})
    assert only_class(classes_of(tables)) == 1


def test_views_are_added_in_the_order_of_the_models() -> None:
    # Of class 10, axial takes away what coronal gives; the sagittal 0.12 survives only if it comes last.
    tables = constant_tables(
        coronal={1: 0.1, 10: 1000.0}, axial={10: -1000.0}, sagittal={int(SAGITTAL_TO_FULL[10]): 0.6}
    )
    assert only_class(classes_of(tables)) == 1
    assert only_class(classes_of(tables, order=("coronal", "axial", "sagittal"))) == 10


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "order",
    [
        ("coronal", "sagittal", "axial"),
        ("axial", "coronal"),
        ("coronal", "sagittal"),
        ("sagittal",),
        ("axial",),
    ],
)
def test_same_as_one_large_sum(seed, order) -> None:
    tables = random_tables(seed)
    np.testing.assert_array_equal(classes_of(tables, order=order), fastsurfers_classes(tables, order))


@pytest.mark.parametrize("share", [0.7, 0.4, 0.1, 0.01])
def test_slabs_change_nothing(share) -> None:
    tables = random_tables()
    np.testing.assert_array_equal(classes_of(tables, max_share=share), fastsurfers_classes(tables))


@pytest.mark.parametrize("batch_size", [2, 3, 100])
def test_batches_change_nothing(batch_size) -> None:
    tables = random_tables()
    np.testing.assert_array_equal(classes_of(tables, batch_size=batch_size), fastsurfers_classes(tables))


def test_no_slice_is_left_out_when_batches_shrink() -> None:
    class Shrinking(TableEngine):
        def logits(self, slices: np.ndarray, scale: float, head=None, wanted=None) -> Tensor:
            logits = super().logits(slices, scale)
            self.batch_size = max(1, self.batch_size // 2)
            return logits

    tables = random_tables()
    models = {view: ViewModel(Shrinking(tables[view], 4), WEIGHTS[view], 7, ORDER[view]) for view in WEIGHTS}
    classes = aggregate_views(Scene(VOLUME, whole_box(VOLUME)), models, Progress())
    np.testing.assert_array_equal(classes, fastsurfers_classes(tables))
    assert models["coronal"].engine.batches == [4, 2, 1]


def test_outside_of_the_box_nothing_is_computed() -> None:
    box = slice(1, 4), slice(2, 6), slice(3, 5)
    tables = random_tables()
    expected = np.zeros(SHAPE)
    expected[box] = fastsurfers_classes(tables)[box]
    models = models_of(tables)
    classes = aggregate_views(Scene(VOLUME, box), models, Progress())
    assert classes.dtype == np.uint8
    np.testing.assert_array_equal(classes, expected)
    assert {view: sum(model.engine.batches) for view, model in models.items()} == {
        "coronal": 2,
        "sagittal": 3,
        "axial": 4,
    }


def test_progress_is_told_of_every_slice() -> None:
    told: list[tuple[str, int]] = []

    class Listening(Progress):
        def view(self, view: str, slices: int) -> None:
            told.append((view, slices))

        def advance(self, slices: int) -> None:
            told.append(("", slices))

    classes_of(random_tables(), order=("sagittal", "axial"), max_share=1.0, batch_size=4, progress=Listening())
    assert told == [("sagittal", 5), ("", 4), ("", 1), ("axial", 6), ("", 4), ("", 2)]


@pytest.mark.parametrize(("depth", "parts"), [(256, 2), (141, 2), (140, 1), (1, 1)])
def test_memory_is_bounded(depth, parts) -> None:
    box = slice(0, 256), slice(0, 256), slice(0, depth)
    slabs = list(aggregate._slabs(box, aggregate.MAX_SHARE * 256**3))
    assert [slab[:2] for slab in slabs] == [box[:2]] * parts
    assert [slab[2].start for slab in slabs[1:]] == [slab[2].stop for slab in slabs[:-1]]
    assert (slabs[0][2].start, slabs[-1][2].stop) == (0, depth)
    assert max(slab[2].stop - slab[2].start for slab in slabs) * 256**2 * 79 * 2 < 1.5e9  # bytes


def test_the_views_axes_are_fastsurfers() -> None:
    """Each view's network sees (H, W) of the right axes, at the right slice."""
    seen: dict[str, np.ndarray] = {}

    def recorder(view: View) -> Callable[[np.ndarray, float, None, None], Tensor]:
        def logits(slices: np.ndarray, scale: float, head: None, wanted: None) -> Tensor:
            seen.setdefault(view, slices[0, 3])
            return torch.zeros(len(slices), CLASSES[view], *slices.shape[2:])

        return logits

    models = models_of(random_tables())
    for view in VIEWS:
        models[view].engine.logits = recorder(view)
    aggregate_views(Scene(VOLUME, whole_box(VOLUME)), models, Progress())
    np.testing.assert_array_equal(seen["coronal"], VOLUME[:, :, 0])
    np.testing.assert_array_equal(seen["axial"], VOLUME[:, 0, :].T)
    np.testing.assert_array_equal(seen["sagittal"], VOLUME[0].T)


def with_nan(tables: dict[View, Tensor], view: View, intensity: int) -> dict[View, Tensor]:
    """The tables with one view that gives NaN for the voxel of that intensity."""
    changed = {name: table.clone() for name, table in tables.items()}
    changed[view][intensity] = torch.nan
    return changed


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("order", [tuple(WEIGHTS), ("axial", "sagittal", "coronal")])
def test_a_view_with_nan_abstains(view, order) -> None:
    tables = random_tables()
    intensity = int(VOLUME[2, 3, 4])
    without = fastsurfers_classes(tables, [name for name in order if name != view])
    expected = fastsurfers_classes(tables, order)
    expected[2, 3, 4] = without[2, 3, 4]
    np.testing.assert_array_equal(classes_of(with_nan(tables, view, intensity), order=order), expected)


def test_where_all_abstain_is_background() -> None:
    tables = constant_tables(coronal={5: 1.0})
    for view in VIEWS:
        tables = with_nan(tables, view, int(VOLUME[2, 3, 4]))
    classes = classes_of(tables)
    assert classes[2, 3, 4] == 0
    assert np.count_nonzero(classes == 5) == VOLUME.size - 1


@pytest.mark.parametrize("view", VIEWS)
def test_in_the_papers_one_nan_makes_background(view) -> None:
    tables = with_nan(constant_tables(coronal={5: 1.0}), view, int(VOLUME[2, 3, 4]))
    scene = Scene(VOLUME, whole_box(VOLUME))
    classes = aggregate_views(scene, models_of(tables), Progress(), nan_wins=True)
    assert classes[2, 3, 4] == 0
    assert np.count_nonzero(classes == 5) == VOLUME.size - 1


def test_slices_without_head_are_not_computed() -> None:
    head = np.zeros(SHAPE, bool)
    head[0, 0, 0] = True  # three slices on either side see it
    seen: list[np.ndarray] = []

    class Listening(TableEngine):
        def logits(self, slices: np.ndarray, scale: float, head=None, wanted=None) -> Tensor:
            assert head is not None
            seen.append(head)
            return super().logits(slices, scale)

    engine = Listening(constant_tables(coronal={5: 1.0})["coronal"])
    classes = aggregate_views(
        Scene(VOLUME, whole_box(VOLUME), head=head, margin=1), {"coronal": ViewModel(engine, 0.4, 7)}, Progress()
    )
    assert len(engine.batches) == 4
    assert all(mask.shape == (1, *SHAPE[:2]) and mask[0, :2, :2].all() and mask.sum() == 4 for mask in seen)
    np.testing.assert_array_equal(np.unique(classes[:, :, :4]), 5)
    np.testing.assert_array_equal(np.unique(classes[:, :, 4:]), 0)


class Listening(TableEngine):
    """Tells of every slice which of its pixels are wanted, and their intensities."""

    def __init__(self, table: Tensor) -> None:
        super().__init__(table, 4)
        self.seen: list[tuple[np.ndarray | None, np.ndarray]] = []

    def logits(self, slices: np.ndarray, scale: float, head=None, wanted=None) -> Tensor:
        self.seen.extend((None if wanted is None else wanted[i], one[3]) for i, one in enumerate(slices))
        return super().logits(slices, scale)


@pytest.mark.parametrize("order", [tuple(WEIGHTS), ("axial", "sagittal", "coronal"), ("sagittal", "axial")])
@pytest.mark.parametrize("max_share", [1.0, 0.3])
def test_the_other_views_are_restricted_to_what_the_first_leaves(order, max_share) -> None:
    """To what a threshold gives: so a slice tells by itself what is wanted of it."""
    tables = random_tables()
    models = {view: ViewModel(Listening(tables[view]), WEIGHTS[view], 7, ORDER[view]) for view in order}
    wanted = (VOLUME > 99) & (np.indices(SHAPE)[0] > 1)
    first = fastsurfers_classes(tables, order[:1])

    def restrict(sums: Tensor, box) -> np.ndarray:
        np.testing.assert_array_equal(sums.argmax(-1), first[box])
        return wanted[box]

    scene = Scene(VOLUME, whole_box(VOLUME), max_share=max_share)
    classes = aggregate_views(scene, models, Progress(), restrict=restrict)
    np.testing.assert_array_equal(classes, np.where(wanted, fastsurfers_classes(tables, order), 0))
    assert all(seen is None for seen, _ in models[order[0]].engine.seen)
    for view in order[1:] if max_share == 1 else ():
        assert not any((seen & (intensities <= 99)).any() for seen, intensities in models[view].engine.seen)
        assert len(models[view].engine.seen) == {"sagittal": 3, "axial": 6, "coronal": 7}[view]


def test_next_to_a_cut_the_other_part_is_decoded_too() -> None:
    """Else the cut would be an edge to the networks."""
    tables = random_tables()
    axial = Listening(tables["axial"])
    models = {"coronal": ViewModel(TableEngine(tables["coronal"]), 0.4, 7), "axial": ViewModel(axial, 0.4, 7)}
    scene = Scene(VOLUME, whole_box(VOLUME), max_share=0.55)
    aggregate_views(scene, models, Progress(), restrict=lambda sums, box: VOLUME[box] > 99)
    assert len(axial.seen) == 2 * 6  # in two parts, cut behind the fourth of the rows
    for own, other, slices in ((slice(0, 4), slice(4, 7), axial.seen[:6]), (slice(4, 7), slice(0, 4), axial.seen[6:])):
        assert all(seen[other].all() and (seen == (intensities > 99))[own].all() for seen, intensities in slices)


def test_nothing_is_restricted_without_a_reason() -> None:
    tables = random_tables()
    expected = fastsurfers_classes(tables)
    scene = Scene(VOLUME, whole_box(VOLUME))
    np.testing.assert_array_equal(
        aggregate_views(scene, models_of(tables), Progress(), restrict=lambda sums, box: None), expected
    )


def test_where_nothing_is_wanted_all_is_background() -> None:
    scene = Scene(VOLUME, (slice(1, 4), slice(2, 5), slice(0, 6)))
    classes = aggregate_views(
        scene, models_of(random_tables()), Progress(), restrict=lambda sums, box: np.zeros(sums.shape[:3], bool)
    )
    assert not classes.any()


def test_a_single_view_is_not_restricted() -> None:
    tables = random_tables()

    def restrict(sums: Tensor, box) -> None:
        pytest.fail("its sums are never held")

    scene = Scene(VOLUME, whole_box(VOLUME))
    classes = aggregate_views(scene, models_of(tables, ("axial",)), Progress(), restrict=restrict)
    np.testing.assert_array_equal(classes, fastsurfers_classes(tables, ("axial",)))


def test_skips_are_told_with_their_place() -> None:
    told: list[tuple[str, int, int, str]] = []

    class Counting(TableEngine):
        def take_counts(self) -> str:
            return f"counts {len(self.batches)}"

    models = {"axial": ViewModel(Counting(random_tables()["axial"], 4), 0.4, slices=7)}
    box = slice(0, 5), slice(1, 6), slice(0, 3)
    aggregate_views(Scene(VOLUME, box), models, Progress(), on_counts=lambda *facts: told.append(facts))
    assert told == [("axial", 1, 6, "counts 1"), ("axial", 5, 6, "counts 2")]
