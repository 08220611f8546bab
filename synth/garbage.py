"""Python's search for cycles, where it would look at many objects and free none.

    with rare_collections():
        ...                     # thousands of requests in flight: a tenth less CPU a request
    with no_collections():
        ...                     # many objects made at once, that all stay

By default the collector looks through the youngest objects whenever 700 are new, and after some
rounds through all. A request in flight is some hundred objects, and so is a row on its way to the
disk: at 512 of each nearly every search finds them alive. What was there before the run is left out
altogether.
"""

import contextlib
import gc
from collections.abc import Iterator

NEW = 20_000  # objects between two searches


@contextlib.contextmanager
def rare_collections() -> Iterator[None]:
    """Search rarely for cycles, and only among what is new; afterwards all is as before."""
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(NEW, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


@contextlib.contextmanager
def no_collections() -> Iterator[None]:
    """No search at all inside; nothing changes where there was none."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()
