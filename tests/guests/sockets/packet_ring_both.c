/* Receive and send rings of one socket in one mapping, version 1; sending through it. */
#include "../packet_ring.h"
int main(void)
{
	int fd = pk_socket(SOCK_DGRAM, 0), listener = pk_socket(SOCK_DGRAM, ETH_TEST + 2);
	ring_make(fd, PACKET_RX_RING, TPACKET_V1);
	ring_make(fd, PACKET_TX_RING, TPACKET_V1);
	char *ring = map(2 * RING, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	pk_bind(fd, ETH_TEST + 2, OK(if_nametoindex("lo")));
	checkpoint();
	struct tpacket_hdr *h = (void *)(ring + RING);
	EQ(h->tp_status, TP_STATUS_AVAILABLE);
	const char *text = "out of the ring";
	memcpy((char *)h + TPACKET_HDRLEN - sizeof(struct sockaddr_ll), text, strlen(text));
	h->tp_len = strlen(text);
	h->tp_status = TP_STATUS_SEND_REQUEST;
	EQ(send(fd, NULL, 0, 0), strlen(text));
	pk_expect(listener, 0, text);
	return pass();
}
