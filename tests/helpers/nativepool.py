"""A library in C that is to a fork as polars is: threads of its own from the first use on, and no thought of forks."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = r"""
#include <pthread.h>
#include <unistd.h>
#define THREADS 3

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static int begun, asked, answered, number;

static void *work(void *nothing) {
    pthread_mutex_lock(&lock);
    for (;;) {
        while (!asked) pthread_cond_wait(&changed, &lock);
        asked = 0;
        number *= 2;
        answered = 1;
        pthread_cond_broadcast(&changed);
    }
    return nothing;
}

/* Twice the number, by a thread of the pool: in a forked child there is none, and this waits for ever. */
int twice(int of) {
    int result;
    pthread_t thread;
    pthread_mutex_lock(&lock);
    while (begun < THREADS) {
        if (pthread_create(&thread, 0, work, 0) != 0) break;
        begun++;
    }
    number = of;
    answered = 0;
    asked = 1;
    pthread_cond_broadcast(&changed);
    while (!answered) pthread_cond_wait(&changed, &lock);
    result = number;
    pthread_mutex_unlock(&lock);
    return result;
}

/* Never comes back, nor gives the interpreter a chance to look at its signals. */
void hold(void) {
    for (;;) pause();
}
"""


def build(folder: Path, name: str = "libtestpool") -> Path:
    """Return the library, compiled. Skips the test where there is no compiler; in CI that is a failure."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        if os.environ.get("CI"):
            pytest.fail("there is no C compiler, and CI must have one")
        pytest.skip("NO C COMPILER: what native threads do to a fork is not tested here")
    source, library = folder / f"{name}.c", folder / f"{name}.so"
    source.write_text(SOURCE)
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-pthread", "-o", library, source], check=True, timeout=60)
    return library
