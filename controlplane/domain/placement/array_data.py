"""Difference matrices that no field gives, found by search; tests check each by its definition."""

from __future__ import annotations

DIFFERENCE_MATRICES: dict[int, tuple[tuple[int, ...], ...]] = {
    12: tuple(
        zip(
            (0,) * 12,
            range(12),
            (0, 8, 4, 6, 2, 10, 11, 1, 9, 5, 7, 3),
            (0, 9, 3, 8, 7, 2, 1, 5, 6, 11, 4, 10),
            (0, 10, 8, 11, 5, 1, 9, 6, 3, 7, 2, 4),
            (0, 3, 7, 9, 6, 4, 10, 2, 5, 1, 11, 8),
            strict=True,
        )
    ),
    15: tuple(
        zip(
            (0,) * 15,
            range(15),
            (0, 4, 6, 10, 14, 13, 2, 12, 5, 8, 11, 9, 3, 7, 1),
            (0, 9, 7, 14, 6, 12, 4, 8, 11, 3, 5, 2, 1, 10, 13),
            strict=True,
        )
    ),
}
"""Order of the group to columns: 12 over Z_2 x Z_6 (element (a, b) is 6a + b), 15 over Z_15."""

QUASI_DIFFERENCES: dict[int, tuple[int, tuple[tuple[int | None, ...], ...]]] = {
    10: (
        7,
        (
            (None, 0, 1, 2), (None, 0, 2, 4), (None, 0, 6, 3), (0, None, 5, 1), (0, None, 3, 2), (0, None, 1, 6),
            (0, 3, None, 4), (0, 6, None, 5), (0, 5, None, 3), (0, 1, 4, None), (0, 4, 2, None), (0, 2, 6, None),
        ),
    ),
    14: (
        11,
        (
            (None, 0, 1, 6), (None, 0, 2, 9), (None, 0, 7, 10), (0, None, 8, 5), (0, None, 3, 9), (0, None, 2, 6),
            (0, 2, None, 3), (0, 8, None, 10), (0, 4, None, 7), (0, 1, 5, None), (0, 10, 7, None), (0, 6, 4, None),
            (0, 3, 9, 8), (0, 9, 1, 2), (0, 7, 6, 4), (0, 5, 10, 1),
        ),
    ),
}  # fmt: skip
"""Number of symbols to (m, columns over Z_m); None is a gap. Each row has as many gaps as there are points at
infinity."""

LATIN_6: tuple[tuple[tuple[int, int, int], ...], ...] = (
    ((0, 0, 0), (1, 1, 1), (2, 2, 2), (3, 3, 3), (4, 4, 4), (5, 5, 5)),
    ((0, 1, 5), (1, 0, 3), (2, 3, 4), (3, 4, 0), (4, 5, 2), (5, 2, 1)),
    ((0, 5, 4), (1, 4, 2), (2, 0, 1), (3, 2, 5), (4, 1, 3), (5, 3, 0)),
    ((0, 3, 2), (1, 2, 4), (2, 1, 0), (3, 5, 1), (4, 0, 5), (5, 4, 3)),
    (
        (0, 2, 3), (0, 4, 1), (1, 3, 5), (1, 5, 0), (2, 4, 5), (2, 5, 3),
        (3, 0, 4), (3, 1, 2), (4, 2, 0), (4, 3, 1), (5, 0, 2), (5, 1, 4),
    ),
)  # fmt: skip
"""A Latin square of order 6 as words: four classes, and twelve words that use every symbol of every place twice. No
Latin square of order 6 has six classes (Tarry 1900): 24 words in classes is the most there is."""
