# Sourced by the scripts beside it; needs only a POSIX shell, Python 3.11 and a package index.
# make_venv EXTRAS installs this checkout with these extras ("" for none) into $VENV: a minute the
# first time, nothing the next.  CHATFILES_VENV says where (default .venv), PYTHON with which Python.

ROOT=$(cd "$(dirname "$0")/.." && pwd) || exit 1
VENV=${CHATFILES_VENV:-$ROOT/.venv}
case $VENV in /*) ;; *) VENV=$PWD/$VENV ;; esac
unset PYTHONPATH PYTHONHOME
# Root's pip does not notice that it cannot write its cache, and fails.
cache=${PIP_CACHE_DIR:-${XDG_CACHE_HOME:-${HOME:-/dev/null}/.cache}/pip}
{ mkdir -p "$cache" && [ -w "$cache" ]; } 2>/dev/null || export PIP_NO_CACHE_DIR=1

give_up() {
    printf 'chatfiles: %s\n' "$@" >&2
    exit 1
}

is_recent() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    set -- python3 python3.14 python3.13 python3.12 python3.11
    [ -z "${PYTHON:-}" ] || set -- "$PYTHON"
    for python; do
        is_recent "$python" && return
    done
    give_up "needs Python 3.11 or later; $1 is $("$1" --version 2>/dev/null || echo not one)." \
        "Install it, or say where it is: PYTHON=/path/to/python3.11 $0"
}

create_venv() {
    find_python
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        give_up "this Python cannot make virtual environments (no venv or ensurepip)." \
            "On Debian and Ubuntu: apt install python3-venv"
    "$python" -m venv --clear "$VENV" || give_up "could not make $VENV"
}

# Runs pip with these arguments, and prints a line for each step: the first time takes a while.
run_pip() {
    failed=$(
        {
            { PIP_USER=0 "$VENV/bin/python" -m pip "$@" </dev/null 3>&- || echo failed >&3; } |
                sed -n -e '/ finished with status /d' \
                    -e 's/^ *Collecting \([A-Za-z0-9._-]*\).*/  getting \1/p' \
                    -e 's/^ *Installing build dependencies.*/  getting what builds the package/p' \
                    -e 's/^ *Installing collected packages.*/  installing all of it/p' >&2
        } 3>&1
    )
    [ -z "$failed" ]
}

make_venv() {
    # The venv stays good while these are the same: the code itself is not copied into it.
    wanted="$ROOT $(cat "$ROOT/setup.py" "$ROOT/pyproject.toml" "$ROOT/chatfiles/__init__.py" | cksum)"
    usable=
    if is_recent "$VENV/bin/python" && [ -x "$VENV/bin/pip" ]; then
        usable=yes
        # What has the tests' dependencies has the demo's.
        for stamp in "$VENV/.chatfiles-$1" "$VENV/.chatfiles-${1:-test}"; do
            [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ] && return
        done
    fi
    printf 'chatfiles: setting up %s (once; it takes a minute or two) ...\n' "$VENV" >&2
    [ -n "$usable" ] || create_venv
    run_pip install --disable-pip-version-check --no-input --editable "$ROOT${1:+[$1]}" ||
        give_up "pip could not install what is needed (see above); is a package index reachable?"
    printf '%s\n' "$wanted" >"$VENV/.chatfiles-$1"
}
