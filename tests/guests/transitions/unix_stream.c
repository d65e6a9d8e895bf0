/* Streams in both directions of a unix socket pair, between two processes. */
#include "../motion.h"
#include <pthread.h>
static uint64_t sent;
static void *sender(void *fd)
{
	sent = stream_send((int)(long)fd, 17, 20000);
	return NULL;
}
static void side(int fd, const char *name, uint64_t totals[2])
{
	pthread_t t;
	int out = OK(dup(fd));
	EQ(pthread_create(&t, NULL, sender, (void *)(long)out), 0);
	/* The end comes when the other side shuts down, which it does at its own end. */
	unsigned char piece[8192];
	uint64_t got = 0;
	bool closed = false;
	while (!closed) {
		struct pollfd p = { fd, POLLIN, 0 };
		int n = poll(&p, 1, 20);
		if (n < 0 && errno == EINTR)
			continue;
		OK(n);
		if (!n && !moving() && !pthread_tryjoin_np(t, NULL)) {
			OK(shutdown(fd, SHUT_WR));
			t = 0;
			break;
		}
		if (!n)
			continue;
		ssize_t len = OK(read(fd, piece, sizeof piece));
		closed = !len;
		stream_check(piece, got, len, name);
		got += len;
	}
	if (t) {
		pthread_join(t, NULL);
		shutdown(fd, SHUT_WR);
	}
	while (!closed) {
		ssize_t len = OK(read(fd, piece, sizeof piece));
		closed = !len;
		stream_check(piece, got, len, name);
		got += len;
	}
	totals[0] = sent;
	totals[1] = got;
}
int main(void)
{
	int s[2];
	motion_begin();
	uint64_t(*totals)[2] = map(PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	pid_t kid = CHILD(close(s[0]); side(s[1], "the child's side", totals[1]));
	close(s[1]);
	in_motion();
	side(s[0], "the parent's side", totals[0]);
	reap_ok(kid);
	EQ(totals[0][0], totals[1][1]);
	EQ(totals[1][0], totals[0][1]);
	CHECK(totals[0][0] && totals[1][0]);
	return pass();
}
