/* A netlink socket with an answer that was not read. */
#include "../netlink.h"
int main(void)
{
	int fd = nl_socket(SOCK_RAW, NETLINK_ROUTE);
	struct {
		struct nlmsghdr h;
		struct ifinfomsg i;
	} q = {{sizeof q, RTM_GETLINK, NLM_F_REQUEST, 7, 0}, {.ifi_index = 1}};
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	char answer[8192];
	EQ(sendto(fd, &q, sizeof q, 0, (void *)&kernel, sizeof kernel), sizeof q);
	checkpoint();
	CHECK(recv(fd, answer, sizeof answer, 0) > (ssize_t)sizeof(struct nlmsghdr));
	EQ(((struct nlmsghdr *)answer)->nlmsg_type, RTM_NEWLINK);
	return pass();
}
