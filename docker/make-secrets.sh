#!/bin/sh
# Random secrets for everything that has none yet; what is there stays as it is.
set -eu
umask 077
cd "$(dirname "$0")/secrets"
for name in hemaloop_password hemaloop_webhook_secret redis_password postgres_password label_studio_password; do
    [ -s "$name" ] || python3 -c 'import secrets; print(secrets.token_urlsafe(32))' > "$name"
done
# Given by Label Studio after its first start; a file must be there for the containers to start.
[ -e label_studio_api_key ] || echo "not set yet" > label_studio_api_key
# Containers read them as users of their own; the folder keeps everybody else out.
chmod 700 . && chmod 644 ./[!.]*
