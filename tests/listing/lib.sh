# What the scripts in this folder share: the tools they need, a directory to list, and a server that lists it.
# shellcheck shell=bash

readonly SKIPPED=77
readonly FOLDER=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# need TOOL...: skips, visibly, where one is missing.
need() {
    local tool
    for tool in "$@"; do
        command -v "$tool" > /dev/null || { echo "skipped: no $tool here"; exit "$SKIPPED"; }
    done
}

# sample ROOT: makes a directory with everything that may look bad in a listing.
sample() {
    local root=$1 bytes name
    mkdir -p "$root/photos/2026 Summer – Ærøskøbing" "$root/releases/v1.9.0" "$root/releases/v1.10.0" "$root/empty" \
        "$root/many" "$root/ugly" "$root/.git"
    while read -r bytes name; do
        truncate -s "$bytes" "$root/$name"
    done <<- 'FILES'
		1830 README.md
		48211 report-2026-q3.pdf
		734003200 debian-live-12.7.0-amd64-with-a-name-that-is-rather-long-for-a-phone.iso
		5242880 backup.tar.zst
		73 Makefile
		912 main.rs
		18211 index.css
		233 data.json
		88120 Inter-Regular.woff2
		4718592 a-walk-by-the-sea.flac
		94371840 interview.mp4
		2400123 chapter2.png
		2100321 chapter10.png
		2100321 chapter1.png
		0 LICENSE
		3821004 photos/2026 Summer – Ærøskøbing/IMG_20260714_183502.jpg
		4012992 photos/2026 Summer – Ærøskøbing/IMG_20260714_183611.jpg
		91204111 photos/2026 Summer – Ærøskøbing/The whole family on the ferry, with the dog and both bicycles.mov
		311 ugly/<script>alert('&amp; "quoted"')<\script>.html
		10 ugly/javascript:alert(1)
		20 ugly/-rf
		40 ugly/שלום עולם.txt
		50 ugly/日本語のファイル名.txt
		60 ugly/100%25 & more?.txt
	FILES
    touch "$root/ugly/"$'photo\xe2\x80\xaegpj.exe' "$root/ugly/"$'new\nline\tand\xff\xfebytes' "$root/ugly/$(printf 'w%.0s' {1..255})"
    (cd "$root/many" && printf 'entry-%d.txt\0' {1..2500} | xargs -0 touch)
    ln -s ../README.md "$root/photos/link-to-readme.md"
    find "$root" -exec touch -d '2026-11-19 08:15:42Z' {} +
    touch -d '2025-02-03 23:59:59Z' "$root/README.md" "$root/releases"
    touch -d '2026-11-20 06:00:00Z' "$root/interview.mp4"
}

# serve ROOT LOG: builds the server and starts it on a free port of the loopback interface; where it is, in $origin. What
# it says goes to LOG.
serve() {
    (cd "$FOLDER/../.." && cargo build --locked --quiet)
    "${CARGO_TARGET_DIR:-$FOLDER/../../target}/debug/oneloop" "$1" --listing=auto --listen 127.0.0.1:0 2> "$2" &
    server=$!
    for _ in {1..100}; do
        origin=$(grep -om1 'http://127[0-9.:]*' "$2") && return
        sleep 0.1
    done
    cat "$2"
    return 1
}

# clean_up: ends the server and removes what was made.
clean_up() {
    [[ -z $server ]] || kill "$server" 2> /dev/null || true
    rm -rf "$work"
}

server=
origin=
work=$(mktemp -d)
trap clean_up EXIT
