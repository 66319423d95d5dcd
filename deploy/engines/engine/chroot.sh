# Runs a command as user postgres in a chroot, as this very process, in a mount namespace of its own
# (unshare --mount), so that the mounts end with it.
# $1 chroot, $2 directory shown at /mnt, $3 signal when the parent ends, or clear; then the command
set -e
root=$1 data=$2 death=$3
shift 3
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount --bind "$data" "$root/mnt"
exec chroot "$root" setpriv --reuid postgres --regid postgres --init-groups --pdeathsig "$death" \
	env -i HOME=/mnt LANG=C.UTF-8 PATH=/usr/lib/postgresql/18/bin:/usr/bin:/bin "$@"
