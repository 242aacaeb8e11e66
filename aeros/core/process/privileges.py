"""Giving up root: whom the app runs as, and how a process becomes that user for good."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator

from ..record import record
from .signalling import die_with_parent, forbid_new_privileges, parent_death_signal


class UnknownAccountError(Exception):
    """There is no such user or group; the text says which."""


@record
class Account:
    """A user to run as. groups: the supplementary ones, as at a login."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str

    @property
    def environment(self) -> dict[str, str]:
        """What of the environment belongs to the user; root's home would only give permission errors."""
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name}

    @property
    def is_mine(self) -> bool:
        """Whether this process runs as that user already, and as no other."""
        return os.getresuid() == (self.uid,) * 3 and os.getgid() == self.gid

    def become(self) -> None:
        """Be this user from now on, without a way back. Raises OSError where that is not allowed."""
        if not self.is_mine:
            # The user last: it takes away the right to do the rest. All three ids, or the saved one would lead back.
            os.setgroups(list(self.groups))
            os.setresgid(self.gid, self.gid, self.gid)
            os.setresuid(self.uid, self.uid, self.uid)
            os.environ.update(self.environment)
        # No sudo, no setuid program: what the app runs stays this user as well.
        forbid_new_privileges()


@contextlib.contextmanager
def acting_as(account: Account) -> Iterator[None]:
    """Do what follows with the rights of `account`, for one that may come back: root. Raises OSError.

    Nobody gets hold of this process meanwhile: the real user, by which the kernel decides that, stays.
    """
    uid, gid, groups, death = os.geteuid(), os.getegid(), os.getgroups(), parent_death_signal()
    os.setgroups(list(account.groups))
    try:
        os.setegid(account.gid)
        os.seteuid(account.uid)
        yield
    finally:
        os.seteuid(uid)
        os.setegid(gid)
        os.setgroups(groups)
        die_with_parent(death)  # the kernel forgets it when the user changes


def find_account(text: str) -> Account:
    """Return the account of "user" or "user:group", by names or numbers. Raises UnknownAccountError."""
    user, colon, group = text.partition(":")
    import grp
    import pwd

    record = None
    with contextlib.suppress(KeyError, OverflowError, ValueError):
        record = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    if record is None and not user.isdecimal():
        raise UnknownAccountError(f"there is no user {user} on this machine")
    gid = record.pw_gid if record is not None else None
    if colon:
        try:
            gid = int(group) if group.isdecimal() else grp.getgrnam(group).gr_gid
        except (KeyError, ValueError):
            raise UnknownAccountError(f"there is no group {group} on this machine") from None
    if gid is None:
        raise UnknownAccountError(f"user {user} is not in the list of users: name its group too, as {user}:group")
    if record is None:
        return Account(user, int(user), gid, (gid,), "/")
    groups = tuple(os.getgrouplist(record.pw_name, gid))
    return Account(record.pw_name, record.pw_uid, gid, groups, record.pw_dir)


def may_become(account: Account) -> bool:
    """Whether this process has the right to become that user."""
    return account.is_mine or os.geteuid() == 0


def readable_by(account: Account, path: str) -> bool:
    """Whether `account` may pass every folder on the way to `path`, and read it. By permission bits alone."""
    path = os.path.realpath(path)
    while True:
        try:
            found = os.stat(path)  # noqa: PTH116
        except OSError:
            return False
        wanted = 1 if stat.S_ISDIR(found.st_mode) else 4
        shift = 6 if found.st_uid == account.uid else 3 if found.st_gid in {account.gid, *account.groups} else 0
        if account.uid and not found.st_mode >> shift & wanted:
            return False
        parent = os.path.dirname(path)  # noqa: PTH120
        if parent == path:
            return True
        path = parent
