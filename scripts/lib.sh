# Shared by the scripts: a virtual environment of the project's own, made once and refreshed when setup.cfg changes.
# shellcheck shell=bash

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

# Find a Python that is new enough, first the one that Aeros is developed with; AEROS_PYTHON overrides.
find_python() {
    local name candidate names="python3.13 python3.14 python3.15 python3.12 python3.11 python3 python"
    for name in ${AEROS_PYTHON:-$names}; do
        while read -r candidate; do
            if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
                echo "$candidate"
                return
            fi
        done < <(places_of "$name")
    done
    echo "Aeros needs Python 3.11 or newer; ${AEROS_PYTHON:-none of $names} is none (AEROS_PYTHON may say its path)" >&2
    return 1
}

# places_of NAME: where a program of that name may be. A shim of pyenv's runs only the versions that are switched on; the
# others are beside it.
places_of() {
    local found
    found=$(command -v "$1") || return 0
    echo "$found"
    case $found in
        */shims/*) printf '%s\n' "${found%/shims/*}"/versions/*/bin/"$1" | sort -rV ;;
    esac
}

# prepare EXTRAS [CONSTRAINTS]: make or refresh the environment named by $venv with Aeros and these extras, e.g. "suite,check".
# CONSTRAINTS: a file of versions for pip to keep to.
prepare() {
    local extras=$1 constraints=${2:-} python want stamp
    python=$(find_python)
    venv=${AEROS_VENV:-$root/.venv}
    stamp=$venv/.aeros-$(echo "$extras" | tr ',' '-')
    want=$("$python" -V; cat setup.cfg pyproject.toml)
    if [ "$("$python" -V)" != "$("$venv/bin/python" -V 2>/dev/null)" ]; then
        echo "making a virtual environment in $venv, with $("$python" -V)" >&2
        "$python" -m venv --clear "$venv"
    fi
    if [ ! -f "$stamp" ] || [ "$want" != "$(cat "$stamp")" ]; then
        echo "installing Aeros${extras:+ with $extras} into it" >&2
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
            ${constraints:+--constraint "$constraints"} -e ".${extras:+[$extras]}"
        printf '%s' "$want" >"$stamp"
    fi
    # Where PYTHONDONTWRITEBYTECODE is set, every server started would compile all of it again: 0.2 s each.
    "$venv/bin/python" -m compileall -q aeros
}

# add_packages WHAT FILE: install the packages that FILE lists into $venv, if it has changed since. WHAT: in a word, for people.
add_packages() {
    local what=$1 file=$2 stamp
    stamp=$venv/.packages-$(echo "$file" | tr '/' '-')
    if [ ! -f "$stamp" ] || [ "$(cat "$file")" != "$(cat "$stamp")" ]; then
        echo "installing $what into it" >&2
        "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --upgrade -r "$file"
        cp "$file" "$stamp"
    fi
}

# What the tests are run with where nothing is said. Four processes for two cores: most tests wait for servers most of
# the time. A file's tests stay together.
test_arguments=(-m "not slow" -n 4 --dist loadfile)
# Of them those that show in a minute or two whether an interpreter, or the versions of the dependencies, will do.
short_arguments=("${test_arguments[@]}" tests/unit tests/component
    tests/integration/test_{start_forms,requests,reload,worker_death,supervisor_death,tls,warmup}.py)

# Debian's packages of the programs some tests run a server behind or beside (tests/helpers/programs.py looks for them).
test_packages="nginx haproxy chromium systemd slowhttptest"

# install_programs: install what is missing of them, where that can be done: as root, with apt-get. Tests say what they miss.
install_programs() {
    local package missing=""
    for package in $test_packages; do
        [ -n "$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null | grep '^ii')" ] || missing="$missing $package"
    done
    if [ -z "$missing" ] || [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        return 0
    fi
    echo "installing$missing" >&2
    # shellcheck disable=SC2086 # the names are words
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 install -y -qq \
        --no-install-recommends $missing; } >/dev/null || echo "could not install$missing" >&2
}
