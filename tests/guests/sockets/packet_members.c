/* Memberships: a multicast address joined twice, promiscuous mode, all multicasts. */
#include "../packet.h"
#include <linux/netlink.h>
#include <linux/packet_diag.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
static void member(int fd, int option, int type, unsigned char last)
{
	struct packet_mreq m = {.mr_ifindex = OK(if_nametoindex("lo")), .mr_type = type};
	if (type == PACKET_MR_MULTICAST) {
		m.mr_alen = 6;
		memcpy(m.mr_address, (unsigned char[]){1, 0, 0x5e, 1, 2, last}, 6);
	}
	OK(setsockopt(fd, SOL_PACKET, option, &m, sizeof m));
}
/* How often the kernel says that the socket has joined. */
static unsigned count(int fd, int type, unsigned char last)
{
	struct {
		struct nlmsghdr h;
		struct packet_diag_req r;
	} q = {{sizeof q, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0},
	       {.sdiag_family = AF_PACKET, .pdiag_show = PACKET_SHOW_MCLIST}};
	static char answer[1 << 16] __attribute__((aligned(8)));
	struct stat st;
	unsigned found = 0;
	OK(fstat(fd, &st));
	int diag = OK(socket(AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG));
	EQ(send(diag, &q, sizeof q, 0), sizeof q);
	for (;;) {
		int n = OK(recv(diag, answer, sizeof answer, 0));
		struct nlmsghdr *h = (void *)answer;
		for (; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
			if (h->nlmsg_type == NLMSG_DONE) {
				close(diag);
				return found;
			}
			if (h->nlmsg_type == NLMSG_ERROR)
				SKIP("the kernel has no packet_diag");
			struct packet_diag_msg *m = NLMSG_DATA(h);
			int rest = h->nlmsg_len - NLMSG_LENGTH(sizeof *m);
			struct rtattr *a = (void *)(m + 1);
			for (; m->pdiag_ino == st.st_ino && RTA_OK(a, rest); a = RTA_NEXT(a, rest)) {
				if (a->rta_type != PACKET_DIAG_MCLIST)
					continue;
				struct packet_diag_mclist *l = RTA_DATA(a);
				for (; (char *)(l + 1) <= (char *)a + a->rta_len; l++)
					if (l->pdmc_type == type && (type != PACKET_MR_MULTICAST || l->pdmc_addr[5] == last))
						found += l->pdmc_count;
			}
		}
	}
}
int main(void)
{
	int fd = pk_socket(SOCK_RAW, 0);
	member(fd, PACKET_ADD_MEMBERSHIP, PACKET_MR_MULTICAST, 3);
	member(fd, PACKET_ADD_MEMBERSHIP, PACKET_MR_MULTICAST, 3);
	member(fd, PACKET_ADD_MEMBERSHIP, PACKET_MR_MULTICAST, 4);
	member(fd, PACKET_ADD_MEMBERSHIP, PACKET_MR_PROMISC, 0);
	member(fd, PACKET_ADD_MEMBERSHIP, PACKET_MR_ALLMULTI, 0);
	checkpoint();
	EQ(count(fd, PACKET_MR_MULTICAST, 3), 2);
	EQ(count(fd, PACKET_MR_MULTICAST, 4), 1);
	EQ(count(fd, PACKET_MR_MULTICAST, 5), 0);
	EQ(count(fd, PACKET_MR_PROMISC, 0), 1);
	EQ(count(fd, PACKET_MR_ALLMULTI, 0), 1);
	EQ(count(fd, PACKET_MR_UNICAST, 0), 0);
	member(fd, PACKET_DROP_MEMBERSHIP, PACKET_MR_MULTICAST, 3);
	member(fd, PACKET_DROP_MEMBERSHIP, PACKET_MR_PROMISC, 0);
	EQ(count(fd, PACKET_MR_MULTICAST, 3), 1);
	EQ(count(fd, PACKET_MR_PROMISC, 0), 0);
	return pass();
}
