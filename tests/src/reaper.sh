# Takes a lab down: $1 is the prefix of its namespaces, $2 its directory.
# Started beside every lab with a pipe as standard input. The pipe says "done" when the lab is dropped, and ends
# without a word when the process that owned the lab died, by whatever signal.
trap '' INT TERM HUP
sweep() {
    for path in /run/netns/"$1"-*; do
        [ -e "$path" ] || continue
        for pid in $(ip netns pids "${path##*/}"); do kill -9 "$pid" 2>/dev/null; done
        ip netns del "${path##*/}" 2>/dev/null
    done
}
read -r word
sweep "$1"
if [ "$word" != done ]; then
    # A command that the dead process had just started may have made one thing more.
    sleep 0.3
    sweep "$1"
fi
rm -rf "$2"
