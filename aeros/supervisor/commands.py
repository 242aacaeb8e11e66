"""The commands of the control socket: their arguments checked, the verb asked, its outcome put into an answer."""

from __future__ import annotations

from typing import Any

from ..core.record import as_dict
from ..errors import AerosError, OptionsError, ReloadFailed, ServerStopped, StateError, UpgradeFailed
from ..status.records import Reloaded, Upgraded
from .control.dashboard import AdminChild
from .control.socket import Reply
from .model.reload import Waiter
from .readiness import Readiness
from .state.office import Office
from .upgrade.running import Upgrade
from .upgrade.running import Waiter as UpgradeWaiter
from .verbs import Verbs

#: Three years: JSON's numbers know no bounds, clocks do.
_LONGEST_S = 1e8


class CommandHandler:
    """Implements `control.Commands` for a supervisor."""

    def __init__(
        self, office: Office, verbs: Verbs, readiness: Readiness, upgrade: Upgrade, admin: AdminChild | None
    ) -> None:
        self._office = office
        self._verbs = verbs
        self._readiness = readiness
        self._upgrade = upgrade
        self._admin = admin

    def obey(self, verb: str, arguments: dict[str, Any], reply: Reply) -> None:
        """Do `verb`; what cannot be done is answered with the error."""
        verbs, readiness, office = self._verbs, self._readiness, self._office
        try:
            match verb:
                case "reload":
                    verbs.reload(self._reload_waiter(reply), _seconds(arguments, "timeout_s"), "by command")
                case "upgrade":
                    verbs.upgrade(self._upgrade_waiter(reply), _seconds(arguments, "timeout_s"), "by command")
                case "upgrade_with":  # not a new argument of the above: an older supervisor would not see it
                    others, timeout_s = _texts(arguments, "arguments"), _seconds(arguments, "timeout_s")
                    verbs.upgrade(self._upgrade_waiter(reply), timeout_s, "by command", others)
                case "scale":
                    verbs.scale(_whole(arguments, "workers"))
                    readiness.when_ready(lambda error: reply(error or {"workers": office.target.workers}))
                case "restart":
                    reply({"slots": verbs.restart(_maybe_whole(arguments, "slot"))})
                case "stack":
                    verbs.stack(_whole(arguments, "slot"), reply)
                case "profile":
                    verbs.profile(_whole(arguments, "slot"), _seconds(arguments, "seconds"), reply)
                case "stop":
                    readiness.when_stopped(lambda exit_code: reply({"exit_code": int(exit_code)}))
                    verbs.stop("now" if arguments.get("now") else "graceful", "asked to stop", delayed=True)
                case "wait_ready":
                    readiness.when_ready(lambda error: reply(error or {}))
                case "wait_settled":
                    self._wait_settled(reply)
                case "debug":
                    how, seconds = str(arguments.get("how")), _seconds(arguments, "seconds")
                    verbs.debug(_whole(arguments, "slot"), how, seconds)
                    reply({})
                case "logs":
                    after, most = (_maybe_whole(arguments, name) for name in ("after", "most"))
                    office.recent.ask(after, most, bool(arguments.get("wait")), reply)
                case "routes":
                    reply(office.routes.answer())
                case "ping":
                    reply({})
                case "reopen":
                    verbs.reopen_logs()
                    reply({})
                case _:
                    reply(StateError(f"there is no command {verb[:80]!r}"))
        except AerosError as error:
            reply(error)

    def _wait_settled(self, reply: Reply) -> None:
        """Asked by the dashboard alone, when it is up."""
        if self._admin is not None:
            self._admin.up = True
            self._office.poke()
        self._readiness.when_settled(lambda: reply({}))

    def _reload_waiter(self, reply: Reply) -> Waiter:
        def waiter(record: Reloaded | None) -> None:
            upgraded = self._upgrade.last
            if record is None and self._office.target.upgraded and upgraded is not None:
                reply(ServerStopped(f"an upgrade came first: the server is pid {upgraded.pid} now, which reloads"))
            elif record is None:
                reply(ServerStopped("the server stopped before the reload was done"))
            elif record.ok:
                reply(as_dict(record))
            else:
                reply(ReloadFailed(record.reason, traceback=record.traceback))

        return waiter

    def _upgrade_waiter(self, reply: Reply) -> UpgradeWaiter:
        def waiter(record: Upgraded) -> None:
            if record.ok:
                reply(as_dict(record))
            elif self._office.target.upgraded:
                reply(ServerStopped(record.reason))
            else:
                reply(UpgradeFailed(record.reason, traceback=record.traceback))

        return waiter


def _whole(arguments: dict[str, Any], name: str) -> int:
    value = arguments.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise OptionsError(f"{name} must be a whole number, not {str(value)[:80]}")
    return value


def _maybe_whole(arguments: dict[str, Any], name: str) -> int | None:
    return None if arguments.get(name) is None else _whole(arguments, name)


def _texts(arguments: dict[str, Any], name: str) -> list[str]:
    value = arguments.get(name)
    if not isinstance(value, list) or not all(isinstance(item, str) and "\0" not in item for item in value):
        raise OptionsError(f"{name} must be a list of texts without null bytes, not {str(value)[:80]}")
    return value


def _seconds(arguments: dict[str, Any], name: str) -> float | None:
    value = arguments.get(name)
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 < value <= _LONGEST_S:
        raise OptionsError(f"{name} must be a number of seconds above 0, not {str(value)[:80]}")
    return float(value)
