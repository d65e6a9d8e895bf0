/* A firewall table of this network namespace that looks at what connection tracking says (linux/netfilter/nf_tables.h):
 * it drops what belongs to no connection. */
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
static struct {
	char bytes[8192];
	size_t used, message;
	int count;
} batch;
static inline void append(const void *data, size_t n)
{
	memcpy(batch.bytes + batch.used, data, n);
	batch.used = (batch.used + n + 3) & ~3UL;
}
static inline void message(int type, int flags, int family, int resource)
{
	struct nlmsghdr h = { 0, type, NLM_F_REQUEST | flags, batch.count++, 0 };
	struct nfgenmsg g = { family, NFNETLINK_V0, htons(resource) };
	batch.message = batch.used;
	append(&h, sizeof h);
	append(&g, sizeof g);
}
static inline void complete(void)
{
	((struct nlmsghdr *)(batch.bytes + batch.message))->nlmsg_len = batch.used - batch.message;
}
static inline void attribute(int type, const void *data, size_t n)
{
	struct nlattr a = { sizeof a + n, type };
	append(&a, sizeof a);
	append(data, n);
}
static inline void text(int type, const char *s)
{
	attribute(type, s, strlen(s) + 1);
}
static inline void number(int type, uint32_t n)
{
	n = htonl(n);
	attribute(type, &n, sizeof n);
}
static inline size_t nest(int type)
{
	size_t at = batch.used;
	struct nlattr a = { 0, type | NLA_F_NESTED };
	append(&a, sizeof a);
	return at;
}
static inline void nested(size_t at)
{
	((struct nlattr *)(batch.bytes + at))->nla_len = batch.used - at;
}
static inline size_t expression(const char *name, size_t *data)
{
	size_t at = nest(NFTA_LIST_ELEM);
	text(NFTA_EXPR_NAME, name);
	*data = nest(NFTA_EXPR_DATA);
	return at;
}
/* table inet tracking { chain input { type filter hook input priority 0; ct state & invalid != 0 drop } } */
static inline void drop_untracked(void)
{
	uint32_t invalid = 1, zero = 0;
	size_t list, e, d, v;
	int type = NFNL_SUBSYS_NFTABLES << 8, make = NLM_F_CREATE | NLM_F_ACK;
	message(NFNL_MSG_BATCH_BEGIN, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	complete();
	message(type | NFT_MSG_NEWTABLE, make, NFPROTO_INET, 0);
	text(NFTA_TABLE_NAME, "tracking");
	complete();
	message(type | NFT_MSG_NEWCHAIN, make, NFPROTO_INET, 0);
	text(NFTA_CHAIN_TABLE, "tracking");
	text(NFTA_CHAIN_NAME, "input");
	d = nest(NFTA_CHAIN_HOOK);
	number(NFTA_HOOK_HOOKNUM, NF_INET_LOCAL_IN);
	number(NFTA_HOOK_PRIORITY, 0);
	nested(d);
	text(NFTA_CHAIN_TYPE, "filter");
	complete();
	message(type | NFT_MSG_NEWRULE, make | NLM_F_APPEND, NFPROTO_INET, 0);
	text(NFTA_RULE_TABLE, "tracking");
	text(NFTA_RULE_CHAIN, "input");
	list = nest(NFTA_RULE_EXPRESSIONS);
	e = expression("ct", &d);
	number(NFTA_CT_KEY, NFT_CT_STATE);
	number(NFTA_CT_DREG, NFT_REG_1);
	nested(d);
	nested(e);
	e = expression("bitwise", &d);
	number(NFTA_BITWISE_SREG, NFT_REG_1);
	number(NFTA_BITWISE_DREG, NFT_REG_1);
	number(NFTA_BITWISE_LEN, 4);
	v = nest(NFTA_BITWISE_MASK);
	attribute(NFTA_DATA_VALUE, &invalid, 4);
	nested(v);
	v = nest(NFTA_BITWISE_XOR);
	attribute(NFTA_DATA_VALUE, &zero, 4);
	nested(v);
	nested(d);
	nested(e);
	e = expression("cmp", &d);
	number(NFTA_CMP_SREG, NFT_REG_1);
	number(NFTA_CMP_OP, NFT_CMP_NEQ);
	v = nest(NFTA_CMP_DATA);
	attribute(NFTA_DATA_VALUE, &zero, 4);
	nested(v);
	nested(d);
	nested(e);
	e = expression("immediate", &d);
	number(NFTA_IMMEDIATE_DREG, NFT_REG_VERDICT);
	v = nest(NFTA_IMMEDIATE_DATA);
	size_t w = nest(NFTA_DATA_VERDICT);
	number(NFTA_VERDICT_CODE, NF_DROP);
	nested(w);
	nested(v);
	nested(d);
	nested(e);
	nested(list);
	complete();
	message(NFNL_MSG_BATCH_END, 0, AF_UNSPEC, NFNL_SUBSYS_NFTABLES);
	complete();
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	if (fd < 0)
		SKIP("nf_tables: %s", strerror(errno));
	EQ(send(fd, batch.bytes, batch.used, 0), batch.used);
	for (int left = 3; left;) {
		char answers[4096];
		ssize_t n = OK(recv(fd, answers, sizeof answers, 0));
		for (struct nlmsghdr *h = (void *)answers; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
			EQ(h->nlmsg_type, NLMSG_ERROR);
			int error = ((struct nlmsgerr *)NLMSG_DATA(h))->error;
			if (error)
				SKIP("a rule of nf_tables about connections: %s", strerror(-error));
			left--;
		}
	}
	close(fd);
}
