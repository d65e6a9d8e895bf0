/* A stream through three processes and two pipes: no byte is lost, added or changed. */
#include "../motion.h"
int main(void)
{
	int a[2], b[2], told[2];
	uint64_t sent, got;
	motion_begin();
	OK(pipe(a));
	OK(pipe(b));
	OK(pipe(told));
	OK(fcntl(b[1], F_SETPIPE_SZ, 4096));
	pid_t writer = CHILD(
		close(a[0]); close(b[0]); close(b[1]); close(told[0]);
		sent = stream_send(a[1], 3, 9000);
		EQ(write(told[1], &sent, 8), 8));
	pid_t middle = CHILD(
		close(a[1]); close(b[0]); close(told[0]); close(told[1]);
		unsigned char piece[5000];
		ssize_t n;
		while ((n = read(a[0], piece, sizeof piece)) != 0) {
			OK(n);
			for (ssize_t done = 0; done < n;)
				done += OK(write(b[1], piece + done, n - done));
		});
	close(a[0]);
	close(a[1]);
	close(b[1]);
	close(told[1]);
	in_motion();
	got = stream_receive(b[0], 5, 7000, "the second pipe");
	EQ(read(told[0], &sent, 8), 8);
	EQ(got, sent);
	reap_ok(writer);
	reap_ok(middle);
	return pass();
}
