"""Freed memory that stays with the process: chunks of cells take and free the same few megabytes again and again."""

from __future__ import annotations

import numpy as np

KEPT_BYTES = 1 << 23  # more than any array of a small chunk; glibc looks at blocks of up to 2^25


def keep_pages() -> None:
    """Let the C library keep freed memory of the size of a chunk.

    glibc gives free memory at the end of the heap back beyond twice the size of the largest block that was freed before
    (mallopt(3), M_TRIM_THRESHOLD), 256 KiB at the start; each chunk then pays for fresh pages, 3 us each under a
    hypervisor. The block freed here was never touched, so it takes no memory itself. Elsewhere nothing happens.
    """
    np.empty(KEPT_BYTES, np.uint8)
