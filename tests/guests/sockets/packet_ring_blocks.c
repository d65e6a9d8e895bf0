/* A mapped ring of version 3, with room of the program's own in each block; and one that is not mapped. */
#include "../packet_ring.h"
int main(void)
{
	int fd = pk_socket(SOCK_RAW, 0), bare = pk_socket(SOCK_RAW, 0);
	struct tpacket_req3 r = {BLOCK, BLOCKS, FRAME, RING / FRAME, 30, 64, TP_FT_REQ_FILL_RXHASH};
	pk_set(fd, SOL_PACKET, PACKET_VERSION, TPACKET_V3);
	OK(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &r, sizeof r));
	char *ring = map(RING, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	pk_bind(fd, ETH_TEST + 3, OK(if_nametoindex("lo")));
	pk_set(bare, SOL_PACKET, PACKET_VERSION, TPACKET_V2);
	ring_make(bare, PACKET_RX_RING, TPACKET_V2);
	checkpoint();
	EQ(pk_get(fd, SOL_PACKET, PACKET_VERSION), TPACKET_V3);
	pk_send(ETH_TEST + 3, "into a block");
	struct pollfd p = {fd, POLLIN, 0};
	EQ(poll(&p, 1, 5000), 1);
	struct tpacket_block_desc *b = (void *)ring;
	CHECK(b->hdr.bh1.block_status & TP_STATUS_USER);
	CHECK(b->hdr.bh1.num_pkts >= 1);
	CHECK(b->hdr.bh1.offset_to_first_pkt >= sizeof *b + 64);
	char *unmapped = map(RING, PROT_READ, MAP_SHARED, bare, 0);
	zeroed(unmapped, 16, "a fresh ring");
	return pass();
}
