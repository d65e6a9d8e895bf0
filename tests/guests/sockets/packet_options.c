/* Options of packet sockets, and a filter. */
#include "../packet.h"
#include <linux/filter.h>
#ifndef PACKET_VNET_HDR_SZ
#define PACKET_VNET_HDR_SZ 24
#endif
int main(void)
{
	static const struct {
		int option, value;
	} options[] = {{PACKET_AUXDATA, 1}, {PACKET_ORIGDEV, 1}, {PACKET_VERSION, TPACKET_V2}, {PACKET_RESERVE, 32}, {PACKET_LOSS, 1},
		       {PACKET_VNET_HDR, 1}, {PACKET_TIMESTAMP, 0x10 /* SOF_TIMESTAMPING_SOFTWARE */}, {PACKET_TX_HAS_OFF, 1},
		       {PACKET_QDISC_BYPASS, 1}, {PACKET_IGNORE_OUTGOING, 1}};
	enum { N = sizeof options / sizeof *options };
	int fd = pk_socket(SOCK_RAW, 0), plain = pk_socket(SOCK_RAW, 0), size = pk_socket(SOCK_RAW, 0), was[N];
	for (int i = 0; i < N; i++)
		pk_set(fd, SOL_PACKET, options[i].option, options[i].value);
	for (int i = 0; i < N; i++)
		was[i] = pk_get(fd, SOL_PACKET, options[i].option);
	pk_set(fd, SOL_PACKET, PACKET_COPY_THRESH, 100);
	pk_set(fd, SOL_SOCKET, SO_RCVBUF, 70000);
	pk_set(fd, SOL_SOCKET, SO_PRIORITY, 5);
	struct sock_filter code[] = {{BPF_RET | BPF_K, 0, 0, 96}};
	struct sock_fprog program = {1, code};
	OK(setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program));
	int buffer = pk_get(fd, SOL_SOCKET, SO_RCVBUF), v = 12;
	bool sized = !setsockopt(size, SOL_PACKET, PACKET_VNET_HDR_SZ, &v, sizeof v);
	checkpoint();
	for (int i = 0; i < N; i++)
		EQ(pk_get(fd, SOL_PACKET, options[i].option), was[i]);
	EQ(pk_get(plain, SOL_PACKET, PACKET_AUXDATA), 0);
	EQ(pk_get(plain, SOL_PACKET, PACKET_VERSION), TPACKET_V1);
	EQ(pk_get(fd, SOL_SOCKET, SO_RCVBUF), buffer);
	EQ(pk_get(fd, SOL_SOCKET, SO_PRIORITY), 5);
	struct sock_filter back[4];
	socklen_t n = 4;
	OK(getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, back, &n));
	EQ(n, 1);
	EQ(back[0].k, 96);
	if (sized)
		EQ(pk_get(size, SOL_PACKET, PACKET_VNET_HDR_SZ), 12);
	return pass();
}
