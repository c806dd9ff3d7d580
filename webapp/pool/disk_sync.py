"""Brings written files to the disk in a thread of its own, a group of writes at a time. Knows descriptors only."""

import logging
import os
import queue
import threading
import time

log = logging.getLogger(__name__)

# How long writes are collected: what a loss of power may take.
GROUP_SECONDS = 0.05
# How long a disk that has failed is left alone.
RETRY_SECONDS = 0.5


class DiskSync:
    """fdatasync for descriptors that others write to; they never wait for it."""

    def __init__(self) -> None:
        self.has_failed = False
        # A descriptor, and whether it is closed afterwards. None ends the thread.
        self._requests: queue.SimpleQueue[tuple[int, bool] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="disk-sync", daemon=True)
        self._wrote_at = 0.0
        # All that was written before then is on the disk.
        self._synced_until = 0.0

    @property
    def lag_seconds(self) -> float:
        """How long the oldest write has waited, at most; 0 where all are on the disk."""
        return time.monotonic() - self._synced_until if self._wrote_at > self._synced_until else 0.0

    def start(self) -> None:
        self._synced_until = time.monotonic()
        self._thread.start()

    def wrote(self, descriptor: int) -> None:
        """Bring what was written to this descriptor to the disk soon."""
        self._wrote_at = time.monotonic()
        self._requests.put((descriptor, False))

    def finish(self, descriptor: int) -> None:
        """The same, and close it afterwards."""
        self._requests.put((descriptor, True))

    def close(self) -> None:
        """Bring all of it to the disk, and end."""
        if self._thread.is_alive():
            self._requests.put(None)
            self._thread.join()

    def _run(self) -> None:
        has_ended = False
        while not has_ended:
            requests = [self._requests.get()]
            if requests[0] is not None:
                time.sleep(RETRY_SECONDS if self.has_failed else GROUP_SECONDS)
            started_at = time.monotonic()
            while not self._requests.empty():
                requests.append(self._requests.get())
            has_ended = None in requests
            failed = self._sync([request for request in requests if request is not None])
            self.has_failed = bool(failed)
            if not failed:
                self._synced_until = started_at
            elif not has_ended:
                for request in failed:
                    self._requests.put(request)

    def _sync(self, requests: list[tuple[int, bool]]) -> list[tuple[int, bool]]:
        """Those that failed. In the order of the writes: nothing is on the disk without what came before it."""
        finished = {descriptor for descriptor, is_finished in requests if is_finished}
        failed: list[tuple[int, bool]] = []
        for descriptor in dict.fromkeys(descriptor for descriptor, _ in requests):
            try:
                os.fdatasync(descriptor)
            except OSError as error:
                failed.append((descriptor, descriptor in finished))
                if not self.has_failed:
                    log.error("the journal cannot be brought to the disk: %s", error.strerror)
                continue
            if descriptor in finished:
                os.close(descriptor)
        return failed
