#!/usr/bin/env bash
# Makes a certificate for trying the relay out: ca.pem (give it to clients), server.pem (certificate, then the CA's) and
# server.key (mode 0600). The CA's own key signs once and is destroyed, so whoever trusts ca.pem trusts this one
# certificate and nothing that could be made later. Both carry what a strict verifier of RFC 5280 asks for (key
# identifiers, critical basicConstraints, keyUsage). Not for production: use your own CA or ACME there.
set -euo pipefail

usage() {
    cat <<'USAGE'
usage: certs/make-dev-certs.sh [-d DIRECTORY] [-D DAYS] [-o UID[:GID]] [NAME|ADDRESS ...]

  -d  where the three files go (default: the folder of this script)
  -D  days until it expires (default: 90)
  -o  give server.key to this user, for a container that runs as it (the image: 10001:10001)

The names and addresses become subjectAltNames; without any: localhost, this host's name, 127.0.0.1 and ::1.
Files that exist are never overwritten: remove them first.

example: certs/make-dev-certs.sh mx1.example.org imap.example.org 192.0.2.10
USAGE
}

directory=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
days=90
owner=
while getopts "d:D:o:h" option; do
    case $option in
        d) directory=$OPTARG ;;
        D) days=$OPTARG ;;
        o) owner=$OPTARG ;;
        h) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
done
shift $((OPTIND - 1))
[[ $days =~ ^[1-9][0-9]*$ ]] || { echo "make-dev-certs: -D wants a number of days, not '$days'" >&2; exit 2; }
(($#)) || set -- localhost "$(uname -n)" 127.0.0.1 ::1

sans=
for name in "$@"; do
    if [[ $name =~ ^[0-9]+(\.[0-9]+){3}$ || $name == *:* ]]; then
        kind=IP
    elif [[ $name =~ ^[A-Za-z0-9*]([A-Za-z0-9.-]*[A-Za-z0-9])?$ ]]; then
        kind=DNS
    else
        echo "make-dev-certs: '$name' is neither a host name nor an address" >&2
        exit 2
    fi
    sans+="${sans:+,}$kind:$name"
done

mkdir -p "$directory"
for file in ca.pem server.pem server.key; do
    if [[ -e $directory/$file ]]; then
        echo "make-dev-certs: $directory/$file exists; remove it first" >&2
        exit 1
    fi
done

# Keys are born in a private folder with mode 0600 and moved when everything has worked: no half set is left behind.
umask 077
work=$(mktemp -d "$directory/.making.XXXXXX")
trap 'rm -rf "$work"' EXIT
curve=(-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes)

# A configuration of our own: what the distribution's would add by default differs from one to the next.
cat >"$work/ca.cnf" <<AUTHORITY
[req]
distinguished_name = name
x509_extensions = authority
prompt = no
[name]
CN = Standby relay development CA
[authority]
basicConstraints = critical,CA:TRUE,pathlen:0
keyUsage = critical,keyCertSign,cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid:always
AUTHORITY
openssl req -x509 "${curve[@]}" -days "$days" -config "$work/ca.cnf" \
    -keyout "$work/ca.key" -out "$work/ca.pem" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
openssl req -new "${curve[@]}" -subj "/CN=Standby relay development" -keyout "$work/server.key" -out "$work/server.csr" 2>"$work/log" ||
    { cat "$work/log" >&2; exit 1; }
cat >"$work/extensions" <<EXTENSIONS
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid:always
subjectAltName=$sans
EXTENSIONS
openssl x509 -req -in "$work/server.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -days "$days" \
    -extfile "$work/extensions" -out "$work/leaf.pem" 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
openssl verify -x509_strict -purpose sslserver -CAfile "$work/ca.pem" "$work/leaf.pem" >/dev/null
cat "$work/leaf.pem" "$work/ca.pem" >"$work/server.pem"
chmod 0644 "$work/ca.pem" "$work/server.pem"
[[ -z $owner ]] || chown "$owner" "$work/server.key"
for file in ca.pem server.pem server.key; do
    mv -n "$work/$file" "$directory/$file"
done
echo "made $directory/{ca.pem,server.pem,server.key} for $sans, valid for $days days"
