#!/usr/bin/env bash
# Builds the Dockerfile and runs the container's own command without a container engine: as root, with debootstrap and
# buildah (Debian: apt-get install debootstrap buildah). Ends with "proved" and exit code 0, or says what failed.
#
#   1. A stand-in for the base image: Debian bookworm with python3 and pip, committed under the name the Dockerfile uses.
#   2. `buildah bud` in chroot isolation builds the image from the Dockerfile as it is.
#   3. The image's settings are read back: user, volume, stop signal, health check, entry point, ports.
#   4. The image runs with a read-only root, no capabilities and no new privileges, as its own user, on a fresh volume: it
#      makes its key, starts, turns healthy by its own HEALTHCHECK, takes a message with 250, and drains on STOPSIGNAL.
#
# What this does not show: the engine's own part (port publishing, volume creation, restart policy).
# pip's settings of this machine (an index mirror, a CA) are mounted while building and are no part of the image.
#
#   BASE_TAR=FILE   keep the stand-in base in FILE and use it next time (saves a minute)
#   KEEP=1          leave the work folder and print where it is
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

say() { printf '== %s\n' "$*"; }
fail() { printf 'prove-container: %s\n' "$*" >&2; exit 1; }
[[ $(id -u) == 0 ]] || fail "needs root (chroot, mounts)"
for tool in buildah debootstrap unshare curl python3; do
    command -v "$tool" >/dev/null || fail "needs $tool"
done

base=$(sed -n 's/^ARG BASE=//p' Dockerfile)
work=$(mktemp -d "${TMPDIR:-/tmp}/prove-container.XXXXXX")
export BUILDAH_ISOLATION=chroot BUILDAH_FORMAT=docker
b() { timeout 900 buildah --storage-driver "${STORAGE_DRIVER:-vfs}" --root "$work/storage" --runroot "$work/run" "$@"; }
server=
cleanup() {
    [[ -z $server ]] || kill -KILL "$server" 2>/dev/null || true
    if [[ -n ${KEEP:-} ]]; then echo "left in $work"; return; fi
    b umount --all >/dev/null 2>&1 || true
    rm -rf --one-file-system "$work" 2>/dev/null || { sleep 1; rm -rf --one-file-system "$work"; }
}
trap cleanup EXIT

# --- 1. the base -----------------------------------------------------------------------------------------------------
if [[ -n ${BASE_TAR:-} && -s $BASE_TAR ]]; then
    say "base from $BASE_TAR"
else
    say "base by debootstrap (about a minute)"
    timeout 900 debootstrap --variant=minbase --include=python3,python3-pip,python3-venv,ca-certificates \
        bookworm "$work/base" "${MIRROR:-http://deb.debian.org/debian}" >"$work/debootstrap.log" 2>&1 ||
        { tail -20 "$work/debootstrap.log" >&2; fail "debootstrap"; }
    rm -rf "$work"/base/var/cache/apt/archives/*.deb "$work"/base/var/lib/apt/lists/*
    tar -C "$work/base" -cf "${BASE_TAR:-$work/base.tar}" .
    rm -rf "$work/base"
fi
container=$(b from scratch)
b add -q "$container" "${BASE_TAR:-$work/base.tar}" / >/dev/null
b config --env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$container"
b commit -q --rm "$container" "$base" >/dev/null

# --- 2. the image ----------------------------------------------------------------------------------------------------
say "buildah bud (base name $base)"
# pip's own answer to "how do you reach an index here", and every local path it names, read-only at the same place.
mounts=()
{
    echo "[global]"
    python3 -m pip config list 2>/dev/null | sed -n "s/^\(global\|:env:\)\.\(.*\)='\(.*\)'$/\2 = \3/p" | sort -u -t= -k1,1
} >"$work/pip.conf"
mounts+=(--volume "$work/pip.conf:/etc/pip.conf:ro")
while read -r path; do
    [[ -e $path ]] && mounts+=(--volume "$path:$path:ro")
done < <(sed 's/^[^=]*= *//' "$work/pip.conf" | tr ' ' '\n' | sed -n 's#^\(file://\)\{0,1\}\(/.*\)#\2#p' |
    sed 's#/simple/*$##' | sort -u)
b bud -q --pull-never --network host "${mounts[@]}" --build-arg "REVISION=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)" \
    -t standby-relay-proof . >"$work/bud.log" 2>&1 || { tail -40 "$work/bud.log" >&2; fail "buildah bud"; }

# --- 3. what the image says of itself --------------------------------------------------------------------------------
say "settings of the image"
b inspect --type image standby-relay-proof >"$work/image.json"
python3 - "$work/image.json" <<'PYTHON'
import json, sys

config = json.load(open(sys.argv[1]))["Docker"]["config"]
expected = {
    "User": "10001:10001",
    "Volumes": {"/var/lib/relay": {}},
    "StopSignal": "SIGTERM",
    "Entrypoint": ["relay"],
    "Cmd": ["run", "-c", "/etc/relay/relay.toml"],
}
wrong = {key: config.get(key) for key, value in expected.items() if config.get(key) != value}
if "Healthcheck" not in config:
    wrong["Healthcheck"] = None
if wrong:
    sys.exit(f"prove-container: the image does not say what it should: {wrong}")
print("   user, volume, stop signal, health check, entry point as written")
PYTHON
mapfile -t health < <(python3 -c '
import json, sys
test = json.load(open(sys.argv[1]))["Docker"]["config"]["Healthcheck"]["Test"]
assert test[0] == "CMD", test
print("\n".join(test[1:]))' "$work/image.json")

# --- 4. the container ------------------------------------------------------------------------------------------------
container=$(b from --pull-never standby-relay-proof)
root=$(b mount "$container")
[[ $(stat -c %u:%g:%a "$root/var/lib/relay") == 10001:10001:700 ]] || fail "the volume's mount point is not the user's"
for tool in gcc cc make hatchling pip; do
    [[ ! -e $root/opt/relay/bin/$tool ]] || fail "$tool is in the final stage"
done

volume=$work/volume
install -d -o 10001 -g 10001 -m 0700 "$volume"
read -r mx http < <(python3 -c '
import socket
s = [socket.socket() for _ in range(2)]
[x.bind(("127.0.0.1", 0)) for x in s]
print(*(x.getsockname()[1] for x in s))')
cat >"$work/relay.toml" <<TOML
[node]
name = "proof"
hostname = "mx.example.org"
data_dir = "/var/lib/relay"
[store]
url = "sqlite:////var/lib/relay/relay.db"
[vault]
key_file = "/var/lib/relay/relay.key"
[domains]
accept = ["example.org"]
unknown_recipients = "accept"
[primary.smtp]
host = "127.0.0.1"
port = 9
tls = "none"
[listen]
mx = ["127.0.0.1:$mx"]
http = ["127.0.0.1:$http"]
TOML
chmod 0644 "$work/relay.toml"
touch "$root/etc/relay/relay.toml"

# In a mount namespace of its own: the image read-only, the volume, a small /tmp, /proc and /dev; then the image's user
# with an empty capability bounding set and no_new_privs, as compose.yaml asks of an engine.
# shellcheck disable=SC2016  # expanded by the inner shell
inside=(
    unshare --mount --propagation private -- bash -ec '
        root=$1 volume=$2 config=$3 chroot=$(command -v chroot); shift 3
        mount --bind "$root" "$root"; mount -o remount,bind,ro "$root"
        mount --bind "$volume" "$root/var/lib/relay"
        mount --bind "$config" "$root/etc/relay/relay.toml"; mount -o remount,bind,ro "$root/etc/relay/relay.toml"
        mount -t tmpfs -o size=16m,mode=1777 tmpfs "$root/tmp"
        mount -t proc proc "$root/proc"; mount --rbind /dev "$root/dev"
        exec env -i PATH=/opt/relay/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
            PYTHONFAULTHANDLER=1 HOME=/var/lib/relay \
            setpriv --bounding-set=-all,+sys_chroot,+setuid,+setgid,+setpcap \
            "$chroot" "$root" setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --bounding-set=-all -- "$@"
    ' inside "$root" "$volume" "$work/relay.toml"
)
say "run: read-only root, uid 10001, no capabilities, no new privileges"
# shellcheck disable=SC2016  # expanded in the container
b run "$container" -- sh -c '[ "$(id -u):$(id -g)" = 10001:10001 ]' || fail "buildah run is not uid 10001"
[[ $("${inside[@]}" sh -c 'touch /tmp/x /var/lib/relay/x && rm /var/lib/relay/x && ! touch /etc/x 2>/dev/null && ! touch /opt/relay/x 2>/dev/null && echo so') == so ]] ||
    fail "/tmp and the volume are not writable, or something else is"
"${inside[@]}" sh -c 'grep -q "^CapBnd:[[:space:]]*0*$" /proc/self/status && grep -q "^NoNewPrivs:[[:space:]]*1" /proc/self/status' ||
    fail "capabilities are left"
"${inside[@]}" relay --version
"${inside[@]}" relay keys init -c /etc/relay/relay.toml
"${inside[@]}" relay run -c /etc/relay/relay.toml >"$work/server.log" 2>&1 &
server=$!
healthy=
for _ in $(seq 60); do
    kill -0 "$server" 2>/dev/null || { tail -40 "$work/server.log" >&2; fail "relay run ended"; }
    if "${inside[@]}" "${health[@]}" >/dev/null 2>&1; then healthy=1; break; fi
    sleep 0.5
done
[[ -n $healthy ]] || { tail -40 "$work/server.log" >&2; fail "not healthy by its own HEALTHCHECK"; }
say "healthy by its own HEALTHCHECK: ${health[*]}"
python3 - "$mx" <<'PYTHON'
import smtplib, sys

with smtplib.SMTP("127.0.0.1", int(sys.argv[1]), timeout=20) as client:
    client.sendmail("a@example.net", ["b@example.org"], b"Subject: proof\r\n\r\nThe primary is down.\r\n")
print("   a message was answered 250 while the primary is down")
PYTHON
kill -TERM "$server"
code=0
timeout 45 tail --pid="$server" -f /dev/null || fail "not drained within 45 s of SIGTERM"
wait "$server" || code=$?
server=
[[ $code == 0 ]] || { tail -40 "$work/server.log" >&2; fail "exit code $code after SIGTERM"; }
[[ -z $(find "$volume" ! -user 10001) ]] || fail "files of another user on the volume"
! grep -rqF -e "The primary is down" -e "a@example.net" "$volume" || fail "the volume can be read without the key"
say "drained on SIGTERM with exit code 0; the volume holds: $(find "$volume" -type f -printf '%f ' | sort)"
say "proved"
