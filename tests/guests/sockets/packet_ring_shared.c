/* A ring that a child maps too, which has closed its descriptor. */
#include "../packet_ring.h"
int main(void)
{
	int fd = pk_socket(SOCK_DGRAM, 0);
	pk_set(fd, SOL_PACKET, PACKET_VERSION, TPACKET_V2);
	ring_make(fd, PACKET_RX_RING, TPACKET_V2);
	char *ring = map(RING, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	pk_bind(fd, ETH_TEST + 4, OK(if_nametoindex("lo")));
	struct latch up = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		close(fd);
		latch_open(up);
		wait_go();
		volatile struct tpacket2_hdr *h = (void *)ring;
		while (!(h->tp_status & TP_STATUS_USER))
			usleep(1000);
		_exit(0);
	}
	latch_wait(up);
	checkpoint();
	pk_send(ETH_TEST + 4, "for both");
	reap_ok(child);
	ring_expect(fd, ring, "for both");
	return pass();
}
