#!/usr/bin/env bash
# Ceph RGW on loopback: one monitor, one OSD in memory, one gateway.  rgw.sh install | start DIR PORT | stop DIR
# From Debian's packages, so installing needs root. Every start begins with an empty store; the monitor takes PORT+9000.
set -euo pipefail
case $1 in
install)
  command -v radosgw >/dev/null && exit 0
  if [ "$(id -u)" != 0 ]; then
    echo "radosgw is missing: install the packages radosgw ceph-mon ceph-osd ceph-common" >&2
    exit 1
  fi
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends radosgw ceph-mon ceph-osd ceph-common
  ;;
start)
  dir=$2 port=$3 conf=$2/ceph.conf
  mkdir -p "$dir"/{mon,osd/0,rgw,run,log}
  id=$(cat /proc/sys/kernel/random/uuid) osd=$(cat /proc/sys/kernel/random/uuid)
  cat >"$conf" <<C
[global]
fsid = $id
mon_host = v1:127.0.0.1:$((port + 9000))
mon_initial_members = a
ms_bind_ipv6 = false
ms_bind_msgr2 = false
public_network = 127.0.0.0/8
cluster_network = 127.0.0.0/8
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
auth_cluster_required = none
auth_service_required = none
auth_client_required = none
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 4
osd_pool_default_pgp_num = 4
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 2000
mon_data_avail_crit = 1
mon_data_avail_warn = 2
run_dir = $dir/run
log_file = $dir/log/\$name.log
admin_socket = $dir/run/\$name.asok
pid_file = $dir/run/\$name.pid
mon_data = $dir/mon/a
osd_data = $dir/osd/0
osd_objectstore = memstore
memstore_device_bytes = 8589934592
osd_max_object_name_len = 256
osd_max_object_namespace_len = 64
[client.rgw]
rgw_frontends = beast endpoint=127.0.0.1:$port
rgw_data = $dir/rgw
C
  # The monitor of a machine that is busy sometimes does not answer; what it is asked may be asked again.
  ceph() {
    for _ in 1 2 3 4; do timeout 20 ceph -c "$conf" "$@" && return; done
    return 1
  }
  {
    # The map must speak the first protocol only, as the monitor does, or it never finds a quorum.
    monmaptool --create --clobber --fsid "$id" --addv a "[v1:127.0.0.1:$((port + 9000))]" "$dir/monmap"
    ceph-mon -c "$conf" -i a --mkfs --fsid "$id" --monmap "$dir/monmap"
    ceph-mon -c "$conf" -i a
    ceph mon stat
    ceph osd new "$osd" 0
    ceph-osd -c "$conf" -i 0 --mkfs --osd-uuid "$osd"
    ceph osd crush add osd.0 1.0 host=localhost0 root=default
    for _ in 1 2 3 4 5; do ceph-osd -c "$conf" -i 0 && break; sleep 1; done
    for _ in $(seq 80); do ceph osd stat | grep -q '1 up' && break; sleep 0.5; done
    radosgw -c "$conf" -n client.rgw
    for _ in $(seq 60); do curl -s -o /dev/null "http://127.0.0.1:$port/" && break; sleep 1; done
    timeout 60 radosgw-admin -c "$conf" -n client.rgw user create --uid test --display-name test \
      --access-key rgwkey --secret-key rgwsecretrgwsecretrgwsecret
  } >"$dir/log/start" 2>&1 || { echo "Ceph did not start; see $dir/log/start" >&2; exit 1; }
  echo "http://127.0.0.1:$port,us-east-1,rgwkey,rgwsecretrgwsecretrgwsecret"
  ;;
stop)
  for pid in "$2"/run/*.pid; do kill "$(cat "$pid")" 2>/dev/null || true; done
  ;;
esac
