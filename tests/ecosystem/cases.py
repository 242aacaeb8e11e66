"""What people bring: how each is served, what it needs, and how to see that it does its part."""

from __future__ import annotations

from tests.ecosystem import checks
from tests.ecosystem.trial import RUN, Case

NATIVE = (
    Case(
        "polars",
        "polars",
        "native/polars_app",
        load="worker",
        note="Its threads do not survive a fork, so each worker loads the app.",
    ),
    Case(
        "scikit-learn",
        "scikit-learn",
        "native/sklearn_app",
        load="worker",
        note="As polars, for the threads of OpenMP.",
    ),
    Case(
        "onnxruntime",
        "onnxruntime numpy",
        "native/onnxruntime_app",
        load="worker",
        note="As polars, when a session is made at import.",
    ),
    Case("numpy", "numpy", "native/numpy_app", note="Its OpenBLAS notices a fork."),
)

WATCHERS = (
    Case(
        "coverage",
        "coverage",
        "watchers/plain_app",
        needs="`coverage run --parallel-mode app.py`, `coverage combine`",
        note="Each worker writes a file of its own when it ends in good order.",
        command=("{bin}/coverage", "run", "--parallel-mode", "{app}.py"),
        afterwards=checks.coverage_saw_the_handler,
    ),
    Case(
        "pytest-cov",
        "pytest-cov",
        "watchers/plain_app",
        needs="`patch = fork` under `[tool.coverage.run]`",
        note="The test serves with `app.start(block=False)`.",
        alone=checks.pytest_cov_saw_the_handler,
    ),
    Case(
        "debugpy",
        "debugpy",
        "watchers/debugpy_app",
        needs="`debugpy.listen()` in `before_serving`, `debugpy.configure(subProcess=False)` before it",
        note="A port for each worker. `--worker-timeout` waits for who is attached.",
        while_served=checks.debugpy_answers,
    ),
    Case(
        "py-spy",
        "py-spy",
        "watchers/plain_app",
        needs="`py-spy dump --pid WORKER`, `py-spy record --pid WORKER`",
        note="The pids of workers: `aeros status`.",
        while_served=checks.py_spy_names_the_worker,
    ),
    Case(
        "memray",
        "memray",
        "watchers/plain_app",
        needs="`memray run --follow-fork app.py`",
        note="A file for each process.",
        command=("{bin}/memray", "run", "--follow-fork", "{app}.py"),
        afterwards=checks.memray_saw_the_workers,
    ),
    Case(
        "cProfile",
        "",
        "watchers/cprofile_app",
        needs="`enable()` in `before_serving`, `dump_stats()` in `after_serving`",
        note="`python -m cProfile app.py` measures the supervisor, as with every server of several processes.",
        afterwards=checks.cprofile_saw_the_handler,
    ),
    Case(
        "pyinstrument",
        "pyinstrument",
        "watchers/pyinstrument_app",
        needs="`with Profiler():` in a handler or a middleware",
    ),
    Case(
        "sentry-sdk",
        "sentry-sdk",
        "watchers/sentry_app",
        note="What is not sent yet at a stop or reload is sent then.",
        environment={"SINK": "{sink}"},
        while_served=checks.break_thirty_times,
        afterwards=checks.sentry_had_every_error,
    ),
    Case(
        "opentelemetry-instrument",
        "opentelemetry-distro opentelemetry-exporter-otlp-proto-http opentelemetry-instrumentation-asgi",
        "watchers/opentelemetry_app",
        needs="`app.asgi_app = OpenTelemetryMiddleware(app.asgi_app)`",
        note="Upstream instruments no Quart by itself.",
        command=("{bin}/opentelemetry-instrument", "{bin}/aeros", "run", "{app}:app"),
        environment={
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://{sink}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_SERVICE_NAME": "shop",
        },
        afterwards=checks.otlp_had_every_span,
    ),
    Case(
        "newrelic-admin run-program",
        "newrelic",
        "watchers/newrelic_app",
        needs="`app.asgi_app = newrelic.agent.ASGIApplicationWrapper(app.asgi_app)`",
        note="Upstream knows no Quart.",
        command=("{bin}/newrelic-admin", "run-program", "{bin}/aeros", "run", "{app}:app"),
        environment={
            "NEW_RELIC_DEVELOPER_MODE": "true",
            "NEW_RELIC_LICENSE_KEY": "0" * 40,
            "NEW_RELIC_APP_NAME": "shop",
            "NEW_RELIC_AUDIT_LOG": "{folder}/audit.log",
            "NEW_RELIC_STARTUP_TIMEOUT": "10",
        },
        afterwards=checks.newrelic_had_transactions,
    ),
    Case(
        "ddtrace-run",
        "ddtrace",
        "watchers/ddtrace_app",
        needs="`app.asgi_app = TraceMiddleware(app.asgi_app)`",
        note="Upstream knows no Quart.",
        command=("{bin}/ddtrace-run", "{bin}/aeros", "run", "{app}:app"),
        environment={
            "DD_TRACE_AGENT_URL": "http://{sink}",
            "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
            "DD_SERVICE": "shop",
        },
        afterwards=checks.ddtrace_had_every_trace,
    ),
    Case(
        "elastic-apm",
        "elastic-apm",
        "watchers/elastic_app",
        needs="`app.asgi_app = ASGITracingMiddleware(app.asgi_app, …)`",
        environment={"SINK": "{sink}"},
        afterwards=checks.elastic_had_transactions,
    ),
    Case(
        "prometheus-client",
        "prometheus-client",
        "watchers/prometheus_app",
        needs="`--admin ADDRESS --app-metrics`",
        note="The dashboard's `/metrics` has the sum of all workers, also of those that ended.",
        command=(*RUN, "--admin", "127.0.0.1:{port}", "--app-metrics"),
        while_served=checks.prometheus_adds_up,
    ),
)

LIBRARIES = (
    Case("structlog", "structlog", "libraries/structlog_app", afterwards=checks.said("somebody came")),
    Case(
        "loguru",
        "loguru",
        "libraries/loguru_app",
        needs="with `enqueue=True`: `logger.add()` in `before_serving`, `logger.remove()` in `after_serving`",
        note="Without `enqueue` nothing.",
        afterwards=checks.both(checks.said("loguru says somebody came"), checks.queued),
    ),
    Case(
        "python-json-logger", "python-json-logger", "libraries/json_logger_app", afterwards=checks.said('"basket": 7')
    ),
    Case(
        "APScheduler",
        "APScheduler",
        "libraries/apscheduler_app",
        needs="`scheduler.start()` in `before_serving` where `app.worker.slot == 0`, `shutdown()` in `after_serving`",
        while_served=checks.jobs_run_once,
    ),
    Case(
        "SQLAlchemy, aiosqlite",
        "sqlalchemy[asyncio] aiosqlite",
        "libraries/sqlalchemy_app",
        note="Make the engine at import, use it in handlers and hooks.",
    ),
    Case(
        "SQLAlchemy, asyncpg",
        "sqlalchemy[asyncio] asyncpg",
        "libraries/sqlalchemy_app",
        program="postgres",
        environment={"DATABASE": "postgresql+asyncpg://postgres@127.0.0.1:{port}/postgres"},
        note="As above.",
    ),
    Case(
        "SQLAlchemy, psycopg",
        "sqlalchemy[asyncio] psycopg[binary]",
        "libraries/sqlalchemy_app",
        program="postgres",
        environment={"DATABASE": "postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"},
        note="As above.",
    ),
    Case(
        "redis",
        "redis",
        "libraries/redis_app",
        program="redis-server",
        environment={"REDIS": "{port}"},
        note="Make the client at import, use it in handlers and hooks.",
    ),
    Case(
        "boto3",
        "boto3",
        "libraries/boto3_app",
        environment={"SINK": "{sink}"},
        note="It blocks: use it in plain `def` handlers.",
    ),
    Case(
        "httpx",
        "httpx",
        "libraries/httpx_app",
        environment={"SINK": "{sink}"},
        needs="`AsyncClient()` in `before_serving`",
    ),
)

EXTENSIONS = (
    Case("quart-schema", "quart-schema[pydantic]", "extensions/schema_app", while_served=checks.document_of_the_api),
    Case(
        "quart-auth",
        "quart-auth",
        "extensions/auth_app",
        note="Its `secret_key` is the same in all workers.",
        while_served=checks.logged_in_everywhere,
    ),
    Case(
        "quart-rate-limiter",
        "quart-rate-limiter redis",
        "extensions/rate_limiter_app",
        program="redis-server",
        needs="`store=RedisStore(…)`",
        note="Its own store is each worker's, so a client gets the limit as often as there are workers.",
        environment={"REDIS": "{port}"},
        while_served=checks.limited_once_for_all,
    ),
    Case("quart-cors", "quart-cors", "extensions/cors_app", while_served=checks.cross_origin),
    Case("quart-compress", "quart-compress", "extensions/compress_app", while_served=checks.compressed),
    Case(
        "quart-session",
        "quart-session redis",
        "extensions/session_app",
        program="redis-server",
        environment={"REDIS": "{port}"},
        while_served=checks.session_of_all_workers,
    ),
    Case(
        "quart-tasks",
        "quart-tasks",
        "extensions/tasks_app",
        needs="`if app.worker.slot == 0` in a task that is to run once",
        while_served=checks.jobs_run_once,
    ),
    Case("quart-db", "quart-db[sqlite]", "extensions/db_app"),
    Case("quart-babel", "quart-babel", "extensions/babel_app", while_served=checks.languages),
    Case(
        "quart-flask-patch",
        "quart-flask-patch",
        "extensions/flask_patch_app",
        alone=checks.flask_patch_is_refused_upstream,
        needs="an older Quart",
        note="0.3.0 does not import with Quart 0.23, under any server; the start fails with its traceback.",
    ),
)

GROUPS = {
    "Watching and measuring": WATCHERS,
    "Libraries": LIBRARIES,
    "Quart's extensions": EXTENSIONS,
    "Libraries with native threads": NATIVE,
}
CASES = tuple(case for group in GROUPS.values() for case in group)
