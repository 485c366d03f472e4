#!/usr/bin/env bash
# Reads every file of deploy/ with the tool that it is meant for. There is no container engine in this: the Dockerfile
# is not built, and the compose file not started.
set -euo pipefail
cd "$(dirname "$0")/../deploy"

need() { # PROGRAM PACKAGE
  command -v "$1" >/dev/null && return
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    # No service is to start because its package came along.
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d && chmod +x /usr/sbin/policy-rc.d
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$2" >/dev/null || true
    rm -f /usr/sbin/policy-rc.d
  fi
  command -v "$1" >/dev/null || { echo "$1 is missing: install the package $2" >&2; exit 1; }
}

need promtool prometheus
need systemd-analyze systemd
promtool check config prometheus.yml
promtool check rules alerts.yml
check-jsonschema --builtin-schema vendor.compose-spec compose.yaml

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The unit names the binary where it will be installed; here it stands elsewhere.
sed "s|/usr/local/bin/hashgate|$HASHGATE_BINARY|" hashgate.service >"$work/hashgate.service"
systemd-analyze verify "$work/hashgate.service"
cp -r hashgate.yaml lists "$work"
sed -i "s|/var/lib/hashgate|$work/state|" "$work/hashgate.yaml"
"$HASHGATE_BINARY" check --config "$work/hashgate.yaml"

# Every metric that an alert names is one that the gate has.
for name in $(grep -o 'hashgate_[a-z_]*' alerts.yml | sort -u); do
  grep -q "\"$name\"" ../src/record/metrics.rs || { echo "alerts.yml names $name, which does not exist" >&2; exit 1; }
done
