/* A mapped receive ring of version 2. */
#include "../packet_ring.h"
int main(void)
{
	int fd = pk_socket(SOCK_DGRAM, 0);
	pk_set(fd, SOL_PACKET, PACKET_VERSION, TPACKET_V2);
	ring_make(fd, PACKET_RX_RING, TPACKET_V2);
	char *ring = map(RING, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	pk_bind(fd, ETH_TEST + 1, OK(if_nametoindex("lo")));
	checkpoint();
	EQ(pk_get(fd, SOL_PACKET, PACKET_VERSION), TPACKET_V2);
	char name[64];
	struct stat st;
	OK(fstat(fd, &st));
	snprintf(name, sizeof name, "socket:[%lu]", (unsigned long)st.st_ino);
	CHECK(strstr(maps_line(ring), name));
	pk_send(ETH_TEST + 1, "into the ring");
	ring_expect(fd, ring, "into the ring");
	/* The rings cannot be changed while they are mapped. */
	struct tpacket_req none = {0};
	ERR(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &none, sizeof none), EBUSY);
	OK(munmap(ring, RING));
	OK(setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &none, sizeof none));
	return pass();
}
