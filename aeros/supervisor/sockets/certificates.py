"""The certificates of each generation, and their renewal when the files change."""

from __future__ import annotations

import os
from collections.abc import Collection
from functools import partial

from ...core.log.lines import LineLog
from ...core.net.certificates import CertificateError, TLSFiles, expired, load, store, with_ticket_secret
from ...core.net.tickets import Secret
from ...core.record import mutable
from ..system.system import System

#: The files are looked at no more often; the supervisor wakes once a second anyway.
_LOOK_EVERY_S = 0.5


@mutable
class _Held:
    files: TLSFiles
    fd: int
    #: Of the files as they are served.
    signature: tuple[object, ...]
    #: Of files that could not be used: seen once, and given until the next look for the writer to finish…
    doubtful: tuple[object, ...] | None = None
    #: … and warned about, so that it is not said again.
    refused: tuple[object, ...] | None = None


class Certificates:
    """Held by the supervisor, which runs no TLS itself: it may be the only one of the family who can read the keys."""

    def __init__(self, log: LineLog, system: System) -> None:
        self._log = log
        self._system = system
        self._held: dict[int, _Held] = {}
        self._next_look = 0.0
        #: One for all generations, so that a ticket outlives its worker and its generation.
        self.secret = Secret.new(system.monotonic())

    def inherit_tickets(self, bequest: object) -> None:
        """Go on with what the supervisor before this one says of its tickets."""
        self.secret = Secret.inherited(bequest, self._system.monotonic())

    def take(self, generation: int, files: TLSFiles | None) -> None:
        """Read what `generation` serves with. Raises CertificateError; then nothing has changed."""
        if files is None:
            return
        signature = files.signature()
        record = files.read()
        if past := expired(record, files):
            self._log.warning(f"{past}; clients will refuse it")
        self._held[generation] = _Held(files, self._store(record), signature)

    def fd_of(self, generation: int) -> int | None:
        """Return the file its workers build their contexts from; None without TLS."""
        held = self._held.get(generation)
        return held.fd if held is not None else None

    def look(self, now: float, generation: int, alive: Collection[int]) -> bool:
        """Look whether the files of `generation` have changed; True when its workers need the new ones.

        alive: the generations that are still needed. A pair that cannot be used is refused with one warning, not
        before it was seen twice: whoever replaces two files does so one after the other.
        """
        if now < self._next_look or not self._held:
            return False
        self._next_look = now + _LOOK_EVERY_S
        for old in [known for known in self._held if known not in alive]:
            os.close(self._held.pop(old).fd)
        held = self._held.get(generation)
        if held is None:
            return False
        renewed = held.files.watch and self._renewed(held)
        return self._new_secret(now) or renewed

    def _new_secret(self, now: float) -> bool:
        """Return whether it was time for another secret. Sessions of the last one begin with a full handshake, once."""
        if now < self.secret.until:
            return False
        self.secret = Secret.new(now)
        for held in self._held.values():
            try:
                fd = self._store(load(held.fd))
            except OSError:
                continue  # out of descriptors or memory: these workers keep the last one until their next certificates
            os.close(held.fd)
            held.fd = fd
        return True

    def _store(self, record: bytes) -> int:
        return self._system.memory_file(partial(store, with_ticket_secret(record, self.secret.value)))

    def _renewed(self, held: _Held) -> bool:
        signature = held.files.signature()
        if signature == held.signature:
            held.doubtful = held.refused = None
            return False
        if signature == held.refused:
            return False
        try:
            record = held.files.read()
            if past := expired(record, held.files):
                raise CertificateError(past)
            fd = self._store(record)
        except OSError:
            return False  # out of descriptors or memory, which says nothing of the files: at the next look, then
        except CertificateError as error:
            if held.doubtful == signature:
                held.refused = signature
                self._log.warning(f"TLS files have changed but are not taken: {error}; the old ones go on serving")
            held.doubtful = signature
            return False
        os.close(held.fd)
        held.fd, held.signature, held.doubtful, held.refused = fd, signature, None, None
        self._log.info("certificate renewed: " + ", ".join(pair.certfile for pair in held.files.pairs))
        return True
