"""The options: one row each. See spec.Option for what the columns mean.

Texts say what an option does, with its unit; help and the reference add arguments, variable and default by
themselves. Defaults are Hypercorn's except where a reason is given; a test compares them with the installed
Hypercorn's.
"""

from __future__ import annotations

from importlib.util import find_spec

from ..core.shared.scoreboard import MAX_WORKERS
from . import units, values
from .cpus import usable_cpus
from .spec import Option, by_name
from .units import duration, or_none, size, whole
from .values import several

#: Hypercorn's default, repeated here so that nothing has to import Hypercorn to know it.
ACCESS_LOG_FORMAT = '%(h)s %(l)s %(l)s %(t)s "%(r)s" %(s)s %(b)s "%(f)s" "%(a)s" %(L)s'

LISTENERS = "listeners"
DEVELOPMENT = "development"
FLEET = "fleet"
TIMES = "times"
RECYCLING = "recycling"
LOGS = "logs"
CONTROL = "control and files"
ADMIN = "dashboard"
TLS = "TLS"
LIMITS = "limits"
HTTP = "HTTP and WebSocket"
PROXIES = "proxies in front"

GROUPS = (LISTENERS, DEVELOPMENT, FLEET, TIMES, RECYCLING, LOGS, CONTROL, ADMIN, TLS, LIMITS, HTTP, PROXIES)


def _default_worker_class() -> str:
    return "uvloop" if find_spec("uvloop") is not None else "asyncio"


def _default_threads() -> int:
    return min(32, usable_cpus().count + 4)


OPTIONS: tuple[Option, ...] = (
    # -- listeners
    Option(
        "bind", LISTENERS, several(values.address, least=1), ("127.0.0.1:8000",),
        "Where to listen: host:port, host, [ipv6]:port, unix:path, unix:@name (Linux), fd://number or fd://name. "
        "localhost means 127.0.0.1 and ::1. May be repeated.",
        "ADDRESS", field="binds", hypercorn="bind", flags=("-b", "--bind"), kind="list",
    ),
    Option(
        "host", LISTENERS, values.host, "127.0.0.1",
        "The host half of a single bind; the port is that of --port.",
        "HOST",
    ),
    Option(
        "port", LISTENERS, values.port, 8000,
        "The port half of a single bind; 0 takes a free one.",
    ),
    Option(
        "insecure_bind", LISTENERS, several(values.address), (),
        "Where to listen without TLS beside a bind with TLS, for redirects. May be repeated.",
        "ADDRESS", field="insecure_binds", hypercorn="insecure_bind", kind="list",
    ),
    Option(
        "quic_bind", LISTENERS, several(values.address), (),
        "Where to listen for HTTP/3 (UDP; needs TLS and aioquic). May be repeated.",
        "ADDRESS", field="quic_binds", hypercorn="quic_bind", kind="list",
    ),
    # Hypercorn's 100 is reached within one burst of clients while workers boot; the kernel caps it at
    # somaxconn.
    Option(
        "backlog", LISTENERS, whole(1, 65535), 2048,
        "Connections the kernel holds until a worker accepts them.",
        field="backlog", hypercorn="backlog",
    ),
    Option(
        "umask", LISTENERS, or_none(values.umask), None,
        "Permission bits to take from Unix sockets, such as 0o077. Without it every user who can enter the folder can "
        "connect.",
        "MASK", hypercorn="umask", flags=("-m", "--umask"),
    ),
    Option(
        "user", LISTENERS, or_none(values.user_id), None,
        "Owner of Unix sockets, by number or name.",
        "USER", hypercorn="user", flags=("-u", "--user"),
    ),
    Option(
        "group", LISTENERS, or_none(values.group_id), None,
        "Group of Unix sockets, by number or name.",
        "GROUP", hypercorn="group", flags=("-g", "--group"),
    ),
    # -- development
    Option(
        "dev", DEVELOPMENT, units.switch, False,
        "For working on the app, as aeros dev does it: one worker, reloads when a file changes, the framework's debug "
        "mode, a line for each request, errors as pages. Not for production.",
        field="dev", kind="switch",
    ),
    Option(
        "use_reloader", DEVELOPMENT, units.switch, False,
        "Reload when a source file changes.",
        field="use_reloader", hypercorn="use_reloader", flags=("--reload",), kind="switch",
    ),
    Option(
        "watch", DEVELOPMENT, several(values.filled), (),
        "Further files whose change is a reason to reload (with --dev or --reload): a pattern such as *.yml or "
        "locale/*.po, below the directory of the start. May be repeated.",
        "GLOB", field="watch", kind="list",
    ),
    Option(
        "refresh", DEVELOPMENT, units.switch, False,
        "With --dev, let the browser load a page again when the app behind it has changed.",
        field="refresh", kind="switch",
    ),
    # -- fleet
    Option(
        "workers", FLEET, values.workers, 1,
        "Number of worker processes; auto: one per CPU this process may use (affinity, cgroup quota). "
        "0, with which Hypercorn starts no worker process, means 1: a single worker is supervised too.",
        "N|auto", field="workers", hypercorn="workers", flags=("-w", "--workers"),
    ),
    Option(
        "http", FLEET, values.one_of("lane", "hypercorn"), "lane",
        "Who speaks HTTP/1.1: the fast lane, or hypercorn as for every other protocol.",
        "lane|hypercorn", field="http",
    ),
    Option(
        "load", FLEET, values.one_of("auto", "fork", "worker"), "auto",
        "How workers get the app: forked from a process that has loaded it (fork), or each runs the program itself "
        "(worker: a longer start, and nothing shared). auto forks, unless a library with threads of its own was used "
        "while the app was loaded, which would hang in a forked worker.",
        "auto|fork|worker", field="load",
    ),
    Option(
        "lifespan", FLEET, values.one_of("auto", "on", "off"), "auto",
        "Whether the app's ASGI lifespan is called, and an app that raises in its start-up is served all the same: "
        "auto calls and serves, on calls and does not serve, off does not call.",
        "auto|on|off", field="lifespan",
    ),
    Option(
        "immortal", FLEET, values.one_of("auto", "off"), "auto",
        "Keep reference counts of functions, classes and code out of the workers' memory (CPython 3.12 to 3.15), so "
        "that they share more of it. Switch it off to rule it out when an extension in C crashes.",
        "auto|off", field="immortal",
    ),
    Option(
        "worker_class", FLEET, values.worker_class, _default_worker_class,
        "The event loop of the workers: uvloop or asyncio.",
        "LOOP", field="worker_class", hypercorn="worker_class", flags=("-k", "--worker-class"),
        default_text="uvloop where installed, else asyncio",
    ),
    Option(
        "threads", FLEET, whole(1, 1024), _default_threads,
        "Threads per worker for handlers written with plain def.",
        field="threads", default_text="CPUs + 4, at most 32",
    ),
    Option(
        "reload_surge", FLEET, or_none(whole(1, 1024)), None,
        "Extra workers at once during a reload, where memory is tight; none starts all new ones at once.",
        field="reload_surge",
    ),
    Option(
        "warmup", FLEET, several(values.request_path), (),
        "A path to GET from the app a few times before the first fork, so that what this imports, compiles and "
        "caches is shared by the workers; before_serving has not run then. May be repeated.",
        "PATH", field="warmup", kind="list",
    ),
    Option(
        "memory_merge", FLEET, units.switch, False,
        "Let the kernel keep pages that are the same in several processes once (Linux 6.4 or newer, where KSM runs). "
        "Not beside neighbours you do not trust: how long a write takes then tells whether somebody has the same page.",
        field="memory_merge", kind="switch",
    ),
    Option(
        "daemon", FLEET, units.switch, True,
        "Accepted for Hypercorn's sake, without effect: workers may always start processes of their own.",
        hypercorn="daemon", flags=("-D", "--daemon"), kind="switch", default_text="no effect",
    ),
    Option(
        "debug", FLEET, units.switch, False,
        "Run the event loops in debug mode: extra checks and log lines.",
        hypercorn="debug", kind="switch",
    ),
    # -- times
    # Longer than Hypercorn's 60 s: it spans the app's start-up in full, and nothing is lost while old workers
    # serve.
    Option(
        "boot_timeout", TIMES, duration(above_zero=True), 120.0,
        "How long the program may take to load, and a worker from its fork until it is ready.",
        "TIME", field="boot_timeout_s", hypercorn="startup_timeout",
    ),
    Option(
        "worker_timeout", TIMES, duration(off=True), 30.0,
        "How long a worker's event loop may stand still before the worker is replaced; 0: for ever.",
        "TIME", field="worker_timeout_s",
    ),
    Option(
        "loop_warn", TIMES, duration(off=True), 0.0,
        "Log a worker whose event loop stands still for longer than this, with its stacks and the request that "
        "runs, and let it go on; 0: do not look.",
        "TIME", field="loop_warn_s",
    ),
    Option(
        "slow_request", TIMES, duration(off=True), 0.0,
        "Log each request that takes longer than this once, with the lines in which it waits, and let it go on; "
        "0: do not look.",
        "TIME", field="slow_request_s",
    ),
    Option(
        "drain_delay", TIMES, duration(), 0.0,
        "How long a server that was told to stop goes on accepting, not ready any more and each response with "
        "Connection: close, until its balancer has noticed.",
        "TIME", field="drain_delay_s",
    ),
    # Hypercorn's 3 s cuts requests that a load balancer still waits for (30 s and 60 s are usual there).
    Option(
        "drain_timeout", TIMES, duration(), 30.0,
        "How long a worker that stops may take to finish its requests.",
        "TIME", field="drain_timeout_s", hypercorn="graceful_timeout",
        flags=("--drain-timeout", "--graceful-timeout"),
    ),
    # Hypercorn's 60 s would be the longer part of every stop of an app that hangs.
    Option(
        "shutdown_timeout", TIMES, duration(), 10.0,
        "How long the app's own shutdown (after_serving) may take in each worker.",
        "TIME", field="shutdown_timeout_s", hypercorn="shutdown_timeout",
    ),
    Option(
        "keep_alive_timeout", TIMES, duration(), 5.0,
        "How long an idle connection is kept open.",
        "TIME", field="keep_alive_timeout_s", hypercorn="keep_alive_timeout",
        flags=("--keep-alive", "--keep-alive-timeout"),
    ),
    Option(
        "read_timeout", TIMES, or_none(duration(above_zero=True)), None,
        "How long a connection may send nothing, also while its response is being made.",
        "TIME", hypercorn="read_timeout",
    ),
    Option(
        "ssl_handshake_timeout", TIMES, duration(above_zero=True), 60.0,
        "How long a TLS handshake may take.",
        "TIME", hypercorn="ssl_handshake_timeout",
    ),
    Option(
        "websocket_ping_interval", TIMES, or_none(duration(above_zero=True)), None,
        "Time between pings to a WebSocket client.",
        "TIME", hypercorn="websocket_ping_interval",
    ),
    # -- recycling
    # With Hypercorn 0 ends a worker at its first request; everywhere else (gunicorn, uwsgi) it is no limit.
    Option(
        "max_requests", RECYCLING, or_none(whole(1), zero=True), None,
        "Requests after which a worker is replaced; 0 is no limit.",
        field="max_requests", hypercorn="max_requests",
    ),
    Option(
        "max_requests_jitter", RECYCLING, whole(0), 0,
        "Up to this many requests more, by chance, so that workers are not all replaced together.",
        field="max_requests_jitter", hypercorn="max_requests_jitter",
    ),
    Option(
        "max_lifetime", RECYCLING, or_none(duration(), zero=True), None,
        "Age at which a worker is replaced; 0 is no limit.",
        "TIME", field="max_lifetime_s",
    ),
    # Below 1 MiB no Python process exists; it is megabytes without their unit.
    Option(
        "max_rss", RECYCLING, or_none(size(1 << 20), zero=True), None,
        "Resident memory at which a worker is replaced; 0 is no limit.",
        "SIZE", field="max_rss_bytes",
    ),
    # -- logs
    Option(
        "log_format", LOGS, values.one_of("text", "json"), "text",
        "How log lines look: text or json.",
        "FORMAT", field="log_format",
    ),
    Option(
        "log_level", LOGS, values.log_level, "INFO",
        "The least level that is logged: debug, info, warning, error or critical.",
        "LEVEL", field="log_level", hypercorn="loglevel",
    ),
    Option(
        "access_log", LOGS, values.target, None,
        "Where the access log goes: a path, or - for stdout.",
        "PATH", field="access_log", hypercorn="accesslog",
        flags=("--access-logfile",), old_flags=("--access-log",),
    ),
    Option(
        "access_log_format", LOGS, values.access_format, ACCESS_LOG_FORMAT,
        "The line of the access log, in Hypercorn's atoms.",
        "FORMAT", field="access_log_format", hypercorn="access_log_format", flags=("--access-logformat",),
    ),
    Option(
        "error_log", LOGS, values.target, "-",
        "Where the server's log goes: a path, or - for stderr.",
        "PATH", field="error_log", hypercorn="errorlog", flags=("--error-logfile", "--log-file"),
        old_flags=("--error-log",),
    ),
    Option(
        "request_id", LOGS, units.switch, False,
        "Give each request an X-Request-ID, the client's or a new one; send it back and log it.",
        field="request_id", kind="switch",
    ),
    Option(
        "log_config", LOGS, values.optional_text, None,
        "A logging configuration file: ini, or json: or toml: and a path. It is code, which workers run.",
        "PATH", hypercorn="logconfig",
    ),
    Option(
        "logconfig_dict", LOGS, or_none(values.logging_dict), None,
        "A mapping for logging.config.dictConfig.",
        "TABLE", hypercorn="logconfig_dict", flags=(),
    ),
    Option(
        "logger_class", LOGS, values.logger_class, None,
        "The class Hypercorn makes its logger from.",
        "CLASS", hypercorn="logger_class", flags=(), default_text="hypercorn.logging.Logger",
    ),
    Option(
        "statsd_host", LOGS, or_none(values.statsd_host), None,
        "The host:port of a statsd server.",
        "HOST:PORT", hypercorn="statsd_host",
    ),
    Option(
        "statsd_prefix", LOGS, values.text, "",
        "What all names sent to statsd begin with.",
        "TEXT", hypercorn="statsd_prefix",
    ),
    Option(
        "dogstatsd_tags", LOGS, values.text, "",
        "Tags for DogStatsD, joined by commas.",
        "TEXT", hypercorn="dogstatsd_tags",
    ),
    # -- control and files
    Option(
        "config", CONTROL, values.config_file, None,
        "A configuration file: TOML, or file: and a Python file, or python: and a module.",
        "FILE", flags=("-c", "--config"),
    ),
    Option(
        "control", CONTROL, values.control, "auto",
        "The control socket: auto (a folder of the user's own), off, or a path.",
        "PATH", field="control",
    ),
    Option(
        "pid_file", CONTROL, values.optional_text, None,
        "Where to write the supervisor's process id.",
        "PATH", field="pid_file", hypercorn="pid_path", flags=("-p", "--pid", "--pid-file"),
    ),
    Option(
        "proctitle", CONTROL, values.proctitle, "auto",
        "The program's name in the titles that ps shows for supervisor, zygotes and workers: auto (its file or "
        "module), off (no titles), or a text.",
        "NAME", field="proctitle",
    ),
    Option(
        "faults", CONTROL, or_none(values.faults), None,
        "Make system calls of supervisor and zygotes fail by chance, to rehearse: fork=EAGAIN:0.01,pipe=EMFILE:0.1.",
        "CALL=ERRNO:CHANCE", field="faults",
    ),
    Option(
        "debug_faults", CONTROL, units.switch, False,
        "Let aeros debug make workers hang, leak or crash, to rehearse.",
        field="debug_faults", kind="switch",
    ),
    Option(
        "run_as", CONTROL, or_none(values.account), None,
        "Run the app as this user: started by root, the server binds, reads keys and opens logs, then workers and "
        "zygotes give root up for good.",
        "USER[:GROUP]", field="run_as",
    ),
    # -- dashboard
    Option(
        "admin", ADMIN, or_none(values.admin_address), None,
        "Where to serve the dashboard, /metrics, /healthz, /readyz and /status.json: host:port, or unix:path. Needs "
        "prometheus-client.",
        "ADDRESS", field="admin",
    ),
    Option(
        "admin_mode", ADMIN, values.file_mode, 0o600,
        "Who may connect to a dashboard on a Unix socket: the mode of its file, in octal. --user and --group say whose "
        "it is.",
        "OCTAL", field="admin_mode",
    ),
    Option(
        "admin_token", ADMIN, or_none(values.token), None,
        "What clients of the dashboard must know; needed beyond loopback. Other users can see arguments; rather set "
        "the variable.",
        "TEXT", field="admin_token", secret=True,
    ),
    Option(
        "admin_write", ADMIN, units.switch, False,
        "Let the dashboard reload, scale and restart. Needs a token, or a Unix socket that is closed to others.",
        field="admin_write", kind="switch",
    ),
    Option(
        "admin_details", ADMIN, values.one_of("on", "off"), "on",
        "Whether the dashboard shows exceptions, the log and stacks of workers. Without a token every user of the "
        "machine can read them.",
        "MODE", field="admin_details",
    ),
    Option(
        "ready_min", ADMIN, whole(1, MAX_WORKERS), 1,
        "Workers that must be ready for /readyz to say so.",
        field="ready_min",
    ),
    Option(
        "app_metrics", ADMIN, units.switch, False,
        "Add the app's own prometheus-client metrics to /metrics, merged over all workers.",
        field="app_metrics", kind="switch",
    ),
    # -- TLS
    Option(
        "certfile", TLS, values.optional_text, None,
        "The certificate, PEM. With --keyfile it turns TLS on for every bind.",
        "PATH", hypercorn="certfile",
    ),
    Option(
        "keyfile", TLS, values.optional_text, None,
        "The certificate's private key, PEM.",
        "PATH", hypercorn="keyfile",
    ),
    Option(
        "keyfile_password", TLS, values.optional_text, None,
        "The password of the private key. Other users can see arguments; rather set the variable.",
        "TEXT", hypercorn="keyfile_password", secret=True,
    ),
    Option(
        "sni", TLS, several(values.sni), (),
        "A further certificate for clients that ask for this host: HOST=CERT:KEY; *.example.com for all hosts one "
        "level below. May be repeated.",
        "HOST=CERT:KEY", field="sni", kind="list",
    ),
    Option(
        "tls_watch", TLS, units.switch, True,
        "Serve new connections with new certificates when their files change.",
        "BOOL", field="tls_watch",
    ),
    Option(
        "ca_certs", TLS, values.optional_text, None,
        "Certificates that sign clients' certificates, PEM.",
        "PATH", hypercorn="ca_certs",
    ),
    Option(
        "ciphers", TLS, values.filled, "ECDHE+AESGCM",
        "The ciphers allowed for TLS 1.2, in OpenSSL's spelling.",
        "LIST", hypercorn="ciphers",
    ),
    Option(
        "verify_mode", TLS, or_none(values.verify_mode), None,
        "Whether clients need a certificate: CERT_NONE, CERT_OPTIONAL or CERT_REQUIRED (or 0, 1, 2).",
        "MODE", hypercorn="verify_mode", old_flags=("--cert-reqs",),
    ),
    Option(
        "verify_flags", TLS, or_none(values.verify_flags), None,
        "How clients' certificates are checked: names of ssl.VerifyFlags joined by |.",
        "FLAGS", hypercorn="verify_flags",
    ),
    Option(
        "alpn_protocols", TLS, several(values.filled, least=1), ("h2", "http/1.1"),
        "Protocols offered in the TLS handshake, best first. May be repeated.",
        "NAME", hypercorn="alpn_protocols", kind="list",
    ),
    # -- limits
    Option(
        "header_timeout", LIMITS, or_none(duration(), zero=True), 10.0,
        "How long the head of a request may take from its first byte (408), within --keep-alive. 0: no limit.",
        "TIME", field="header_timeout_s",
    ),
    # Kestrel's number; a modem is ten times as fast.
    Option(
        "min_data_rate", LIMITS, or_none(whole(0), zero=True), 240,
        "Bytes per second a client must send of a body, over 10 s at a time (408), or take of a response. 0: no limit.",
        field="min_data_rate",
    ),
    Option(
        "write_timeout", LIMITS, or_none(duration(), zero=True), 30.0,
        "How long a client may take less of a response than --min-data-rate before its connection is cut. 0: no limit.",
        "TIME", field="write_timeout_s",
    ),
    Option(
        "request_timeout", LIMITS, or_none(duration(), zero=True), None,
        "How long a request may take: 504 where no response has begun, else the connection is cut. 0: no limit.",
        "TIME", field="request_timeout_s",
    ),
    Option(
        "max_request_line", LIMITS, size(64), 8 << 10,
        "The longest request line (414); the whole head is bounded by --h11-max-incomplete-size.",
        "SIZE", field="max_request_line_bytes",
    ),
    Option(
        "max_request_fields", LIMITS, whole(1, 10000), 256,
        "Header fields a request may have (431).",
        field="max_request_fields",
    ),
    Option(
        "max_body_size", LIMITS, or_none(size(1), zero=True), None,
        "The largest request body (413); Quart's MAX_CONTENT_LENGTH holds beside it. 0: no limit.",
        "SIZE", field="max_body_size_bytes",
    ),
    Option(
        "body_memory", LIMITS, or_none(size(1 << 20), zero=True), 256 << 20,
        "What a worker keeps of request bodies that Quart handlers await, and of WebSocket messages under way, all "
        "together; a connection of HTTP/2 gets a quarter of it. Beyond it clients wait up to 30 s, then get 503, or "
        "1013. 0: no limit.",
        "SIZE", field="body_memory_bytes",
    ),
    Option(
        "max_connections", LIMITS, or_none(whole(1), zero=True), None,
        "Connections a worker holds; with so many it accepts none until one is gone. 0: no limit.",
        field="max_connections",
    ),
    Option(
        "max_concurrency", LIMITS, or_none(whole(1), zero=True), None,
        "Requests a worker lets to the app at a time; more wait (--request-queue), then get 503. 0: no limit.",
        field="max_concurrency",
    ),
    Option(
        "request_queue", LIMITS, or_none(whole(0)), None,
        "Requests that may wait in each worker for --max-concurrency or --queue-timeout.",
        field="request_queue", default_text="half of --max-concurrency; no limit with --queue-timeout",
    ),
    Option(
        "queue_timeout", LIMITS, or_none(duration(), zero=True), None,
        "How long a request may wait for the app before it gets 503. With this a worker begins requests as its event "
        "loop has time for them, the newest first, and so keeps its speed in overload; 100ms suits most. 0: no limit.",
        "TIME", field="queue_timeout_s",
    ),
    # -- HTTP and WebSocket
    Option(
        "http2", HTTP, units.switch, True,
        "Serve HTTP/2. off: nowhere, neither by ALPN nor by its preface nor by an upgrade; so does --alpn-protocols "
        "without h2.",
        "on|off", field="http2",
    ),
    Option(
        "root_path", HTTP, lambda value: values.text(value).rstrip("/"), "",
        "The ASGI root_path: where a proxy has mounted the app, whether it strips that from the path or keeps it.",
        "PATH", hypercorn="root_path",
    ),
    Option(
        "server_names", HTTP, several(values.filled), (),
        "A host name to serve; requests for others get 404. Case does not count, and a port only where the name has "
        "one. May be repeated.",
        "NAME", hypercorn="server_names", flags=("--server-name",), kind="list",
    ),
    Option(
        "alt_svc_headers", HTTP, several(values.filled), (),
        "A value for the Alt-Svc header; without one it is made from --quic-bind. May be repeated.",
        "TEXT", hypercorn="alt_svc_headers", kind="list",
    ),
    Option(
        "headers", HTTP, several(values.header), (),
        "A header for every response, as NAME:VALUE, beside those of the app; Date or Server takes the place of the "
        "server's own. May be repeated.",
        "NAME:VALUE", field="headers", flags=("--header",), kind="list",
    ),
    Option(
        "include_date_header", HTTP, units.switch, True,
        "Send a Date header.",
        "BOOL", hypercorn="include_date_header",
    ),
    Option(
        "include_server_header", HTTP, units.switch, True,
        "Send a Server header.",
        "BOOL", hypercorn="include_server_header",
    ),
    Option(
        "keep_alive_max_requests", HTTP, whole(1), 1000,
        "Requests after which a connection is closed. Over HTTP/2 there is no such limit with the default.",
        hypercorn="keep_alive_max_requests",
    ),
    Option(
        "max_app_queue_size", HTTP, whole(1), 10,
        "Events a connection may have waiting for the app before reading pauses.",
        hypercorn="max_app_queue_size",
    ),
    Option(
        "h11_max_incomplete_size", HTTP, size(1), 16 << 10,
        "The largest head of an HTTP/1.1 request.",
        "SIZE", hypercorn="h11_max_incomplete_size",
    ),
    Option(
        "h11_pass_raw_headers", HTTP, units.switch, False,
        "Give the app HTTP/1.1 header names in the case they were sent in.",
        "BOOL", hypercorn="h11_pass_raw_headers",
    ),
    Option(
        "h2_max_concurrent_streams", HTTP, whole(1, 2**31 - 1), 100,
        "Streams an HTTP/2 connection may have open.",
        hypercorn="h2_max_concurrent_streams",
    ),
    Option(
        "h2_max_header_list_size", HTTP, size(1), 64 << 10,
        "The largest headers of an HTTP/2 request.",
        "SIZE", hypercorn="h2_max_header_list_size",
    ),
    # The range is that of RFC 9113, section 6.5.2.
    Option(
        "h2_max_inbound_frame_size", HTTP, size(1 << 14, high=(1 << 24) - 1), 16 << 10,
        "The largest HTTP/2 frame a client may send.",
        "SIZE", hypercorn="h2_max_inbound_frame_size",
    ),
    Option(
        "websocket_max_message_size", HTTP, size(1), 16 << 20,
        "The largest WebSocket message.",
        "SIZE", hypercorn="websocket_max_message_size",
    ),
    Option(
        "wsgi_max_body_size", HTTP, size(1), 16 << 20,
        "The largest request body for a WSGI app mounted beside.",
        "SIZE", hypercorn="wsgi_max_body_size",
    ),
    # -- proxies in front
    Option(
        "forwarded_allow", PROXIES, values.peers, (),
        "Proxies whose forwarding headers are believed: addresses, networks, unix (all peers on Unix sockets) or *, "
        "joined by commas. From everybody else, and without this, they mean nothing.",
        "PEERS", field="forwarded_allow", kind="list",
    ),
    Option(
        "forwarded_header", PROXIES, values.one_of("x-forwarded", "forwarded"), "x-forwarded",
        "Which headers those proxies set: X-Forwarded-For, -Proto, -Host, -Port and -Prefix, or Forwarded of RFC 7239. "
        "The other ones are not believed.",
        "NAME", field="forwarded_header",
    ),
    Option(
        "proxy_protocol", PROXIES, values.peers, (),
        "Balancers whose connections begin with a PROXY header, version 1 or 2: addresses, networks, unix or *, joined "
        "by commas. Each of their connections must.",
        "PEERS", field="proxy_protocol", kind="list",
    ),
)  # fmt: skip

BY_NAME = by_name(OPTIONS)
BY_FLAG = {flag: option for option in OPTIONS for flag in (*option.arguments, *option.old_flags)}
BY_HYPERCORN = {option.hypercorn: option for option in OPTIONS if option.hypercorn is not None}
