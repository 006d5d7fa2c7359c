# Takes a lab down: $1 is the prefix of its namespaces, $2 its directory.
# Started beside every lab with a pipe as standard input. The pipe says "done" when the lab is dropped, and ends
# without a word when the process that owned the lab died, by whatever signal.
trap '' INT TERM HUP
sweep() {
    prefix=$1 holders=
    set --
    for path in /run/netns/"$prefix"-*; do
        [ -e "$path" ] || continue
        # As long as it is held open, no other namespace gets its number.
        exec 3<"$path"
        sleep 60 <&3 &
        exec 3<&-
        holders="$holders $!"
        set -- "$@" -o -lname "net:\\[$(stat -L -c %i "$path")\\]"
        ip netns del "${path##*/}" 2>/dev/null
    done
    # By number, when nobody can enter by name any more: who was on its way in is found, too.
    for path in $(find /proc/[0-9]*/ns/net -false "$@" 2>/dev/null); do
        pid=${path#/proc/}
        kill -9 "${pid%%/*}" 2>/dev/null
    done
    [ -z "$holders" ] || kill -9 $holders
}
read -r word
sweep "$1"
if [ "$word" != done ]; then
    # A command that the dead process had just started may have made one thing more.
    sleep 0.3
    sweep "$1"
fi
rm -rf "$2"
# Cgroups of containers, if it had any: they can go as soon as the last process in them has.
for group in /sys/fs/cgroup/*/"$1" /sys/fs/cgroup/"$1"; do
    for try in 1 2 3 4 5 6 7 8 9 10; do
        [ -d "$group" ] || break
        find "$group" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
    done
done
