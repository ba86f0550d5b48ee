#!/usr/bin/env bash
# make_disk.sh <folder> <parts>: make <folder>/{disk.raw,vmlinuz,initrd,key}, a Debian on which minikube (driver none) or kubeadm finds what
# it needs and nothing is fetched: containerd runs, and /opt/parts holds the node's binaries and images, with SHA256SUMS.
#
# <parts> holds, as their projects release them or built from their Go modules (tasks/parts.yml does that), what $binaries and $manifests
# name. The images are made here of these binaries, by image.py, under the names that kubeadm and Flux ask for (vars/main.yml).
# Needs root (debootstrap), debootstrap, e2fsprogs, gcc with a static libc, openssh-client, python3.
set -euo pipefail
folder=$1 parts=$(realpath "$2")
here=$(realpath "$(dirname "$0")")
suite=${KJOULE_DISK_SUITE:-bookworm}
mirror=${KJOULE_DISK_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -n 1)}
kubernetes=v1.36.1
declare -A flux=([source-controller]=v1.9.3 [kustomize-controller]=v1.9.6)
packages=systemd-sysv,systemd,dbus,udev,linux-image-cloud-amd64,initramfs-tools,openssh-server,iproute2,iptables,ca-certificates,curl,procps,kmod,runc
packages=$packages,containernetworking-plugins,busybox-static,socat,conntrack,ethtool,ebtables,util-linux,netbase,libpam-systemd,python3,git,sudo

[ "$(id -u)" = 0 ] || { echo "make_disk.sh needs root, because debootstrap does. Next: sudo $0 $*" >&2; exit 1; }
for command in debootstrap mke2fs gcc ssh-keygen python3; do
  command -v "$command" > /dev/null || { echo "make_disk.sh: no $command. Next: apt install debootstrap e2fsprogs gcc libc6-dev openssh-client" >&2; exit 1; }
done
binaries="minikube kubelet kubeadm kubectl kube-proxy kube-apiserver kube-controller-manager kube-scheduler etcd coredns containerd containerd-shim-runc-v2 ctr crictl source-controller kustomize-controller"
manifests=$(for name in "${!flux[@]}"; do echo "$name.crds.yaml" "$name.deployment.yaml"; done)
for name in $binaries $manifests; do
  [ -e "$parts/$name" ] || { echo "make_disk.sh: no $name in $parts. Next: put it there; the head of $0 says what is needed" >&2; exit 1; }
done
umask 022
mkdir -p "$folder"
work=$(mktemp -d "$folder/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

root=$work/root
debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$mirror" > "$folder/debootstrap.log" 2>&1 || { tail -n 5 "$folder/debootstrap.log" >&2; exit 1; }
rm -f "$root"/var/cache/apt/archives/*.deb

# Iptables for kube-proxy: the command, its plug-ins and every library that they name.
libraries=$(chroot "$root" sh -c 'ldd /usr/sbin/xtables-nft-multi /usr/lib/x86_64-linux-gnu/xtables/*.so' | grep -o '/[^ ]*\.so[^ ]*' | grep -v : | sort -u)
proxy=()
for path in $libraries /usr/sbin/xtables-nft-multi $(cd "$root" && ls usr/lib/x86_64-linux-gnu/xtables/*.so | sed 's|^|/|'); do proxy+=(--file "$root$path=$path"); done
for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do proxy+=(--link "xtables-nft-multi=/usr/sbin/$name"); done

opt=$root/opt/parts
mkdir -p "$opt/images"
gcc -Os -static -o "$work/pause" "$here/pause.c"
image() { local name=$1; shift; python3 "$here/image.py" "$opt/images/$name.tar" "$@"; }
registry=registry.k8s.io
for name in kube-apiserver kube-controller-manager kube-scheduler; do
  image "$name" --tag "$registry/$name:$kubernetes" --file "$parts/$name=/usr/local/bin/$name"
done
image kube-proxy --tag "$registry/kube-proxy:$kubernetes" --file "$parts/kube-proxy=/usr/local/bin/kube-proxy" --directory /run "${proxy[@]}"
image etcd --tag "$registry/etcd:3.6.8-0" --file "$parts/etcd=/usr/local/bin/etcd"
image coredns --tag "$registry/coredns/coredns:v1.14.2" --file "$parts/coredns=/coredns" --entrypoint /coredns
image pause --tag "$registry/pause:3.10.2" --tag "$registry/pause:3.10.1" --tag "$registry/pause:3.10" --file "$work/pause=/pause" --entrypoint /pause
for name in "${!flux[@]}"; do
  image "$name" --tag "ghcr.io/fluxcd/$name:${flux[$name]}" --file "$parts/$name=/usr/local/bin/$name" --directory /tmp --directory /data \
    --entrypoint "/usr/local/bin/$name" --user 65534:65534
done
# The workload: a shell that counts. Several names of one image, so that an update of the image has something to go to.
image work --tag kjoule.local/work:1 --tag kjoule.local/work:2 --file "$root/bin/busybox=/bin/busybox" --link busybox=/bin/sh --link busybox=/bin/sleep

bin=$root/usr/local/bin
install -m 0755 -t "$bin" "$parts"/{containerd,containerd-shim-runc-v2,ctr,crictl,kubectl}
install -m 0755 -t "$opt" "$parts"/{minikube,kubelet,kubeadm,kubectl}
install -m 0644 -t "$opt" "$parts"/*.yaml
# Probes that are patient: under emulation a controller may need half a minute before it answers, and would be ended for that.
sed -i 's/^\( *\)livenessProbe:$/&\n\1  failureThreshold: 30\n\1  timeoutSeconds: 10/' "$opt"/*.deployment.yaml
# kubeadm, told to be patient: under emulation the API server takes minutes to answer, and minikube's configuration of kubeadm gives it one.
mv "$opt/kubeadm" "$opt/kubeadm.real"
install -m 0755 /dev/stdin "$opt/kubeadm" <<'WRAPPER'
#!/bin/sh
for argument; do
  case $argument in
    *kubeadm.yaml) grep -q '^timeouts:' "$argument" || sed -i 's/^kind: InitConfiguration$/&\ntimeouts: {kubernetesAPICall: 15m0s, controlPlaneComponentHealthCheck: 15m0s, kubeletHealthCheck: 15m0s, tlsBootstrap: 15m0s}/' "$argument" ;;
  esac
done
exec /opt/parts/kubeadm.real "$@"
WRAPPER
(cd "$opt" && sha256sum minikube kubelet kubeadm kubectl images/*.tar > SHA256SUMS)

[ -f "$folder/key" ] || ssh-keygen -q -t ed25519 -N '' -C kjoule-test -f "$folder/key"
home=$root$(chroot "$root" sh -c 'echo ~root')
install -d -m 0700 "$home/.ssh"
install -m 0600 "$folder/key.pub" "$home/.ssh/authorized_keys"
echo node > "$root/etc/hostname"
# Look-ups of newer versions fail at once.
printf '127.0.0.1 localhost dl.k8s.io storage.googleapis.com api.github.com github.com registry.k8s.io gcr.io\n127.0.1.1 node\n' > "$root/etc/hosts"
echo '/dev/vda / ext4 errors=remount-ro 0 1' > "$root/etc/fstab"
# With restrict=on qemu's network gives no gateway, and minikube looks for the node's address along the default route.
printf '[Match]\nName=en*\n[Network]\nAddress=10.0.2.15/24\nGateway=10.0.2.2\nLinkLocalAddressing=no\nIPv6AcceptRA=no\n' > "$root/etc/systemd/network/20-wired.network"
printf 'net.ipv6.conf.all.disable_ipv6=1\nnet.ipv4.ip_forward=1\nnet.bridge.bridge-nf-call-iptables=1\n' > "$root/etc/sysctl.d/90-node.conf"
printf 'overlay\nbr_netfilter\nnf_conntrack\n' > "$root/etc/modules-load.d/node.conf"
mkdir -p "$root/opt/cni" "$root/etc/containerd" "$root/etc/cni/net.d"
ln -s /usr/lib/cni "$root/opt/cni/bin"
cat > "$root/etc/containerd/config.toml" <<'CONFIG'
version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = 'registry.k8s.io/pause:3.10.2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = true
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['/opt/cni/bin']
  conf_dir = '/etc/cni/net.d'
CONFIG
cat > "$root/etc/systemd/system/containerd.service" <<'UNIT'
[Unit]
After=network.target
[Service]
Type=notify
ExecStart=/usr/local/bin/containerd
Delegate=yes
KillMode=process
Restart=always
OOMScoreAdjust=-999
LimitNOFILE=1048576
TasksMax=infinity
[Install]
WantedBy=multi-user.target
UNIT
chroot "$root" systemctl -q enable systemd-networkd ssh containerd
chroot "$root" update-initramfs -u > "$folder/initramfs.log" 2>&1

cp "$root"/boot/vmlinuz-* "$folder/vmlinuz"
cp "$root"/boot/initrd.img-* "$folder/initrd"
truncate -s 16G "$work/disk.raw"
mke2fs -q -F -t ext4 -O ^metadata_csum_seed -d "$root" "$work/disk.raw"
mv "$work/disk.raw" "$folder/disk.raw"
