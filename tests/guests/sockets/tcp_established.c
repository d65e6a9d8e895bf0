/* Established connections of both families, both ends in the tree, data unread in both directions. */
#include "../inet.h"
int main(void)
{
	int l[2], c[2], s[2], from[2];
	static char bulk[100000], got[100000];
	fill(bulk, sizeof bulk, 9);
	for (int i = 0; i < 2; i++) {
		l[i] = -1;
		if (!have(families[i]))
			continue;
		l[i] = listener(families[i], 8);
		tcp_pair(families[i], l[i], &c[i], &s[i]);
		from[i] = port_of(c[i]);
		EQ(write(c[i], bulk, 60000), 60000);
		EQ(write(s[i], "to client", 9), 9);
		read_all(s[i], got, 1000);
	}
	checkpoint();
	for (int i = 0; i < 2; i++) {
		if (l[i] < 0)
			continue;
		EQ(port_of(c[i]), from[i]);
		read_all(s[i], got, 59000);
		CHECK(!memcmp(got, bulk + 1000, 59000));
		read_all(c[i], got, 9);
		CHECK(!memcmp(got, "to client", 9));
		for (int k = 0; k < 50; k++) { /* the connection carries data both ways */
			EQ(write(c[i], bulk, 1000), 1000);
			read_all(s[i], got, 1000);
			CHECK(!memcmp(got, bulk, 1000));
			EQ(write(s[i], got, 500), 500);
			read_all(c[i], got, 500);
		}
		close(c[i]);
		EQ(read(s[i], got, 1), 0);
	}
	return pass();
}
