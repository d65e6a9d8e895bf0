/* A connection half open at the listening side (SYN_RECV), which is nobody's socket yet: it is not saved, and comes
 * about all the same, for the other side asks again. */
#include "../inet.h"
/* Requests for connections to this port that were answered, and whose answer was not confirmed. */
static int requests(int family, int port)
{
	char line[512];
	int found = 0;
	FILE *f = fopen(family == AF_INET ? "/proc/self/net/tcp" : "/proc/self/net/tcp6", "r");
	CHECK(f);
	while (fgets(line, sizeof line, f)) {
		char local[64], remote[64];
		unsigned state;
		if (sscanf(line, "%*s %63s %63s %x", local, remote, &state) == 3)
			found += state == TCP_SYN_RECV && strtol(strchr(local, ':') + 1, NULL, 16) == port;
	}
	fclose(f);
	return found;
}
int main(void)
{
	int l[2], c[2];
	for (int i = 0; i < 2; i++) {
		union addr a;
		l[i] = -1;
		if (!have(families[i]))
			continue;
		l[i] = listener(families[i], 4);
		c[i] = OK(socket(families[i], SOCK_STREAM | SOCK_NONBLOCK, 0));
		deaf(c[i], true);
		ERR(connect(c[i], &a.sa, loopback(&a, families[i], port_of(l[i]))), EINPROGRESS);
		CHECK(requests(families[i], port_of(l[i])) > 0); /* the table may show one more than once */
	}
	checkpoint();
	for (int i = 0; i < 2; i++) {
		if (l[i] < 0)
			continue;
		struct pollfd p = { c[i], POLLOUT, 0 };
		EQ(tcp_state(c[i]), TCP_SYN_SENT);
		deaf(c[i], false);
		int s = OK(accept(l[i], NULL, NULL));
		EQ(poll(&p, 1, 20000), 1);
		EQ(opt(c[i], SOL_SOCKET, SO_ERROR), 0);
		OK(fcntl(c[i], F_SETFL, 0));
		talk(c[i], s);
	}
	return pass();
}
