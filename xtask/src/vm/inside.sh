# What runs in the virtual machine: the tests of the list, one line each: a folder, a program, and its arguments.
# The first serial port is the kernel's, the second one shows the results.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
stty -F /dev/ttyS1 raw
exec </dev/null >/dev/ttyS1 2>&1
ip link set lo up
hostname vm
ulimit -n 1048576
dmesg -n 3
. /mnt/environment
uname -sr
failed=0
while read -r folder program arguments; do
	name=$(basename "${program%-*}")
	echo "$name:"
	cd "$folder" || exit
	# shellcheck disable=SC2086 # they are words
	"$program" $arguments --show-output >"/mnt/$name.log" 2>&1
	status=$?
	# Of the tests that passed only their names.
	sed '/^successes:$/,/^\(failures:\|test result\)/{/^test result/!d}' "/mnt/$name.log"
	[ $status = 0 ] || failed=$((failed + 1))
done </mnt/list
echo "skipped, and why:"
grep -hs '^skipped: ' /mnt/*.log | sort | uniq -c
dmesg >/mnt/dmesg
echo $failed >/mnt/failed
sync
echo o >/proc/sysrq-trigger
