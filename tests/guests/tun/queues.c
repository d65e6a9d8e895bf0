/* Several queues of one device, one detached, two in a child. */
#include "../tun.h"
int main(void)
{
	const char *name = own_name(0);
	int fd[4];
	for (int i = 0; i < 4; i++)
		fd[i] = tun_open(name, IFF_TUN | IFF_NO_PI | IFF_MULTI_QUEUE);
	OK(ioctl(fd[2], TUNSETQUEUE, &(struct ifreq){ .ifr_flags = IFF_DETACH_QUEUE }));
	struct latch l = latch_new(), go = latch_new();
	pid_t child = OK(fork());
	if (!child) {
		close(fd[0]);
		close(fd[1]);
		latch_open(l);
		latch_wait(go);
		EQ(tun_state(fd[2]).ifr_flags & IFF_DETACH_QUEUE, IFF_DETACH_QUEUE);
		OK(ioctl(fd[2], TUNSETQUEUE, &(struct ifreq){ .ifr_flags = IFF_ATTACH_QUEUE }));
		_exit(0);
	}
	latch_wait(l);
	close(fd[3]);
	checkpoint();
	EQ(tun_state(fd[0]).ifr_flags & IFF_DETACH_QUEUE, 0);
	EQ(tun_state(fd[1]).ifr_flags & IFF_MULTI_QUEUE, IFF_MULTI_QUEUE);
	STR_EQ(tun_state(fd[1]).ifr_name, name);
	latch_open(go);
	reap_ok(child);
	EQ(tun_state(fd[2]).ifr_flags & IFF_DETACH_QUEUE, 0);
	return pass();
}
