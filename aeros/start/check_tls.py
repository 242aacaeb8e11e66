"""Whether the server's certificates can be used, found out before every worker fails on them."""

from __future__ import annotations

import ssl

from ..core.net.certificates import CertificateError, TLSFiles, explain
from ..errors import BindError
from ..options import Options


def check_tls(options: Options) -> None:
    """Raises BindError, OptionsError."""
    config = options.hypercorn_config()
    if not options.tls:
        return
    assert options.tls_files is not None
    try:
        TLSFiles.from_message(options.tls_files).read()
        config.create_ssl_context()
    except CertificateError as error:
        raise BindError(str(error)) from None
    except ssl.SSLError as error:
        certificate = options.hypercorn["certfile"]
        raise BindError(f"cannot use certificate {certificate}: {explain(error)}") from None
