/* A fanout group of two sockets with a flag, and the group 0 of the first type. */
#include "../packet.h"
int main(void)
{
	int s[2], zero = pk_socket(SOCK_DGRAM, ETH_TEST + 5), none = pk_socket(SOCK_DGRAM, ETH_TEST + 5);
	int group = (getpid() & 0xffff) | (PACKET_FANOUT_LB | PACKET_FANOUT_FLAG_ROLLOVER) << 16;
	for (int i = 0; i < 2; i++) {
		s[i] = pk_socket(SOCK_DGRAM, ETH_TEST + 5);
		pk_set(s[i], SOL_PACKET, PACKET_FANOUT, group);
	}
	pk_set(zero, SOL_PACKET, PACKET_FANOUT, 0);
	checkpoint();
	for (int i = 0; i < 2; i++)
		EQ(pk_get(s[i], SOL_PACKET, PACKET_FANOUT), group);
	int again = 0;
	ERR(setsockopt(zero, SOL_PACKET, PACKET_FANOUT, &again, sizeof again), EALREADY);
	OK(setsockopt(none, SOL_PACKET, PACKET_FANOUT, &group, sizeof group));
	pk_send(ETH_TEST + 5, "one");
	pk_expect(zero, 0, "one");
	return pass();
}
