/* Rings of packet sockets, mapped. */
#include "packet.h"
enum { BLOCKS = 4, BLOCK = 8192, FRAME = 2048, RING = BLOCKS * BLOCK };
static inline void ring_make(int fd, int option, int version)
{
	struct tpacket_req3 r = {BLOCK, BLOCKS, FRAME, RING / FRAME, option == PACKET_RX_RING ? 20 : 0, 0, 0};
	OK(setsockopt(fd, SOL_PACKET, option, &r, version == TPACKET_V3 ? sizeof r : sizeof(struct tpacket_req)));
}
/* Waits for a frame with the text in a fresh ring of version 2. */
static inline void ring_expect(int fd, char *ring, const char *text)
{
	struct pollfd p = {fd, POLLIN, 0};
	for (int i = 0;; i = (i + 1) % (RING / FRAME)) {
		volatile struct tpacket2_hdr *h = (void *)(ring + i * FRAME);
		while (!(h->tp_status & TP_STATUS_USER))
			EQ(poll(&p, 1, 5000), 1);
		bool found = !memcmp((char *)h + h->tp_net, text, strlen(text));
		h->tp_status = TP_STATUS_KERNEL;
		if (found)
			return;
	}
}
