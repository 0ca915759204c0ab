#!/usr/bin/env bash
# kube_node.sh COMMAND: one real Kubernetes node in a network namespace of its own, without Docker: API server, controllers, scheduler,
# kubelet, containerd with runc, kube-proxy, DNS. Restricted Pod Security is not enforced by itself: label a namespace. Needs root, the
# programs of build_kubernetes.sh, and the Debian packages containerd runc containernetworking-plugins iptables conntrack iproute2.
#
#   kube_node.sh up                 starts the node and waits until it is ready
#   kube_node.sh import FILE.tar    loads an image (docker-archive) into it
#   kube_node.sh run COMMAND…       in the node's network, with KUBECONFIG, kubectl and helm
#   kube_node.sh down               stops everything and takes it away
#
# The bridge network enforces no NetworkPolicy. State: ${WEFT_KUBE_RUN:-/run/weft-kube}.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
run=${WEFT_KUBE_RUN:-/run/weft-kube}
space=weft-kube
address=10.99.0.1
pods=10.244.0.0/24
services=10.96.0.0/16
dns=10.96.0.10
server=https://$address:6443

say() { printf 'kube_node: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }
# Not `ip netns exec`: that mounts another /sys, without the cgroups.
inside() { nsenter --net="/run/netns/$space" "$@"; }
start() { # NAME COMMAND…
  local name=$1
  shift
  # No function: what $! names becomes the leader of the session.
  nsenter --net="/run/netns/$space" setsid "$@" >"$run/$name.log" 2>&1 </dev/null &
  echo $! >"$run/$name.pid"
}
kubectl() { inside env KUBECONFIG="$run/kubeconfig" "$run/tools/kubectl" "$@"; }

until_true() { # SECONDS WHAT COMMAND…
  local seconds=$1 what=$2
  shift 2
  for ((i = 0; i < seconds * 2; i++)); do
    "$@" >/dev/null 2>&1 && return
    sleep 0.5
  done
  tail -n 5 "$run"/*.log >&2 || true
  fail "$what: not within $seconds s"
}

make_network() {
  ip netns add "$space"
  inside ip link set lo up
  inside ip link add node0 type veth peer name node0p
  inside ip address add "$address/24" dev node0
  inside ip link set node0 up
  inside ip link set node0p up
  inside ip route add default dev node0
  inside sysctl -qw net.ipv4.ip_forward=1
}

make_keys() { # an authority, the API server's certificate, the key of service accounts
  cd "$run"
  openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=weft-kube -keyout ca.key -out ca.crt 2>/dev/null
  openssl req -newkey rsa:2048 -nodes -subj /CN=kube-apiserver -keyout api.key -out api.csr 2>/dev/null
  printf 'subjectAltName=IP:%s,IP:127.0.0.1,IP:10.96.0.1,DNS:kubernetes,DNS:kubernetes.default.svc,DNS:localhost\n' "$address" >san
  openssl x509 -req -in api.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile san -out api.crt 2>/dev/null
  openssl genrsa -out sa.key 2048 2>/dev/null
  openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
  token=$(openssl rand -hex 16)
  (umask 077 && printf '%s,admin,admin,"system:masters"\n' "$token" >tokens.csv)
  (umask 077 && cat >kubeconfig) <<YAML
apiVersion: v1
kind: Config
current-context: node
clusters: [{name: node, cluster: {server: "$server", certificate-authority: $run/ca.crt}}]
users: [{name: admin, user: {token: $token}}]
contexts: [{name: node, context: {cluster: node, user: admin}}]
YAML
}

start_control_plane() {
  local config=$run/kubeconfig
  local access=(--kubeconfig="$config" --authentication-kubeconfig="$config" --authorization-kubeconfig="$config" --leader-elect=false)
  start etcd "$bin/etcd" --data-dir "$run/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380 --initial-cluster default=http://127.0.0.1:2380
  start apiserver "$bin/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 --advertise-address="$address" \
    --tls-cert-file="$run/api.crt" --tls-private-key-file="$run/api.key" --cert-dir="$run/certs" --token-auth-file="$run/tokens.csv" \
    --service-account-key-file="$run/sa.pub" --service-account-signing-key-file="$run/sa.key" \
    --service-account-issuer=https://kubernetes.default.svc --authorization-mode=Node,RBAC --service-cluster-ip-range="$services" --allow-privileged
  until_true 120 "the API server" kubectl get --raw /readyz
  start controllers "$bin/kube-controller-manager" "${access[@]}" --service-account-private-key-file="$run/sa.key" --root-ca-file="$run/ca.crt"
  start scheduler "$bin/kube-scheduler" "${access[@]}"
}

start_runtime() {
  mkdir -p "$run/cni"
  cat >"$run/containerd.toml" <<TOML
version = 2
root = "$run/containerd/root"
state = "$run/containerd/state"
[grpc]
  address = "$run/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/weft-pause:1"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$run/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "native"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
TOML
  cat >"$run/cni/10-pods.conflist" <<JSON
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
   "ipam": {"type": "host-local", "ranges": [[{"subnet": "$pods"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
JSON
  start containerd containerd -c "$run/containerd.toml"
  until_true 30 "containerd" ctr -a "$run/containerd.sock" version
  # What holds a pod's namespaces: a program that waits, in an image of nothing else.
  local work=$run/pause
  mkdir -p "$work/root"
  printf '#include <unistd.h>\nint main(void) { for (;;) pause(); }\n' >"$work/pause.c"
  gcc -static -O2 -o "$work/root/pause" "$work/pause.c"
  python3 - "$work" <<'PYTHON'
import hashlib, io, json, sys, tarfile
work = sys.argv[1]
layer = io.BytesIO()
with tarfile.open(fileobj=layer, mode="w") as tar:
    tar.add(f"{work}/root/pause", "pause")
data = layer.getvalue()
config = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Entrypoint": ["/pause"], "User": "65532:65532"},
                     "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(data).hexdigest()]}}).encode()
manifest = json.dumps([{"Config": "config.json", "RepoTags": ["localhost/weft-pause:1"], "Layers": ["layer.tar"]}]).encode()
with tarfile.open(f"{work}/pause.tar", "w") as tar:
    for name, text in (("config.json", config), ("layer.tar", data), ("manifest.json", manifest)):
        info = tarfile.TarInfo(name)
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text))
PYTHON
  import "$work/pause.tar"
}

start_node() {
  cat >"$run/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
containerRuntimeEndpoint: unix://$run/containerd.sock
clusterDNS: [$dns]
clusterDomain: cluster.local
evictionHard: {memory.available: 100Mi}
localStorageCapacityIsolation: false
imageGCHighThresholdPercent: 100
YAML
  cat >"$run/proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clientConnection: {kubeconfig: $run/kubeconfig}
clusterCIDR: $pods
hostnameOverride: node1
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
YAML
  # DNS runs beside the node, on an address that pods reach without kube-proxy.
  inside ip address add "$dns/32" dev lo
  printf '.:53 {\n bind %s\n kubernetes cluster.local {\n  kubeconfig %s node\n }\n errors\n}\n' "$dns" "$run/kubeconfig" >"$run/Corefile"
  start kubelet "$bin/kubelet" --kubeconfig="$run/kubeconfig" --config="$run/kubelet.yaml" --root-dir="$run/kubelet" \
    --hostname-override=node1 --node-ip="$address"
  start proxy "$bin/kube-proxy" --config "$run/proxy.yaml"
  start coredns "$bin/coredns" -conf "$run/Corefile"
  until_true 120 "the node" kubectl wait --for=condition=Ready node/node1 --timeout=1s
}

up() {
  [[ ! -e $run/kubeconfig ]] || fail "a node is in $run already; kube_node.sh down"
  for program in containerd runc iptables conntrack ip openssl gcc; do
    command -v "$program" >/dev/null || fail "install $program"
  done
  [[ -x /usr/lib/cni/bridge ]] || fail "install containernetworking-plugins"
  bin=$("$here/build_kubernetes.sh")
  mkdir -p "$run/tools"
  "$here/get_helm.sh" "$run/tools" >/dev/null
  ln -sfn "$("$here/get_helm.sh" --kubectl)" "$run/tools/kubectl"
  make_network
  make_keys
  start_control_plane
  start_runtime
  start_node
  kubectl get nodes >&2
}

import() { ctr -a "$run/containerd.sock" -n k8s.io images import "$1" >&2; }

down() {
  local name pid mount
  kubectl delete pods --all --all-namespaces --force --grace-period=0 --timeout=20s >/dev/null 2>&1 || true
  for name in kubelet proxy coredns scheduler controllers apiserver etcd containerd; do
    [[ ! -f $run/$name.pid ]] || pkill -TERM -s "$(<"$run/$name.pid")" 2>/dev/null || true
  done
  sleep 2
  for pid in $(ip netns pids "$space" 2>/dev/null); do kill -KILL "$pid" 2>/dev/null || true; done
  awk -v below="$run/" 'index($2, below) == 1 { print $2 }' /proc/mounts | sort -r | while read -r mount; do umount -l "$mount" || true; done
  ip netns delete "$space" 2>/dev/null || true
  rm -rf --one-file-system "$run"
}

[[ $(id -u) -eq 0 ]] || fail "needs root"
command=${1:-}
(($#)) && shift
case $command in
  up | down) "$command" ;;
  import) import "${1:?kube_node: import FILE.tar}" ;;
  run) inside env KUBECONFIG="$run/kubeconfig" PATH="$run/tools:$PATH" "$@" ;;
  *) sed -n '2,/^set/{/^#/p}' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
