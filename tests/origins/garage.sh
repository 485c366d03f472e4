#!/usr/bin/env bash
# Garage, one node on loopback.  garage.sh install | start DIR PORT | stop DIR
# It takes about a quarter of an hour to build. It also takes PORT+1 and PORT+3.
set -euo pipefail
cache=${HASHGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hashgate}
bin=$cache/garage/bin/garage
case $1 in
install) [ -x "$bin" ] || env -u CARGO_TARGET_DIR cargo install --quiet garage --version 2.5.0 --locked --root "$cache/garage" ;;
start)
  dir=$2 port=$3 key=GK000000000000000000000001
  secret=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
  mkdir -p "$dir"
  cat >"$dir/garage.toml" <<C
metadata_dir = "$dir/meta"
data_dir = "$dir/data"
db_engine = "lmdb"
replication_factor = 1
rpc_bind_addr = "127.0.0.1:$((port + 1))"
rpc_public_addr = "127.0.0.1:$((port + 1))"
rpc_secret = "$secret"
[s3_api]
s3_region = "garage"
api_bind_addr = "127.0.0.1:$port"
root_domain = ".s3.garage.localhost"
[admin]
api_bind_addr = "127.0.0.1:$((port + 3))"
admin_token = "test"
C
  export GARAGE_CONFIG_FILE=$dir/garage.toml
  setsid nohup "$bin" server >"$dir/log" 2>&1 &
  echo $! >"$dir/pid"
  for _ in $(seq 150); do "$bin" status >/dev/null 2>&1 && break; sleep 0.2; done
  {
    "$bin" layout assign -z dc1 -c 10G "$("$bin" node id -q | cut -d@ -f1)"
    "$bin" layout apply --version 1
    "$bin" key import --yes -n test "$key" "$secret"
    "$bin" key allow --create-bucket test
  } >"$dir/setup" 2>&1 || { echo "garage did not start; see $dir/setup" >&2; exit 1; }
  echo "http://127.0.0.1:$port,garage,$key,$secret"
  ;;
stop) kill "$(cat "$2/pid")" ;;
esac
