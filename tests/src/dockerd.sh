# Becomes dockerd in namespaces of its own: $1 is the host's name, $2 its directory, $3 the lab's prefix.
# What dockerd would write to /run and /etc/docker goes away with its mounts.
set -e
hostname "$1"
mount -t tmpfs tmpfs /run
[ ! -d /etc/docker ] || mount -t tmpfs tmpfs /etc/docker
[ ! -d /var/run ] || [ -L /var/run ] || mount -t tmpfs tmpfs /var/run
exec dockerd --data-root "$2/data" --exec-root /run/docker --pidfile /run/docker.pid --host "unix://$2/docker.sock" \
    --cgroup-parent "/$3" --exec-opt native.cgroupdriver=cgroupfs --shutdown-timeout 2
