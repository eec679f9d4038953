# Real clients: what the scripts in this folder share.
#
# Each script sets up what one kind of client is used with, serves it with the release binary on a free port of
# 127.0.0.1, lets the client loose, and compares what arrived with what was served, byte by byte. Then the server is
# stopped, which has to be in order, and the access log is held to the statuses that may occur. A script
#
# - exits with 0 if all is right, 1 if not, and 77 where it cannot tell, with the reason in a line `skipped: …`;
# - installs Debian packages that it needs, where it may (root, apt-get), and skips where not;
# - leaves nothing else behind: what is served and what arrives lies in $work, beside the settings, keys and caches
#   of the tools.
#
# `run` runs them, one after another, each bounded in time. To add a client, add a script.
# shellcheck shell=bash
set -euo pipefail

readonly SKIPPED=77
# shellcheck disable=SC2155
readonly CLIENTS=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly BINARY=${CARGO_TARGET_DIR:-$CLIENTS/../../target}/release/oneloop
readonly STATUS='^[^"]*"[^"]*" ([0-9]+) .*'

# shellcheck disable=SC2155
readonly work=$(mktemp -d)
readonly root=$work/root log=$work/access.log
server=
url=

# What somebody has set for other servers is not for this one, and no proxy stands before it.
unset PORT "${!ONELOOP_@}"
export no_proxy=${no_proxy:+$no_proxy,}127.0.0.1 NO_PROXY=${NO_PROXY:+$NO_PROXY,}127.0.0.1

mkdir "$root"
trap 'tidy_up $?' EXIT

# tidy_up STATUS: whatever happened, no server stays behind, and what it said is shown after a failure.
tidy_up() {
    if [[ -n $server ]]; then
        kill -KILL "$server" || true
        wait "$server" || true
    fi 2> /dev/null
    if (($1 != 0 && $1 != SKIPPED)) && [[ -e $work/stderr ]]; then
        echo "--- the server said:"
        cat "$work/stderr"
        echo "--- the end of its access log:"
        tail -n 20 "$log" | cut -c 1-200
    fi
    rm -rf "$work"
}

# skip REASON: ends the script without a verdict.
skip() {
    echo "skipped: $1"
    exit "$SKIPPED"
}

# fail WHAT: ends the script with a verdict.
fail() {
    echo "FAILED: $1"
    exit 1
}

# need COMMAND[:PACKAGE]...: each is there, or is installed, or the script skips.
need() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%:*}" > /dev/null || missing+=("${pair##*:}")
    done
    ((${#missing[@]} == 0)) || install "${missing[@]}"
}

# install PACKAGE...: with apt-get, or the script skips.
install() {
    command -v apt-get > /dev/null || skip "no $* here, and no apt-get"
    ((EUID == 0)) || skip "no $* here, and not root"
    echo "installing $*"
    debian install -y --no-install-recommends "$@" \
        || { debian update && debian install -y --no-install-recommends "$@"; } \
        || skip "apt-get could not install $*"
}

debian() {
    DEBIAN_FRONTEND=noninteractive timeout 200 apt-get -qq -o DPkg::Lock::Timeout=100 "$@" > "$work/apt-get.log" 2>&1
}

# virtual_environment DIR [REQUIREMENT...]: of Python, with these packages of PyPI, or the script skips.
virtual_environment() {
    need python3
    python3 -c 'import ensurepip' 2> /dev/null || install python3-venv
    python3 -m venv "$1"
    (($# == 1)) || timeout 200 "$1/bin/pip" install --quiet "${@:2}" || skip "pip could not install ${*:2}"
}

# serve DIR [FLAG...]: starts the server; where it is, is then in $url.
serve() {
    [[ -x $BINARY ]] || fail "no $BINARY: cargo build --release"
    : > "$log"
    : > "$work/stderr"
    "$BINARY" "$1" --listen 127.0.0.1:0 --workers 2 --access-log "$log" "${@:2}" 2> "$work/stderr" &
    server=$!
    for _ in {1..200}; do
        url=$(grep -om1 'http://127[0-9.:]*' "$work/stderr") && return
        kill -0 "$server" 2> /dev/null || break
        sleep 0.05
    done
    fail "the server did not start"
}

# finish STATUS...: stops the server. Its access log has each of these statuses and no other; one with a question mark
# may be missing.
finish() {
    local status found allowed
    kill -TERM "$server"
    wait "$server" || fail "the server ended with $?"
    server=
    found=$(sed -E "s/$STATUS/\1/" "$log" | sort | uniq -c)
    echo "access log: $(xargs <<< "$found")"
    for status in "$@"; do
        [[ $status == *\? ]] || grep -q " $status\$" <<< "$found" || fail "no $status in the access log"
    done
    allowed=$(tr -d '?' <<< "$*")
    ! grep -vE "^[^\"]*\"[^\"]*\" (${allowed// /|}) " "$log" || fail "statuses other than ${allowed// /, }"
}

# logged COUNT PATTERN: so many lines or more of the access log match.
logged() {
    local count
    count=$(grep -cE "$2" "$log" || true)
    ((count >= $1)) || fail "$count instead of $1 requests are like $2"
}

# get STATUS PATH [CURL OPTION...]: the head is then in $work/head, the body in $work/body.
get() {
    local status
    : > "$work/body"
    status=$(curl -sS --max-time 60 --path-as-is --dump-header "$work/head" --output "$work/body" \
        --write-out '%{http_code}' "${@:3}" "$url$2")
    [[ $status == "$1" ]] || fail "$2 (${*:3}): $status instead of $1"
}

# field NAME: its value in the last response of `get`; nothing if it is not there.
field() {
    tr -d '\r' < "$work/head" | sed -n "s/^$1: //Ip"
}

# says NAME VALUE: the last response of `get` has this field.
says() {
    [[ $(field "$1") == "$2" ]] || fail "$1 is '$(field "$1")' instead of '$2'"
}

# same FILE FILE: both have the same content.
same() {
    cmp "$1" "$2" || fail "$1 and $2 differ"
}

# browse URL EXPRESSION: what a script in the page evaluates to, in a headless Chromium; a promise is waited for.
browse() {
    timeout 120 node "$CLIENTS/browse.mjs" "$1" "$2"
}
