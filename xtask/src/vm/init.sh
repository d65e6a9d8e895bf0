#!/bin/busybox sh
# The first program of the virtual machine: its root is the host's, under an overlay that takes what is written.
b=/bin/busybox
fail() { echo "init: $1"; $b poweroff -f; }
$b mount -t proc proc /proc
for module in $($b cat /modules/order); do
	$b insmod "/modules/$module" || fail "load $module"
done
shared=trans=virtio,version=9p2000.L,msize=524288
$b mount -t 9p -o "$shared,ro,cache=loose" root /lower || fail "mount the host's root"
$b mount -t tmpfs -o size=75% tmpfs /upper
$b mkdir /upper/files /upper/work
$b mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /new || fail "mount the overlay"
$b mount -t proc proc /new/proc
$b mount -t sysfs sysfs /new/sys
$b mount -t devtmpfs devtmpfs /new/dev
$b mkdir -p /new/dev/pts /new/dev/shm /new/dev/mqueue /new/lib/modules /new/mnt
$b mount -t devpts -o ptmxmode=666 devpts /new/dev/pts
$b mount -t mqueue mqueue /new/dev/mqueue
for folder in dev/shm tmp run; do
	$b mount -t tmpfs tmpfs /new/$folder
done
$b mount -t cgroup2 cgroup2 /new/sys/fs/cgroup
$b mount -t securityfs securityfs /new/sys/kernel/security
$b mount -t tracefs tracefs /new/sys/kernel/tracing
$b mount -t bpf bpf /new/sys/fs/bpf
$b mount -t 9p -o "$shared" run /new/mnt || fail "mount the folder of the run"
$b mount --bind "/lower$($b cat /modules/folder)" /new/lib/modules || fail "mount the modules"
$b umount /proc
exec $b switch_root /new /bin/bash /mnt/inside.sh
