/* Multicast groups: by bind(2), by option, beyond the 32 that an address can name, with and without a port id. */
#include "../netlink.h"
int main(void)
{
	uint32_t w[8];
	int bound = nl_socket(SOCK_RAW, NETLINK_ROUTE), loose = nl_socket(SOCK_RAW, NETLINK_ROUTE),
	    first = nl_socket(SOCK_RAW, NETLINK_USERSOCK);
	nl_bind(bound, 0, 1u << (RTNLGRP_DCB - 1));
	nl_join(bound, RTNLGRP_BRVLAN);
	nl_join(loose, RTNLGRP_MPLS_NETCONF);
	nl_join(loose, RTNLGRP_BRVLAN);
	nl_bind(first, 0, 0x80000001u);
	checkpoint();
	nl_members(bound, w);
	EQ(w[0], 1u << (RTNLGRP_DCB - 1));
	EQ(w[1], 1u << (RTNLGRP_BRVLAN - 33));
	EQ(nl_name(bound).nl_groups, 1u << (RTNLGRP_DCB - 1));
	nl_members(loose, w);
	EQ(w[0], 1u << (RTNLGRP_MPLS_NETCONF - 1));
	EQ(w[1], 1u << (RTNLGRP_BRVLAN - 33));
	EQ(nl_name(loose).nl_pid, 0);
	nl_members(first, w);
	EQ(w[0], 0x80000001u);
	return pass();
}
