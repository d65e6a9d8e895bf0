/* Two sockets that cannot be saved, found in one walk: one with an eBPF filter, one of another network namespace. */
#include "../inet.h"
#include "../bpf.h"
#ifndef SO_ATTACH_BPF
#define SO_ATTACH_BPF 50
#endif
/* Takes four bytes of each datagram. */
static void attach(int fd)
{
	struct bpf_insn code[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 8 + 4 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr = { .prog_type = BPF_PROG_TYPE_SOCKET_FILTER, .insns = (uint64_t)code, .insn_cnt = 2,
				.license = (uint64_t) "GPL" };
	int program = bpf(BPF_PROG_LOAD, &attr);
	if (program < 0)
		SKIP("BPF_PROG_LOAD: %s", strerror(errno));
	OK(setsockopt(fd, SOL_SOCKET, SO_ATTACH_BPF, &program, sizeof program));
	close(program);
}
int main(void)
{
	char buf[16];
	union addr to;
	int filtered = bound(AF_INET, SOCK_DGRAM), away[2];
	attach(filtered);
	int own = OK(open("/proc/self/ns/net", O_RDONLY));
	OK(unshare(CLONE_NEWNET));
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, away));
	OK(setns(own, CLONE_NEWNET));
	close(own);
	checkpoint();
	socklen_t n = loopback(&to, AF_INET, port_of(filtered));
	EQ(sendto(filtered, "longer", 6, 0, &to.sa, n), 6);
	EQ(recv(filtered, buf, sizeof buf, 0), 4);
	EQ(write(away[0], "x", 1), 1);
	EQ(read(away[1], buf, 1), 1);
	return pass();
}
