/* A stream over TCP between two processes. */
#include "../motion.h"
#include "../inet.h"
int main(void)
{
	int told[2];
	uint64_t sent, got;
	motion_begin();
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof at;
	int listener = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(bind(listener, (struct sockaddr *)&at, len));
	OK(getsockname(listener, (struct sockaddr *)&at, &len));
	OK(listen(listener, 1));
	int out = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(connect(out, (struct sockaddr *)&at, len));
	int in = OK(accept(listener, NULL, NULL));
	close(listener);
	OK(pipe(told));
	pid_t kid = CHILD(
		close(in); close(told[0]);
		sent = stream_send(out, 9, 60000);
		EQ(write(told[1], &sent, 8), 8));
	close(out);
	close(told[1]);
	in_motion();
	got = stream_receive(in, 23, 50000, "the connection");
	EQ(read(told[0], &sent, 8), 8);
	EQ(got, sent);
	reap_ok(kid);
	return pass();
}
