#!/bin/sh
# Makes what a gateway and its OPA server know of each other: sh deploy/opa/secrets.sh DIRECTORY HOST
#
# certificate.pem and key.pem (P-256, 90 days) for HOST and localhost, token for the gateway, token.sha256 for OPA.
# Run it again before the 90 days are over: the gateway reads its files anew by itself, OPA's container is restarted.
set -eu
umask 077
directory=${1:?directory} host=${2:?host}
mkdir -p "$directory"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 90 -subj "/CN=$host" \
  -addext "subjectAltName=DNS:$host,DNS:localhost" \
  -keyout "$directory/key.pem" -out "$directory/certificate.pem" 2>/dev/null
openssl rand -hex 32 > "$directory/token"
printf %s "$(cat "$directory/token")" | openssl dgst -sha256 -r | cut -d' ' -f1 > "$directory/token.sha256"
chmod 0444 "$directory/certificate.pem" "$directory/token.sha256"
# Compose mounts secrets as they are: the containers' user must be able to read them.
if [ "$(id -u)" = 0 ]; then
  chown 10001:10001 "$directory/key.pem" "$directory/token"
fi
