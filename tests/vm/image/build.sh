#!/bin/bash
# A bootable Debian guest that dumps its kernel when it panics: disk.img, vmlinuz, initrd.img, kernel (its version),
# host_key.pub and root_key(.pub), written into OUT.
#
#   build.sh OUT
#
# Needs root (chroot), debootstrap and e2fsprogs. The mirror is whatever this machine's apt is set up with. No boot
# loader and no mount of the image: QEMU is given kernel and initrd.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$(mkdir -p "$1" && cd "$1" && pwd)
suite=bookworm
flavour=cloud-amd64
root=$out/rootfs
workshop=$out/workshop
began=$(date +%s)

lap() { echo "[$(($(date +%s) - began)) s] $*"; }
unmounted() {
    for folder in "$root" "$workshop"; do
        if mountpoint -q "$folder/proc"; then umount "$folder/proc"; fi
    done
}
trap unmounted EXIT
# NAME command…: its output goes to NAME.log, and is shown when it fails
logged() {
    log=$out/$1.log
    shift
    "$@" >>"$log" 2>&1 || { tail -n 30 "$log" >&2; exit 1; }
}
inside() { # FOLDER command…
    chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C DEBIAN_FRONTEND=noninteractive "${@:2}"
}

[ "$(id -u)" = 0 ] || { echo "the image is made in a chroot: this needs root" >&2; exit 1; }
mirror=$(apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' |
    awk -v suite="$suite" '$1 == suite && $2 == "main" {print $3; exit}')
[ -n "$mirror" ] || { echo "apt has no source for $suite main" >&2; exit 1; }

lap debootstrap
logged debootstrap debootstrap --variant=minbase --include=ca-certificates,initramfs-tools,zstd "$suite" "$root" "$mirror"

lap packages
apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' | sort -u |
    grep -E " $suite(-updates|-security)? main\$" >"$root/etc/apt/sources.list"
apt-config dump | grep -E '^Acquire::(http|https|Check|Retries)' >"$root/etc/apt/apt.conf.d/99build" || true
echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/build"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"
if [ -s /etc/ssl/certs/ca-certificates.crt ]; then
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/ca-certificates.crt.build"
fi
cp /etc/resolv.conf "$root/etc/resolv.conf"
# MODULES=dep would look for the root device of the machine that builds. kdump-tools keeps "list" for its own initrd.
printf 'MODULES=list\nCOMPRESS=zstd\n' >"$root/etc/initramfs-tools/conf.d/guest"
printf '%s\n' virtio_pci virtio_blk ext4 crc32c_generic >>"$root/etc/initramfs-tools/modules"
mount -t proc proc "$root/proc"
printf '%s\n' 'kdump-tools kdump-tools/use_kdump boolean true' 'kexec-tools kexec-tools/load_kexec boolean false' |
    inside "$root" debconf-set-selections
logged packages inside "$root" apt-get -qq update
logged packages inside "$root" apt-get -y --no-install-recommends install systemd-sysv dbus udev kmod procps iproute2 \
    openssh-server sudo curl openssl file dmidecode kdump-tools makedumpfile kexec-tools "linux-image-$flavour"
kernel=$(basename "$(echo "$root"/boot/vmlinuz-*)")
kernel=${kernel#vmlinuz-}

lap "settings for $kernel"
echo crash-lab >"$root/etc/hostname"
printf '127.0.0.1 localhost\n127.0.1.1 crash-lab\n' >"$root/etc/hosts"
echo '/dev/vda / ext4 defaults,errors=remount-ro 0 1' >"$root/etc/fstab"
printf '[Match]\nName=eth*\n[Network]\nDHCP=ipv4\nLinkLocalAddressing=no\n' >"$root/etc/systemd/network/10-guest.network"
mkdir -p "$root/etc/systemd/journald.conf.d" "$root/var/log/journal"
printf '[Journal]\nStorage=persistent\nSystemMaxUse=200M\n' >"$root/etc/systemd/journald.conf.d/guest.conf"
printf 'kernel.sysrq=1\nkernel.panic=5\n' >"$root/etc/sysctl.d/90-guest.conf"
inside "$root" systemctl -q enable systemd-networkd ssh kdump-tools systemd-pstore
inside "$root" systemctl -q mask apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer \
    e2scrub_reap.service getty@tty1.service serial-getty@ttyS0.service
sed -i -E 's/^#?USE_KDUMP=.*/USE_KDUMP=1/' "$root/etc/default/kdump-tools"
inside "$root" passwd -q -l root
ssh-keygen -q -t ed25519 -N '' -C guest-root -f "$out/root_key"
install -d -m 700 "$root/root/.ssh"
install -m 600 "$out/root_key.pub" "$root/root/.ssh/authorized_keys"
cut -d' ' -f1,2 "$root/etc/ssh/ssh_host_ed25519_key.pub" >"$out/host_key.pub"

# kdump-tools makes its initrd and links when a kernel is installed, if it was configured before: not so here. Without
# the copy of the sysctls the first boot would make the initrd again.
mkdir -p "$root/var/lib/kdump"
logged packages inside "$root" /etc/kernel/postinst.d/kdump-tools "$kernel"
inside "$root" ln -sfn "/boot/vmlinuz-$kernel" /var/lib/kdump/vmlinuz
inside "$root" ln -sfn "/var/lib/kdump/initrd.img-$kernel" /var/lib/kdump/initrd.img
cp "$root/etc/kdump/sysctl.conf" "$root/var/lib/kdump/latest_sysctls-$kernel"

# The compiler stays out of the guest: the module is built in a copy of it.
lap module
umount "$root/proc"
cp -a "$root" "$workshop"
mount -t proc proc "$workshop/proc"
mkdir "$workshop/module"
cp "$here"/module/* "$workshop/module/"
logged module inside "$workshop" apt-get -y --no-install-recommends install "linux-headers-$kernel" make
logged module inside "$workshop" make -C /module "KDIR=/lib/modules/$kernel/build"
umount "$workshop/proc"
install -D -m 644 "$workshop/module/labcrash.ko" "$root/lib/modules/$kernel/extra/labcrash.ko"
rm -rf "$workshop"
inside "$root" depmod "$kernel"

lap image
inside "$root" apt-get clean
rm -rf "$root"/var/lib/apt/lists/* "$root/etc/apt/sources.list" "$root/etc/apt/apt.conf.d/99build" \
    "$root/etc/dpkg/dpkg.cfg.d/build" "$root/usr/sbin/policy-rc.d" "$root/etc/ssl/certs/ca-certificates.crt.build" \
    "$root/etc/resolv.conf" "$root/var/log/bootstrap.log"
: >"$root/etc/machine-id"
cp "$root/boot/vmlinuz-$kernel" "$out/vmlinuz"
cp "$root/boot/initrd.img-$kernel" "$out/initrd.img"
echo "$kernel" >"$out/kernel"
truncate -s 2G "$out/disk.img"
mkfs.ext4 -q -F -L root -d "$root" "$out/disk.img"
rm -rf "$root"
lap "done: $(du -h "$out/disk.img" | cut -f1) on disk"
