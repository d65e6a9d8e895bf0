/* Names of 108 bytes, of odd bytes, abstract ones with NULs, and one that the kernel chose. */
#include "../unix.h"
static struct sockaddr_un full, odd, abstract, chosen;
static socklen_t full_n, odd_n, abstract_n, chosen_n;
static void same(int fd, struct sockaddr_un *want, socklen_t n)
{
	char room[128] = {0};
	socklen_t m = sizeof room;
	OK(getsockname(fd, (void *)room, &m));
	EQ(m, n);
	CHECK(!memcmp(room, want, n < sizeof *want ? n : sizeof *want));
}
int main(void)
{
	int f = OK(socket(AF_UNIX, SOCK_DGRAM, 0)), o = OK(socket(AF_UNIX, SOCK_DGRAM, 0)), a = OK(socket(AF_UNIX, SOCK_DGRAM, 0)),
	    k = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	full.sun_family = odd.sun_family = abstract.sun_family = chosen.sun_family = AF_UNIX;
	memset(full.sun_path, 'x', sizeof full.sun_path);
	OK(bind(f, (void *)&full, sizeof full));
	full_n = sizeof full + 1;
	strcpy(odd.sun_path, "a b\n\377\001'\"\\");
	odd_n = offsetof(struct sockaddr_un, sun_path) + strlen(odd.sun_path) + 1;
	OK(bind(o, (void *)&odd, sizeof odd));
	memcpy(abstract.sun_path, "\0ab\0c", 5);
	snprintf(abstract.sun_path + 5, 20, "%d", getpid());
	abstract_n = sizeof abstract;
	OK(bind(a, (void *)&abstract, sizeof abstract));
	OK(bind(k, (void *)&chosen, sizeof(sa_family_t)));
	chosen_n = sizeof chosen;
	OK(getsockname(k, (void *)&chosen, &chosen_n));
	EQ(chosen_n, sizeof(sa_family_t) + 6);
	same(f, &full, full_n);
	checkpoint();
	same(f, &full, full_n);
	same(o, &odd, odd_n);
	same(a, &abstract, abstract_n);
	same(k, &chosen, chosen_n);
	int s = OK(socket(AF_UNIX, SOCK_DGRAM, 0));
	char byte;
	EQ(sendto(s, "1", 1, 0, (void *)&full, sizeof full), 1);
	EQ(recv(f, &byte, 1, MSG_DONTWAIT), 1);
	EQ(sendto(s, "1", 1, 0, (void *)&odd, sizeof odd), 1);
	EQ(recv(o, &byte, 1, MSG_DONTWAIT), 1);
	EQ(sendto(s, "1", 1, 0, (void *)&chosen, chosen_n), 1);
	EQ(recv(k, &byte, 1, MSG_DONTWAIT), 1);
	return pass();
}
