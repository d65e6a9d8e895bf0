/* A connection that connection tracking follows: what the firewall thinks of it is still right after the restore. */
#include "../inet.h"
#include "../nftables.h"
/* Entries of connection tracking for this port that are in this state. */
static int tracked(int port, const char *state)
{
	char line[512], name[32];
	int found = 0;
	FILE *f = fopen("/proc/self/net/nf_conntrack", "r");
	if (!f)
		SKIP("/proc/net/nf_conntrack: %s", strerror(errno));
	snprintf(name, sizeof name, "sport=%d ", port);
	while (fgets(line, sizeof line, f))
		found += strstr(line, name) && strstr(line, state);
	fclose(f);
	return found;
}
int main(void)
{
	int l[2], c[2], s[2];
	drop_untracked();
	for (int i = 0; i < 2; i++) {
		l[i] = -1;
		if (!have(families[i]))
			continue;
		l[i] = listener(families[i], 2);
		tcp_pair(families[i], l[i], &c[i], &s[i]);
		talk(c[i], s[i]);
		EQ(tracked(port_of(c[i]), "ESTABLISHED"), 1);
		write_all(c[i], "ahead", 5);
	}
	checkpoint();
	for (int i = 0; i < 2; i++) {
		char buf[8];
		if (l[i] < 0)
			continue;
		EQ(tracked(port_of(c[i]), "ESTABLISHED"), 1);
		read_all(s[i], buf, 5);
		talk(c[i], s[i]);
		talk(s[i], c[i]);
		EQ(tracked(port_of(c[i]), "ESTABLISHED"), 1);
		/* It sees the end of it. */
		OK(shutdown(c[i], SHUT_WR));
		at_end(s[i]);
		OK(shutdown(s[i], SHUT_WR));
		at_end(c[i]);
		EQ(tracked(port_of(c[i]), "ESTABLISHED"), 0);
	}
	return pass();
}
