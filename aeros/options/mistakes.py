"""Options that look safer than they are."""

from __future__ import annotations

import os
from ssl import VerifyMode

from ..errors import OptionsError
from .model import Options


def mistaken(options: Options) -> list[str]:
    """Return a warning for each that can be meant. Raises OptionsError for what can only be a mistake."""
    return _owners(options) + _clients(options)


def _owners(options: Options) -> list[str]:
    """With other servers --user and --group give root up; here --run-as does."""
    given = [f"--{name}" for name in ("user", "group") if options.hypercorn.get(name) is not None]
    binds = (*options.binds, *options.insecure_binds, options.admin or "")
    # An abstract socket has no file that could be somebody's.
    if not given or any(bind.startswith("unix:") and not bind.startswith("unix:@") for bind in binds):
        return []
    said = f"{' and '.join(given)} would only say whose the file of a Unix socket is, and no --bind has one"
    if os.geteuid() == 0 and options.run_as is None:
        raise OptionsError(f"{said}; the workers would run as root: use --run-as USER[:GROUP]", option="user")
    return [f"{said}; whom the app runs as is said by --run-as"]


def _clients(options: Options) -> list[str]:
    """Who is asked for a certificate, and who is not."""
    # A Config object may load the CA's certificates in a method of its own.
    if not options.tls or options.config_object is not None:
        return []
    asks = options.hypercorn.get("verify_mode") not in (None, VerifyMode.CERT_NONE)
    if not options.hypercorn.get("ca_certs"):
        if asks:
            raise OptionsError(
                "--verify-mode needs --ca-certs: without the certificates that sign the clients' ones none of these "
                "could be trusted",
                option="verify_mode",
            )
        return []
    if not asks:
        return ["--ca-certs has no effect: no client is asked for a certificate without --verify-mode CERT_REQUIRED"]
    warnings = []
    if options.insecure_binds:
        where = ", ".join(options.insecure_binds)
        warnings.append(
            f"--insecure-bind {where} serves the same app without TLS, and so asks nobody for a certificate"
        )
    if options.quic_binds:  # aioquic's servers cannot
        where = ", ".join(options.quic_binds)
        warnings.append(f"--quic-bind {where} serves the same app by HTTP/3, which asks nobody for a certificate")
    return warnings
